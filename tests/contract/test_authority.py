"""What every authority does: the lease table, the rules of an append, and both at once from many threads."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from shardd.authority.facts import Changed
from shardd.core.event import Head
from shardd.core.lease import (
    BAR_MS,
    PERSON_TTL_MS,
    WAITER_FRESH_MS,
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
)
from shardd.core.policy import Accept, Decision, Reject
from shardd.core.tenancy import Ended, Reason
from shardd.errors import Misuse, Rejected
from tests.authorities import LEDGERS, PEOPLE, Backend, Kept, backend_of, code, commits, together
from tests.clocks import HOUR, SECOND, FakeTime
from tests.drafting import drafts

SPACE = "whynot"
TTL = 60 * SECOND


@pytest.fixture
def clock() -> FakeTime:
    return FakeTime()


@pytest.fixture(params=LEDGERS)
def backend(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeTime) -> Iterator[Backend]:
    with ExitStack() as stack:
        yield backend_of(request.param, tmp_path, clock, stack)


@pytest.fixture
def authority(backend: Backend) -> Kept:
    authority = backend.opened()
    authority.create(SPACE)
    return authority


def head_of(authority: Kept) -> Head:
    head = authority.head(SPACE)
    assert head is not None
    return head


def push(authority: Kept, who: str, *, epoch: int | None = None, said: int | None = None, count: int = 1) -> Decision:
    """`who` appends on the current head. epoch: what the push names; said: what its commits say."""
    head = head_of(authority)
    return authority.append(SPACE, head, commits(head, who, epoch=said, count=count), principal=who, epoch=epoch)


def refused(authority: Kept, transition: Transition) -> Rejected:
    before = list(authority.history(SPACE))
    with pytest.raises(Rejected) as caught:
        authority.change(SPACE, transition)
    assert list(authority.history(SPACE)) == before
    return caught.value


# The table at the top of core/lease.py: (asked by alice, while free / held by alice / held by bob).
# A number is by how much the epoch grows, a word the code of the refusal.
TABLE: list[tuple[Transition, list[int | str], str | None]] = [
    (Acquire("alice"), [1, "not-holder", "not-holder"], "alice"),
    (Renew("alice"), ["not-holder", 0, "not-holder"], "alice"),
    (Release("alice"), ["not-holder", 0, "not-holder"], None),
    (Transfer("alice", "carol"), ["not-holder", 1, "not-holder"], "carol"),
    (Grant("carol"), [1, "not-holder", "not-holder"], "carol"),
    (Grant("carol", force=True), [1, 1, 1], "carol"),
    (Revoke(), [0, 1, 1], None),
    (OneShot("alice"), [1, "not-holder", "not-holder"], None),
    (Restored(0), [1, 1, 1], None),
]


@pytest.mark.parametrize("held_by", [None, "alice", "bob"])
@pytest.mark.parametrize(("transition", "expected", "holder"), TABLE, ids=lambda value: type(value).__name__)
def test_every_transition_in_every_state(
    authority: Kept, transition: Transition, expected: list[int | str], holder: str | None, held_by: str | None
) -> None:
    before = authority.change(SPACE, Acquire(held_by)).epoch if held_by else 0
    growth = expected[[None, "alice", "bob"].index(held_by)]
    if isinstance(growth, str):
        assert refused(authority, transition).code == growth
        return
    changed = authority.change(SPACE, transition)
    assert changed.epoch == before + growth
    assert (changed.lease.holder if changed.lease else None) == holder
    assert changed.head == head_of(authority)
    assert [entry.tenure.epoch for entry in authority.history(SPACE)] == list(range(1, changed.epoch + 1))


def test_the_journal_tells_who_began_what_and_how_the_one_before_ended(authority: Kept, clock: FakeTime) -> None:
    authority.change(SPACE, Acquire("alice", TTL))
    push(authority, "alice", count=2)
    authority.change(SPACE, Transfer("alice", "bob", TTL, text="gone \x1b[31mto\n\nlunch \udcff"))
    clock.passes(TTL)
    authority.change(SPACE, Acquire("carol", TTL))
    authority.change(SPACE, Release("carol"))
    authority.change(SPACE, Grant("dave", TTL))
    authority.change(SPACE, Revoke(text="asleep"))
    authority.change(SPACE, OneShot("alice"))
    told = [
        (e.tenure.holder, e.tenure.reason, e.tenure.previous, e.tenure.text, e.resumed_at.seq)
        for e in authority.history(SPACE)
    ]
    assert told == [
        ("alice", Reason.ACQUIRE, Ended.FIRST, "", 0),
        ("bob", Reason.TRANSFER, Ended.TRANSFERRED, "gone [31mto lunch", 2),
        ("carol", Reason.ACQUIRE, Ended.EXPIRED, "", 2),
        ("dave", Reason.GRANT, Ended.RELEASED, "", 2),
        (None, Reason.REVOKE, Ended.REVOKED, "asleep", 2),
        ("alice", Reason.ACQUIRE, Ended.REVOKED, "", 2),
    ]


def test_an_unknown_space(backend: Backend) -> None:
    authority = backend.opened()
    assert authority.head(SPACE) is None
    with pytest.raises(Rejected, match="space create garden/whynot") as caught:
        authority.change(SPACE, Acquire("alice"))
    assert caught.value.code == "no-such-space"
    nowhere = Head(0, "1" * 40)
    with pytest.raises(Rejected) as caught:
        authority.append(SPACE, nowhere, commits(nowhere, "alice"), principal="alice", epoch=None)
    assert caught.value.code == "no-such-space"
    assert list(authority.history(SPACE)) == []
    for name in ("..", "a/b", ""):
        with pytest.raises(Misuse):
            authority.head(name)


def test_a_space_is_created_once(authority: Kept) -> None:
    with pytest.raises(Rejected) as caught:
        authority.create(SPACE)
    assert caught.value.code == "exists"


def test_the_holder_appends_and_nobody_else(authority: Kept) -> None:
    assert code(push(authority, "alice")) == "not-holder"
    epoch = authority.change(SPACE, Acquire("alice")).epoch
    decision = push(authority, "alice", epoch=epoch, said=epoch, count=3)
    assert isinstance(decision, Accept)
    (events,) = decision.events.values()
    assert [event.seq for event in events] == [1, 2, 3]
    assert head_of(authority) == Head(3, events[-1].oid)
    assert code(push(authority, "bob")) == "not-holder"
    assert code(push(authority, "mallory")) == "not-permitted"
    assert head_of(authority) == Head(3, events[-1].oid)


def test_an_append_on_another_head_is_refused_and_told_where_it_stands(authority: Kept) -> None:
    genesis = head_of(authority)
    authority.change(SPACE, Acquire("alice"))
    push(authority, "alice")
    decision = authority.append(SPACE, genesis, commits(genesis, "alice"), principal="alice", epoch=None)
    assert isinstance(decision, Reject)
    assert decision.code == "non-fast-forward"
    assert head_of(authority).oid[:12] in decision.message


def test_the_same_event_twice(authority: Kept) -> None:
    authority.change(SPACE, Acquire("alice"))
    one = drafts("alice")
    first = head_of(authority)
    authority.append(SPACE, first, commits(first, "alice", events=one), principal="alice", epoch=None)
    head = head_of(authority)
    again = authority.append(SPACE, head, commits(head, "alice", events=one), principal="alice", epoch=None)
    assert code(again) == "duplicate-event"
    assert head_of(authority) == head


def test_an_append_of_nothing_is_a_misuse(authority: Kept) -> None:
    with pytest.raises(Misuse):
        authority.append(SPACE, head_of(authority), [], principal="alice", epoch=None)


def test_the_epoch_fences(authority: Kept) -> None:
    old = authority.change(SPACE, Acquire("alice")).epoch
    authority.change(SPACE, Release("alice"))
    new = authority.change(SPACE, Acquire("alice", fenced=True)).epoch
    assert new == old + 1
    assert code(push(authority, "alice")) == "stale-epoch"
    assert code(push(authority, "alice", epoch=old)) == "stale-epoch"
    assert code(push(authority, "alice", epoch=new, said=old)) == "stale-epoch"
    assert code(push(authority, "alice", said=old)) == "stale-epoch"
    assert refused(authority, Renew("alice")).code == "stale-epoch"
    assert refused(authority, Release("alice", old)).code == "stale-epoch"
    assert code(push(authority, "alice", epoch=new)) == ""
    assert code(push(authority, "alice", said=new)) == ""
    assert authority.change(SPACE, Renew("alice", epoch=new)).epoch == new


def test_after_a_transfer_the_former_holder_is_out_at_once(authority: Kept) -> None:
    authority.change(SPACE, Acquire("alice", fenced=True))
    changed = authority.change(SPACE, Transfer("alice", "bob", epoch=1))
    assert code(push(authority, "alice", epoch=1)) == "not-holder"
    assert head_of(authority) == changed.head
    assert code(push(authority, "bob")) == "stale-epoch", "a fenced lease stays fenced"
    assert code(push(authority, "bob", epoch=2)) == ""


def test_a_lease_ends_at_the_very_millisecond(authority: Kept, clock: FakeTime) -> None:
    authority.change(SPACE, Acquire("alice", TTL))
    clock.passes(TTL - 1)
    assert code(push(authority, "alice")) == ""
    clock.passes(1)
    assert code(push(authority, "alice")) == "not-holder"
    assert refused(authority, Renew("alice")).code == "not-holder"
    assert authority.change(SPACE, Acquire("bob", TTL)).epoch == 2


def test_an_expiry_that_was_seen_stays_whatever_the_clock_does(authority: Kept, clock: FakeTime) -> None:
    authority.change(SPACE, Acquire("alice", TTL))
    clock.passes(TTL)
    assert code(push(authority, "alice")) == "not-holder"
    clock.reboot(down=0, skew=-HOUR)
    assert code(push(authority, "alice")) == "not-holder"
    assert refused(authority, Renew("alice")).code == "not-holder"


def test_renewing_counts_from_now(authority: Kept, clock: FakeTime) -> None:
    granted = authority.change(SPACE, Acquire("alice", TTL)).lease
    clock.passes(TTL // 2)
    renewed = authority.change(SPACE, Renew("alice", TTL)).lease
    assert granted
    assert renewed
    assert (renewed.granted, renewed.expires) == (granted.granted, granted.expires + TTL // 2)


def test_who_waits_is_served_in_order(authority: Kept, clock: FakeTime) -> None:
    def ask(name: str) -> Changed:
        return authority.change(SPACE, Acquire(name, TTL, ticket=f"t-{name}"))

    authority.change(SPACE, Acquire("alice", TTL))
    assert [ask(name).waiting for name in ("bob", "carol", "dave")] == [0, 1, 2]
    authority.change(SPACE, Release("alice"))
    assert refused(authority, Acquire("alice")).message == "garden/whynot is free, but bob waits for it and comes first"
    assert refused(authority, OneShot("alice")).code == "not-holder"
    assert ask("carol").waiting == 1
    served = ask("bob")
    assert (served.waiting, served.epoch) == (None, 2)
    assert ask("dave").waiting == 1
    authority.change(SPACE, GiveUp("t-carol"))
    assert ask("dave").waiting == 0
    authority.change(SPACE, Release("bob"))
    assert ask("dave").lease is not None


def test_who_waits_and_falls_silent_loses_the_place(authority: Kept, clock: FakeTime) -> None:
    authority.change(SPACE, Acquire("alice", TTL))
    authority.change(SPACE, Acquire("bob", TTL, ticket="b"))
    for _ in range(6):
        clock.passes(WAITER_SILENCE_MS // 2)
        assert authority.change(SPACE, Acquire("carol", TTL, ticket="c")).waiting in (0, 1)
    assert authority.change(SPACE, Acquire("carol", TTL, ticket="c")).waiting == 0
    assert authority.change(SPACE, Acquire("bob", TTL, ticket="b")).waiting == 1


def test_that_somebody_still_waits_wakes_nobody(authority: Kept, clock: FakeTime) -> None:
    """Else each of many who wait would wake all the others, once a second."""
    authority.change(SPACE, Acquire("alice", TTL))
    authority.change(SPACE, Acquire("bob", TTL, ticket="b"))
    moved = authority.ledger.moved
    count = moved.count(SPACE)
    clock.passes(WAITER_FRESH_MS)
    authority.change(SPACE, Acquire("bob", TTL, ticket="b"))
    clock.passes(WAITER_SILENCE_MS - 1)
    (waiter,) = authority.standing(SPACE).tenancy.waiters
    assert waiter.ticket == "b", "that he was seen is remembered all the same"
    assert moved.count(SPACE) == count
    authority.change(SPACE, Acquire("carol", TTL, ticket="c"))
    assert moved.count(SPACE) == count + 1


def test_a_revoked_holder_is_barred_for_a_while(authority: Kept, clock: FakeTime) -> None:
    authority.change(SPACE, Acquire("alice", PERSON_TTL_MS))
    authority.change(SPACE, Acquire("alice", ticket="her other session"))
    authority.change(SPACE, Revoke())
    for transition in (Acquire("alice"), Acquire("alice", ticket="x"), OneShot("alice")):
        assert refused(authority, transition).code == "not-holder"
    assert "revoked from alice" in refused(authority, Acquire("alice")).message
    assert authority.change(SPACE, Acquire("bob")).epoch == 3, "and her other session does not hold up the line"
    assert refused(authority, Transfer("bob", "alice")).code == "not-holder"
    authority.change(SPACE, Release("bob"))
    clock.passes(BAR_MS)
    assert authority.change(SPACE, Acquire("alice")).epoch == 4


def test_a_grant_lifts_the_bar(authority: Kept) -> None:
    authority.change(SPACE, Acquire("alice"))
    authority.change(SPACE, Revoke())
    assert authority.change(SPACE, Grant("alice")).lease is not None
    assert code(push(authority, "alice")) == ""


def test_a_revocation_uses_up_an_epoch_that_nobody_holds(authority: Kept) -> None:
    authority.change(SPACE, Acquire("alice"))
    assert authority.change(SPACE, Revoke(bar=0)).epoch == 2
    for epoch in (None, 1, 2):
        assert code(push(authority, "alice", epoch=epoch)) == "not-holder"
    assert authority.change(SPACE, Revoke()).epoch == 2, "there is nothing to revoke"


def test_epochs_go_on_above_a_floor_after_a_restore(authority: Kept) -> None:
    authority.change(SPACE, Acquire("alice"))
    assert authority.change(SPACE, Restored(1000)).epoch == 1001
    assert code(push(authority, "alice")) == "not-holder"
    assert authority.change(SPACE, Acquire("bob")).epoch == 1002


def test_spaces_have_leases_of_their_own(authority: Kept) -> None:
    authority.create("other")
    authority.change(SPACE, Acquire("alice"))
    assert authority.change("other", Acquire("bob")).epoch == 1
    assert code(push(authority, "bob")) == "not-holder"


def test_ttls_are_bounded(authority: Kept) -> None:
    for ttl in (0, 999, 31 * 24 * HOUR):
        with pytest.raises(Misuse):
            authority.change(SPACE, Acquire("alice", ttl))


def test_one_of_many_acquires_wins(authority: Kept, backend: Backend) -> None:
    won: list[tuple[str, int]] = []

    def ask(name: str, handle: Kept) -> None:
        try:
            won.append((name, handle.change(SPACE, Acquire(name)).epoch))
        except Rejected as error:
            assert error.code == "not-holder"

    together([partial(ask, name, backend.opened()) for name in PEOPLE])
    assert [epoch for _, epoch in won] == [1]
    assert [entry.tenure.holder for entry in authority.history(SPACE)] == [won[0][0]]


def test_one_of_many_appends_on_one_head_wins(authority: Kept, backend: Backend) -> None:
    authority.change(SPACE, Acquire("alice"))
    head = head_of(authority)
    decisions: list[Decision] = []

    def add(handle: Kept) -> None:
        decisions.append(handle.append(SPACE, head, commits(head, "alice"), principal="alice", epoch=None))

    together([partial(add, backend.opened()) for _ in range(4)])
    assert sorted(map(code, decisions)) == ["", "non-fast-forward", "non-fast-forward", "non-fast-forward"]
    assert head_of(authority).seq == 1


def test_appends_racing_with_lease_changes(authority: Kept, backend: Backend) -> None:
    """Nobody's event stands behind the head from which a later epoch resumed."""
    appended: list[tuple[int, str]] = []
    answered: list[tuple[int, Head]] = []

    def live(name: str, handle: Kept, chance: random.Random) -> None:
        for _ in range(12):
            head = head_of(handle)
            try:
                if chance.random() < 0.5:
                    decision = handle.append(SPACE, head, commits(head, name), principal=name, epoch=None)
                    if isinstance(decision, Accept):
                        appended.extend((event.seq, name) for events in decision.events.values() for event in events)
                    continue
                asked: list[Transition] = [Acquire(name), Grant(name, force=True), Release(name), OneShot(name)]
                changed = handle.change(SPACE, chance.choice([*asked, Revoke(bar=0)]))
                answered.append((changed.epoch, changed.head))
            except Rejected as error:
                assert error.code in ("not-holder", "non-fast-forward"), error

    together([partial(live, name, backend.opened(), random.Random(f"{name} {backend.name}")) for name in PEOPLE])
    entries = list(authority.history(SPACE))
    epochs = [entry.tenure.epoch for entry in entries]
    assert epochs == list(range(1, len(entries) + 1))
    assert len(appended) == head_of(authority).seq
    for seq, name in appended:
        under = [entry for entry in entries if entry.resumed_at.seq < seq][-1]
        assert under.tenure.holder == name, f"event {seq} by {name} stands under epoch {under.tenure.epoch}"
    resumed = {entry.tenure.epoch: entry.resumed_at for entry in entries}
    for epoch, head in answered:
        assert epoch == 0 or resumed[epoch].seq <= head.seq
