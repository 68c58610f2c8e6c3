"""The authority: the one component that checks lease and epoch and moves heads. All rules, over a ledger that has none.

What it guarantees, by every way in and when any process is killed at any point: once `change` has answered "epoch N,
head H", no event of an earlier epoch is appended any more, and the head stays H until the holder of N moves it; once
`append` has accepted, the events are durable and every later reader sees them.

Every call is one transaction of the ledger: locked, settled, looked at, decided, committed. To settle is to remember
what has come true meanwhile before anybody is told of it: an expiry, which no clock may take back; and that leases from
before are over where what is remembered and what is published are not of one piece (a lost or restored file, a restored
repo): both are believed in what they forbid, and epochs go on above either.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Generic, TypeVar

from shardd.authority.facts import Changed, Options, Pusher, Standing, Terms, append_facts, gather, import_facts
from shardd.authority.ledger import Effect, Effects, Frozen, Growth, Incoming, Kept, Ledger, Stage, Taking, Transaction
from shardd.core.append import exists_already, no_such_space
from shardd.core.codec import genesis
from shardd.core.event import MAX_SEQ, Event, Head
from shardd.core.journal import Entry, encode_entry, entry_at, entry_of
from shardd.core.lease import OneShot, Restored, Transition, Transitioned, change, observe
from shardd.core.limits import Limits
from shardd.core.names import check_new, check_space
from shardd.core.objects import commit_oid
from shardd.core.part import Part
from shardd.core.permission import check_lease_call
from shardd.core.policy import Accept, Decision, Reject, decide
from shardd.core.push_facts import Candidate, PushFacts
from shardd.core.refs import Change, Ref, SpaceRef, classify, lease_ref, lock_of
from shardd.core.roles import Rights, Role, require
from shardd.core.taken_types import Takes
from shardd.core.tenancy import Ended, Tenancy, alike
from shardd.errors import Misuse, Unavailable
from shardd.files.crash_points import Point, reached

L_co = TypeVar("L_co", bound=Ledger, covariant=True)


class Authority(Generic[L_co]):
    """label: what the repo is called in messages and scopes

    rights: who may do what, as it stands: looked up under the locks, since rights may go while one waits for them
    by: in whose name spaces are begun and frozen, and leases granted and revoked
    waited: is told each time for how many seconds the locks were waited for
    """

    def __init__(
        self,
        ledger: L_co,
        *,
        label: str,
        rights: Callable[[], Rights],
        by: str | None = None,
        limits: Limits | None = None,
        waited: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.ledger = ledger
        self.label = label
        self.limits = limits or Limits()
        self._rights = rights
        self._by = by
        self._waited = waited

    @property
    def terms(self) -> Terms:
        """What holds at this moment; may raise what looking up the rights raises."""
        return Terms(label=self.label, rights=self._rights(), limits=self.limits)

    def head(self, space: str) -> Head | None:
        """Where the space stands; None if it does not exist."""
        return self.ledger.head(check_space(space))

    def events(
        self,
        space: str,
        after: int | None = None,
        *,
        until: int | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Event]:
        """The events with seq greater than `after` (None: all), up to the head at the time of the call; see Ledger."""
        return self.ledger.events(check_space(space), Part(after, until, limit, reverse))

    def spaces(self) -> Sequence[str]:
        """All that exist, by name."""
        return self.ledger.spaces()

    def existing(self, space: str) -> Head:
        """Like head, but Rejected where there is none."""
        if (head := self.head(space)) is None:
            raise no_such_space(f"{self.label}/{space}", self.spaces())
        return head

    def standing(self, space: str) -> Standing:
        """How things stand just now, without a lock: for showing, and for a first look at a push."""
        kept = self.ledger.kept(check_space(space))
        standing = Standing.of(space, kept, self.ledger.head(space))
        if standing.tenancy.lease != kept.tenancy.lease:
            # An expiry that somebody is told of must be stored first, so that no clock can take it back.
            try:
                with self.hold([space]) as held:
                    return held.standing(space)
            except Unavailable:  # a disk that takes nothing: then nobody is told of it
                return replace(standing, tenancy=kept.tenancy)
        return standing

    def held_by(self, principal: str) -> list[str]:
        """The spaces whose lease the principal holds."""
        kept = ((space, self.ledger.kept(space)) for space in self.ledger.leased())
        leases = ((space, observe(each.tenancy, each.now).lease) for space, each in kept)
        return [space for space, lease in leases if lease is not None and lease.holder == principal]

    def find(self, space: str, head: Head, ids: Sequence[str]) -> Mapping[str, Head]:
        """Some of `ids` that the space has, and where: for a first look at a push."""
        return self.ledger.find(space, head, ids)

    def history(self, space: str) -> Iterator[Entry]:
        """The published journal, oldest first. Corrupt where it does not read."""
        where = f"{lease_ref(check_space(space))} of {self.label}"
        return (entry_at(where, oid, raw) for oid, raw in self.ledger.journal(space))

    def change(self, space: str, transition: Transition) -> Changed:
        """Apply a lease transition; Rejected if it may not be asked for, or not be, or if nobody created the space."""
        self.existing(space)
        with self.hold([space]) as held:
            check_lease_call(self._rights(), self._by, transition, self.label, space)
            return held.change(space, transition)

    def ref(self, name: str) -> str | None:
        """What a ref names; see Ledger.ref."""
        return self.ledger.ref(name)

    def takes(self, refs: Sequence[Ref]) -> Collection[Ref]:
        """Those of these refs that have a place beside the logs."""
        return self.ledger.takes(refs)

    def look(
        self, changes: Sequence[Change], options: Options, pusher: Callable[[], Pusher], incoming: Incoming
    ) -> Reject | None:
        """Why `push` would refuse this, as things stand without any lock; None if it would not."""
        facts = gather(self.terms, pusher(), changes, options, self, incoming)
        reached(Point.BEFORE_LOOK)
        decision = decide(facts)
        reached(Point.AFTER_LOOK)
        if not isinstance(decision, Reject):
            return None
        if decision.code == "duplicate-event" and isinstance(ref := classify(decision.ref), SpaceRef):
            with self.hold([ref.space]):
                pass  # the event that it is told of is on disk before it is told
        return decision

    def push(
        self, changes: Sequence[Change], options: Options, pusher: Callable[[], Pusher], incoming: Incoming
    ) -> Decision:
        """Move these refs to what a push brings, all or none, if the rules accept all of it.

        pusher: who pushes, asked under the locks, as rights are: both may go while one waits for them
        """
        spaces = {change.parsed.space for change in changes if isinstance(change.parsed, SpaceRef)}
        with self.hold(spaces, also={lock_of(change.parsed) for change in changes}) as held:
            return held.push(changes, options, pusher(), incoming)

    def append(
        self, space: str, expected: Head, commits: Sequence[Candidate], *, principal: str, epoch: int | None
    ) -> Decision:
        """Move the head from `expected` over `commits`, oldest first, if the rules of a push accept it of `principal`.

        Rejected if nobody created the space; Misuse without commits
        """
        self.existing(space)
        with self.hold([space]) as held:
            return held.append(space, expected, commits, Pusher(principal), epoch)

    def create(self, space: str, *, seq: int = 0) -> Head:
        """Begin a space with its genesis, numbered `seq`; Rejected if it exists, or if that is not for who asks."""
        with self.hold([space], creating=True) as held:
            self._require_admin(space)
            return held.create(space, seq=seq)

    def freeze(self, space: str, message: str | None) -> None:
        """Make a space read-only, with the message that a pusher is shown; None lifts it. Rejected as `create` does."""
        self.existing(space)
        with self.hold([space]) as held:
            self._require_admin(space)
            held.commit(Effect(space, frozen=Frozen(message)))

    def take(self, space: str, change: Callable[[Takes | None], Takes | None]) -> Takes | None:
        """Have a space take other event types from now on, which `change` makes of those that it takes; None: any.

        What it has stays. Rejected as `create` does.
        """
        self.existing(space)
        with self.hold([space]) as held:
            self._require_admin(space)
            takes = change(held.standing(space).takes)
            held.commit(Effect(space, taking=Taking(takes)))
        return takes

    def _require_admin(self, space: str) -> None:
        require(self._rights(), self._by, Role.ADMIN, self.label, space)

    @contextmanager
    def hold(self, spaces: Iterable[str], *, also: Iterable[str] = (), creating: bool = False) -> Iterator[Held]:
        """All these spaces, locked against everybody else until the block ends, and settled; see Ledger.transaction."""
        names = [check_space(space) for space in spaces]
        began = monotonic()
        with self.ledger.transaction(names, also=also, creating=creating) as transaction:
            self._waited(monotonic() - began)
            held = Held(self, transaction)
            for space in names:
                held.settle(space)
            yield held


class Held:
    """Locked spaces."""

    def __init__(self, authority: Authority[Ledger], transaction: Transaction) -> None:
        self._authority = authority
        self._transaction = transaction

    def standing(self, space: str) -> Standing:
        return Standing.of(space, self._transaction.kept(space), self._transaction.head(space))

    def find(self, space: str, head: Head, ids: Sequence[str]) -> Mapping[str, Head]:
        """Those of `ids` that the space has up to its head, and where."""
        return self._transaction.find(space, head, ids)

    def ref(self, name: str) -> str | None:
        return self._transaction.ref(name)

    def takes(self, refs: Sequence[Ref]) -> Collection[Ref]:
        return self._authority.takes(refs)

    def raw(self, space: str, at: Head) -> bytes:
        """The bytes of a commit of the log."""
        return self._transaction.raw(space, at)

    def settle(self, space: str) -> None:
        kept = self._transaction.kept(space)
        tenancy = observe(kept.tenancy, kept.now)
        if kept.lost is None:
            if tenancy != kept.tenancy:
                self.commit(Effect(space, tenancy=tenancy))
            return
        over = Tenancy(space, epoch=max(kept.lost, kept.tenancy.epoch), ended=Ended.RESTORED)
        head = None if kept.lost >= over.epoch else self._transaction.head(space)
        if head is None:
            self.commit(Effect(space, tenancy=over))
            return
        # The journal lacks an epoch that somebody may have been told of: it says so by the one that begins now.
        made = change(over, Restored(over.epoch), kept.now, label=self._label(space))
        self.commit(_remembered(space, kept, made, head))

    def change(self, space: str, transition: Transition) -> Changed:
        head = self._existing(space)
        kept = self._transaction.kept(space)
        reached(Point.BEFORE_DECIDE)
        made = change(kept.tenancy, transition, kept.now, label=self._label(space))
        reached(Point.AFTER_DECIDE)
        self.commit(_remembered(space, kept, made, head))
        return Changed.of(made, head, kept.now)

    def create(self, space: str, *, seq: int = 0) -> Head:
        """See Authority.create; needs `creating`."""
        if not -1 <= seq < MAX_SEQ:
            raise Misuse(f"a space begins with an event from 0 to {MAX_SEQ}, not {seq + 1}")
        if self._transaction.head(space) is not None:
            raise exists_already(self._label(space))
        beginning = _genesis(space, seq=seq)
        head = Head(seq, beginning.oid)
        self.commit(Effect(space, growth=Growth(None, head, beginning)))
        return head

    def take_over(
        self,
        space: str,
        beginning: Head,
        head: Head,
        pusher: Pusher,
        options: Options,
        *,
        create: bool,
        stage: Stage,
        checked: Takes | None,
    ) -> Decision:
        """Move the head from the genesis `beginning` to the head of a log that is imported whole, if the rules accept.

        create: begin the space as well if nobody has (needs `creating`); stage: where the log is
        checked: what its events were held against
        """
        standing = self.standing(space)
        terms = self._authority.terms
        facts = import_facts(terms, pusher, standing, beginning, head.oid, options, create=create, checked=checked)
        decision = _decided(facts)
        if isinstance(decision, Accept):
            growth = Growth(standing.head, head, stage=stage)
            self.commit(self._grown(space, growth, decision, beginning))
        return decision

    def next_epoch(self, space: str) -> int:
        """The epoch that the next tenure will have."""
        return self._transaction.kept(space).tenancy.epoch + 1

    def append(
        self,
        space: str,
        expected: Head,
        commits: Sequence[Candidate],
        pusher: Pusher,
        epoch: int | None,
        *,
        take_lease: bool = False,
        create: bool = False,
        drafted: bool = False,
    ) -> Decision:
        """Move the head from `expected` over `commits`, oldest first, if the rules accept it; write them if so.

        take_lease: take the lease for this append alone, if it is free
        create: begin the space by the same move if nobody has (needs `creating`); `expected` is its genesis then
        drafted: the commits were made here, from events
        """
        standing = self.standing(space)
        before = standing.head
        known = partial(self.find, space, expected) if before else None
        options = Options(epoch, take_lease)
        facts = append_facts(
            self._authority.terms,
            pusher,
            standing,
            expected,
            commits,
            known=known,
            options=options,
            create=create,
            drafted=drafted,
        )
        decision = _decided(facts)
        if isinstance(decision, Accept):
            head = Head(expected.seq + len(commits), commits[-1].oid)
            growth = Growth(before, head, None if before else _genesis(space), commits)
            self.commit(self._grown(space, growth, decision, expected))
        return decision

    def push(self, changes: Sequence[Change], options: Options, pusher: Pusher, incoming: Incoming) -> Decision:
        """See Authority.push; needs the locks of all that it moves."""
        facts = gather(self._authority.terms, pusher, changes, options, self, incoming)
        decision = _decided(facts)
        moving = [each for each in facts.changes if each.change.old != each.change.new]
        if isinstance(decision, Accept) and moving:
            spaces: list[Effect] = []
            refs: list[Change] = []
            for each in moving:
                space, known = each.change.parsed.space, each.space
                if space is None or known is None or known.head is None:
                    refs.append(each.change)
                    continue
                head = Head(known.head.seq + len(known.commits), known.commits[-1].oid)
                growth = Growth(known.head, head, events=known.commits)
                spaces.append(self._grown(space, growth, decision, known.head))
            self._transaction.commit(Effects(spaces, refs, incoming))
        return decision

    def _grown(self, space: str, growth: Growth, accepted: Accept, head: Head) -> Effect:
        """What an accepted growth comes to. head: where the space stands, or is begun"""
        alone = space in accepted.momentary
        effect = self._taken(space, accepted.principal, head) if alone else Effect(space)
        return replace(effect, growth=growth)

    def _taken(self, space: str, principal: str, head: Head) -> Effect:
        """The lease that a push takes for itself alone, taken and released."""
        kept = self._transaction.kept(space)
        made = change(kept.tenancy, OneShot(principal), kept.now, label=self._label(space))
        return _remembered(space, kept, made, head)

    def commit(self, effect: Effect) -> None:
        """What changes in one space, by no rule but those that the caller has asked."""
        if effect != Effect(effect.space):
            self._transaction.commit(Effects([effect]))

    def _existing(self, space: str) -> Head:
        if (head := self._transaction.head(space)) is None:
            raise no_such_space(self._label(space))
        return head

    def _label(self, space: str) -> str:
        return f"{self._authority.label}/{space}"


def _decided(facts: PushFacts) -> Decision:
    """Decided under the locks, where it counts."""
    reached(Point.BEFORE_DECIDE)
    decision = decide(facts)
    reached(Point.AFTER_DECIDE)
    return decision


def _remembered(space: str, kept: Kept, made: Transitioned, head: Head) -> Effect:
    """What a lease transition changes: what is remembered and, if an epoch began, what the journal says of it."""
    entry = None
    if made.tenure is not None:
        entry = encode_entry(entry_of(made.tenure, head), parent=kept.journal)
    after = None if made.after == kept.tenancy else made.after
    return Effect(space, tenancy=after, entry=entry, quiet=after is not None and alike(after, kept.tenancy))


def _genesis(space: str, *, seq: int = 0) -> Candidate:
    check_new("space", space)
    raw = genesis(space, seq=seq)
    return Candidate(commit_oid(raw), raw)
