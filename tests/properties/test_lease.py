"""The leases of one space, driven at random: whatever is asked in whatever order, the rules of core/lease.py hold."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shardd.core.lease import (
    BAR_MS,
    MAX_TTL_MS,
    WAITER_SILENCE_MS,
    Acquire,
    GiveUp,
    Grant,
    OneShot,
    Release,
    Renew,
    Restored,
    Revoke,
    Transfer,
    Transition,
    Transitioned,
    change,
    observe,
)
from shardd.core.tenancy import Ended, Lease, Tenancy, Waiter
from shardd.errors import Misuse, Rejected
from tests.clocks import NOON

NAMES = st.sampled_from(["alice", "bob", "carol"])
TICKETS = st.sampled_from(["t1", "t2", "t3", "t4"])
TTLS = st.sampled_from([1_000, 5_000, 60_000])
EPOCHS = st.none() | st.integers(0, 12)
TRANSITIONS: st.SearchStrategy[Transition] = st.one_of(
    st.builds(Acquire, NAMES, st.integers(-1, MAX_TTL_MS + 1), st.booleans(), st.none() | TICKETS),
    st.builds(GiveUp, TICKETS),
    st.builds(Renew, NAMES, TTLS, EPOCHS),
    st.builds(Release, NAMES, EPOCHS),
    st.builds(Transfer, NAMES, NAMES, TTLS, EPOCHS),
    st.builds(Grant, NAMES, TTLS, st.booleans(), st.booleans()),
    st.builds(Revoke, st.sampled_from([0, BAR_MS])),
    st.builds(OneShot, NAMES),
    st.builds(Restored, st.integers(0, 20)),
)
TENANCIES = st.builds(
    Tenancy,
    st.just("s"),
    st.integers(1, 12),
    st.none()
    | st.builds(
        lambda holder, start, ttl, fenced: Lease("s", holder, 12, NOON + start, NOON + start + ttl, fenced),
        NAMES,
        st.integers(-90_000, 0),
        st.integers(1_000, 120_000),
        st.booleans(),
    ),
    st.sampled_from(Ended),
    st.lists(
        st.builds(Waiter, TICKETS, NAMES, st.integers(NOON - 10_000, NOON)), max_size=4, unique_by=lambda w: w.ticket
    ).map(tuple),
    st.lists(st.tuples(NAMES, st.integers(NOON - 1000, NOON + 1000)), max_size=3, unique_by=lambda b: b[0]).map(tuple),
).map(lambda t: t if t.lease is None else replace(t, lease=replace(t.lease, epoch=t.epoch)))


def attempt(tenancy: Tenancy, transition: Transition, now: int) -> Transitioned | Rejected:
    """Whatever comes of it. Anything raised but a refusal is a failure of the test."""
    try:
        return change(tenancy, transition, now, label="r/s")
    except Rejected as refused:
        return refused


@settings(max_examples=200)
@given(TENANCIES, TRANSITIONS, st.integers(0, 100_000))
def test_a_change_is_total_and_gives_out_each_epoch_once(tenancy: Tenancy, transition: Transition, later: int) -> None:
    now = NOON + later
    outcome = attempt(tenancy, transition, now)
    if isinstance(outcome, Rejected):
        assert outcome.code in ("not-holder", "stale-epoch") or isinstance(outcome, Misuse)
        assert outcome.message
        assert outcome.remedy or isinstance(outcome, Misuse)
        return
    after = outcome.after
    if outcome.tenure is None:
        assert after.epoch == tenancy.epoch
    else:
        assert outcome.tenure.epoch == after.epoch > tenancy.epoch
        assert after.epoch == tenancy.epoch + 1 or isinstance(transition, Restored)
        assert outcome.tenure.granted == now
    if after.lease is not None:
        assert after.lease.epoch == after.epoch, "whoever holds it holds the newest epoch"
        assert after.lease.expires > now
        began = outcome.tenure is not None
        assert began == (after.lease.epoch != tenancy.epoch or tenancy.lease is None)


@given(TENANCIES, st.integers(0, 100_000), st.integers(0, 100_000))
def test_looking_twice_sees_what_looking_once_would(tenancy: Tenancy, first: int, second: int) -> None:
    early, late = sorted((NOON + first, NOON + second))
    assert observe(observe(tenancy, early), late) == observe(tenancy, late)
    assert observe(observe(tenancy, late), early).lease == observe(tenancy, late).lease, "what has expired stays so"


@given(TENANCIES, TRANSITIONS, st.integers(0, 100_000))
def test_a_refusal_for_one_state_is_one_for_the_observed_state(
    tenancy: Tenancy, transition: Transition, later: int
) -> None:
    """A decision made on a tenancy as it was read, and on the same one brought up to date, is one decision."""
    now = NOON + later
    one, other = (attempt(t, transition, now) for t in (tenancy, observe(tenancy, now)))
    assert (one if isinstance(one, Transitioned) else str(one)) == (
        other if isinstance(other, Transitioned) else str(other)
    )


class LeaseMachine(RuleBasedStateMachine):
    """One space's life, beside a model that knows only what was granted, and what was asked in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.tenancy = Tenancy("s")
        self.holder: tuple[str, int, int] | None = None  # who, epoch, until
        self.given: list[int] = []
        self.over: set[int] = set()
        self.line: list[tuple[str, str, int]] = []  # ticket, who, last heard of

    def ask(self, transition: Transition) -> Transitioned | Rejected:
        self._tick()
        outcome = attempt(self.tenancy, transition, self.now)
        if isinstance(outcome, Transitioned):
            self.tenancy = outcome.after
            if outcome.tenure is not None:
                self.given.append(outcome.tenure.epoch)
        return outcome

    def _tick(self) -> None:
        self.tenancy = observe(self.tenancy, self.now)
        if self.holder is not None and self.holder[2] <= self.now:
            self._end()
        self.line = [w for w in self.line if w[2] + WAITER_SILENCE_MS > self.now]

    def _end(self) -> None:
        if self.holder is not None:
            self.over.add(self.holder[1])
        self.holder = None

    def _begin(self, outcome: Transitioned | Rejected, who: str, ttl: int) -> None:
        assert isinstance(outcome, Transitioned)
        self._end()
        self.holder = (who, outcome.after.epoch, self.now + ttl)

    @rule(milliseconds=st.sampled_from([1, 999, 1_000, 4_999, 5_000, 60_000]))
    def time_passes(self, milliseconds: int) -> None:
        self.now += milliseconds

    @rule(who=NAMES, ttl=TTLS)
    def acquire(self, who: str, ttl: int) -> None:
        outcome = self.ask(Acquire(who, ttl))
        barred = who in dict(self.tenancy.bars)
        if self.holder is None and not self.line and not barred:
            self._begin(outcome, who, ttl)
        else:
            assert isinstance(outcome, Rejected)

    @rule(who=NAMES, ticket=TICKETS, ttl=TTLS)
    def wait_in_line(self, who: str, ticket: str, ttl: int) -> None:
        ticket = f"{who}-{ticket}"  # nobody holds another's ticket
        outcome = self.ask(Acquire(who, ttl, ticket=ticket))
        if who in dict(self.tenancy.bars):
            assert isinstance(outcome, Rejected)
            return
        place = next((i for i, w in enumerate(self.line) if w[0] == ticket), len(self.line))
        assert isinstance(outcome, Transitioned)
        if self.holder is None and place == 0:
            self.line = self.line[1:]
            assert outcome.waiting is None
            self._begin(outcome, who, ttl)
        else:
            assert outcome.waiting == place
            heard = next(w.seen for w in self.tenancy.waiters if w.ticket == ticket)
            assert self.now - 1_000 < heard <= self.now
            self.line[place : place + 1] = [(ticket, who, heard)]

    @rule(who=NAMES, ticket=TICKETS)
    def give_up(self, who: str, ticket: str) -> None:
        ticket = f"{who}-{ticket}"
        self.ask(GiveUp(ticket))
        self.line = [w for w in self.line if w[0] != ticket]

    @rule(who=NAMES, ttl=TTLS, epoch=EPOCHS)
    def renew(self, who: str, ttl: int, epoch: int | None) -> None:
        outcome = self.ask(Renew(who, ttl, epoch))
        if self._mine(who, epoch) and self.holder is not None:
            assert isinstance(outcome, Transitioned)
            self.holder = (who, self.holder[1], self.now + ttl)
        else:
            assert isinstance(outcome, Rejected)

    @rule(who=NAMES, epoch=EPOCHS)
    def release(self, who: str, epoch: int | None) -> None:
        mine = self._mine(who, epoch)
        assert isinstance(self.ask(Release(who, epoch)), Transitioned) == mine
        if mine:
            self._end()

    @rule(who=NAMES, to=NAMES, ttl=TTLS)
    def transfer(self, who: str, to: str, ttl: int) -> None:
        outcome = self.ask(Transfer(who, to, ttl))
        if self._mine(who, None) and to not in dict(self.tenancy.bars):
            self._begin(outcome, to, ttl)
        else:
            assert isinstance(outcome, Rejected)

    @rule(to=NAMES, ttl=TTLS, force=st.booleans(), fenced=st.booleans())
    def grant(self, to: str, ttl: int, force: bool, fenced: bool) -> None:
        outcome = self.ask(Grant(to, ttl, force, fenced))
        if self.holder is None or force:
            self._begin(outcome, to, ttl)
            assert to not in dict(self.tenancy.bars)
        else:
            assert isinstance(outcome, Rejected)

    @precondition(lambda self: self.holder is not None)
    @rule(bar=st.sampled_from([0, BAR_MS]))
    def revoke(self, bar: int) -> None:
        self._tick()
        held = self.holder
        self.ask(Revoke(bar))
        self._end()
        if held is not None and bar:
            assert held[0] in dict(self.tenancy.bars)
            self.line = [w for w in self.line if w[1] != held[0]]

    @rule(who=NAMES)
    def push_with_a_lease_of_its_own(self, who: str) -> None:
        outcome = self.ask(OneShot(who))
        barred = who in dict(self.tenancy.bars)
        assert isinstance(outcome, Transitioned) == (self.holder is None and not self.line and not barred)
        if isinstance(outcome, Transitioned):
            self.over.add(outcome.after.epoch)

    @rule(floor=st.integers(0, 20))
    def restore(self, floor: int) -> None:
        outcome = self.ask(Restored(floor))
        self._end()
        self.line = []
        assert isinstance(outcome, Transitioned)
        assert outcome.after.epoch > floor

    def _mine(self, who: str, epoch: int | None) -> bool:
        lease = observe(self.tenancy, self.now).lease
        fenced = lease is not None and lease.fenced
        self._tick()
        if self.holder is None or self.holder[0] != who:
            return False
        return (epoch is None and not fenced) or epoch == self.holder[1]

    @invariant()
    def at_most_one_lease_and_the_right_one(self) -> None:
        self._tick()
        lease = self.tenancy.lease
        assert self.holder == (None if lease is None else (lease.holder, lease.epoch, lease.expires))

    @invariant()
    def epochs_grow_and_none_comes_back(self) -> None:
        assert self.given == sorted(set(self.given))
        assert self.holder is None or (self.holder[1] == self.given[-1] and self.holder[1] not in self.over)

    @invariant()
    def the_line_is_in_the_order_of_asking(self) -> None:
        self._tick()
        assert [w.ticket for w in self.tenancy.waiters] == [w[0] for w in self.line]


TestLeaseMachine = LeaseMachine.TestCase
TestLeaseMachine.settings = settings(max_examples=75, stateful_step_count=40, deadline=None)
