"""The authority: the one component that checks lease and epoch and moves heads.

What it guarantees, by every way in and when any process is killed at any point:
once `change` has answered "epoch N, head H", no event of an earlier epoch is appended any more, and the head stays H
until the holder of N moves it; once `append` has accepted, the events are durable and every later reader sees them.

`EmbeddedAuthority` keeps it with one lock per space (storage/locks.py), the git ref as the head, and one file per space
for the leases (storage/leases.py). The order of writes carries the promise:

- a lease change is stored in that file, which decides it, while git holds the journal ref, and then published there,
  before the call answers. A crash between the two leaves a journal that lags; the next holder of the lock publishes the
  very same bytes before it does anything else, and the head cannot have moved meanwhile. If git fails in between, and
  nothing was published, the store is put back: the answer is no.
- a push moves its refs last, after all that it needs is on disk. What its refusal would have left behind (objects) is
  garbage that nothing names. The lease of a push that takes one for itself alone is stored like any other, and its
  journal entry moves together with the log: a crash there costs an epoch, never an event.
- a move of a log also verifies the journal of its space, and a move of a journal the log, in one transaction of git: so
  an old epoch is fenced off by git itself, should a lock fail.
- whatever the last holder of a lock did not bring to its end is finished and synced first (storage/intents.py), so that
  nothing is answered from what may yet be lost.
- where the file and the journal disagree in any other way (a lost or restored file, a restored repo), both are
  believed in what they forbid: leases from before are over, and epochs go on above either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from shardd.core.append import exists_already, no_such_space
from shardd.core.codec import genesis
from shardd.core.event import MAX_SEQ, Head
from shardd.core.journal import Entry, decode_entry, encode_entry, entry_of
from shardd.core.lease import Ended, Lease, Momentary, Outcome, Restored, Tenancy, Transition, change, observe
from shardd.core.limits import Limits
from shardd.core.names import check_space, lease_ref, space_ref
from shardd.core.objects import commit_oid
from shardd.core.policy import Accept, Candidate, Decision, decide
from shardd.core.roles import Rights
from shardd.errors import BadEvent, Corrupt, Misuse
from shardd.storage import intents
from shardd.storage.clock import Mark, SystemTime, TimeSource, read
from shardd.storage.facts import Options, Place, Pusher, Standing, append_facts, import_facts
from shardd.storage.git import RefMove
from shardd.storage.index import EventIndex
from shardd.storage.kept import KeptPacks, gather
from shardd.storage.leases import LeaseStore, Record
from shardd.storage.locks import HEAD, Lock
from shardd.storage.moving import Step, carry_out
from shardd.storage.repository import Repository
from shardd.storage.seams import Point, reached


@dataclass(frozen=True, slots=True)
class Changed:
    """The answer to a lease change. waiting: how many stand before the asker, if it was put in line instead."""

    epoch: int
    head: Head
    lease: Lease | None
    waiting: int | None = None

    @classmethod
    def of(cls, outcome: Outcome, head: Head) -> Changed:
        return cls(outcome.after.epoch, head, outcome.after.lease, outcome.waiting)


class EmbeddedAuthority:
    """The authority over one bare repo, in as many processes as like to have one.

    label: what the repo is called in messages and scopes; rights: who may append; source: the machine's clocks
    """

    def __init__(
        self,
        repository: Repository,
        *,
        label: str,
        rights: Rights,
        limits: Limits | None = None,
        source: TimeSource | None = None,
    ) -> None:
        index = EventIndex(repository.state / "index")
        limits = limits or Limits()
        self.place = Place(repository=repository, index=index, label=label, rights=rights, limits=limits)
        self._source = source or SystemTime()
        self.leases = LeaseStore(repository.state)

    def head(self, space: str) -> Head | None:
        place = self.place
        oid = place.repository.read_ref(space_ref(check_space(space)))
        return None if oid is None else place.index.head(place.repository, space, oid)

    def existing(self, space: str) -> Head:
        """Like head, but Rejected where there is none."""
        head = self.head(space)
        if head is None:
            raise no_such_space(f"{self.place.label}/{space}")
        return head

    def standing(self, space: str) -> Standing:
        """How things stand just now, without a lock: for showing, and for a first look at a push."""
        stored, mark = self.leases.look(check_space(space))
        record = stored or Record(Tenancy(space))
        now = read(self._source, mark).time
        tenancy = observe(record.tenancy, now)
        if tenancy.lease != record.tenancy.lease:
            # An expiry that somebody is told of must be stored first, so that no clock can take it back.
            with self.hold([space]) as held:
                return held.standing(space)
        return Standing(space, self.head(space), tenancy, record.frozen, now)

    def held_by(self, principal: str) -> list[str]:
        """The spaces whose lease the principal holds."""
        found = []
        for space in self.leases.spaces():
            record, mark = self.leases.look(space)
            lease = record and observe(record.tenancy, read(self._source, mark).time).lease
            if lease and lease.holder == principal:
                found.append(space)
        return found

    def find(self, space: str, head: Head, ids: Sequence[str]) -> Mapping[str, Head]:
        """Some of `ids` that the space has, and where, as far as the index knows: for a first look at a push."""
        return self.place.index.peek(self.place.repository, space, head, ids)

    def history(self, space: str) -> Iterator[Entry]:
        """The published journal, oldest first. Corrupt where it does not read."""
        repository = self.place.repository
        newest = repository.read_ref(lease_ref(check_space(space)))
        for oid, raw in repository.history(newest) if newest else ():
            yield self.entry(space, oid, raw)

    def change(self, space: str, transition: Transition) -> Changed:
        self.existing(space)
        with self.hold([space]) as held:
            return held.change(space, transition)

    def append(
        self, space: str, expected: Head, commits: Sequence[Candidate], *, principal: str, epoch: int | None
    ) -> Decision:
        self.existing(space)
        with self.hold([space]) as held:
            return held.append(space, expected, commits, Pusher(principal), epoch)

    def create(self, space: str, *, seq: int = 0) -> Head:
        """Begin a space with its genesis, numbered `seq`; Rejected if it exists."""
        with self.hold([space], creating=True) as held:
            return held.create(space, seq=seq)

    def freeze(self, space: str, message: str | None) -> None:
        """Make a space read-only, with the message that a pusher is shown; None lifts it."""
        self.existing(space)
        with self.hold([space]) as held:
            held.freeze(space, message)

    @contextmanager
    def hold(self, spaces: Iterable[str], *, also: Iterable[str] = (), creating: bool = False) -> Iterator[Held]:
        """All these spaces, locked against every other process until the block ends.

        also: further locks to take, for refs that belong to no space; creating: a space may be created meanwhile
        """
        names = [check_space(space) for space in spaces]
        wanted = [*names, *also, HEAD] if creating else [*names, *also]
        repository = self.place.repository
        reached(Point.BEFORE_LOCK)
        with (
            intents.settled(repository, set(wanted)) as locks,
            KeptPacks(repository.path, [lock.name for lock in locks]) as kept,
        ):
            reached(Point.AFTER_LOCK)
            try:
                yield Held(self, self._source, names, locks, kept)
            except BaseException:
                if any(lock.read() for lock in locks):
                    kept.leave()
                raise
        if kept.wrote:
            gather(repository.path, repository.locks)
        reached(Point.BEFORE_ANSWER)

    def entry(self, space: str, oid: str, raw: bytes) -> Entry:
        """What a commit of the journal says, or Corrupt."""
        try:
            return decode_entry(raw)
        except BadEvent as error:
            path = self.place.repository.path
            raise Corrupt(f"{lease_ref(space)} in {path}, commit {oid[:12]}: {error.message}") from None


class Held:
    """Locked spaces. On entry each is brought into order: expiry stored, journal complete."""

    def __init__(
        self,
        authority: EmbeddedAuthority,
        source: TimeSource,
        spaces: Sequence[str],
        locks: Sequence[Lock],
        kept: KeptPacks,
    ) -> None:
        self._repository = authority.place.repository
        self._authority = authority
        self._store = authority.leases
        self._source = source
        self._locks = locks
        self._kept = kept
        self._records: dict[str, Record] = {}
        self._marks: dict[str, Mark | None] = {}
        for space in spaces:
            self._records[space] = self._settle(space)

    def standing(self, space: str) -> Standing:
        record = self._records[space]
        now = self._clock(space).time
        return Standing(space, self._authority.head(space), observe(record.tenancy, now), record.frozen, now)

    def find(self, space: str, head: Head, ids: Sequence[str]) -> Mapping[str, Head]:
        """Those of `ids` that the space has up to its head, and where."""
        return self._authority.place.index.find(self._repository, space, head, ids)

    def refs(self, space: str) -> dict[str, str]:
        """Where the log and the journal of its leases stand."""
        found = {ref: self._repository.read_ref(ref) for ref in (space_ref(space), lease_ref(space))}
        return {ref: oid for ref, oid in found.items() if oid is not None}

    def record(self, space: str) -> Record:
        """All that is remembered of the space's leases."""
        return self._records[space]

    def change(self, space: str, transition: Transition) -> Changed:
        head = self._authority.existing(space)
        mark = self._clock(space)
        reached(Point.BEFORE_DECIDE)
        outcome = change(self._records[space].tenancy, transition, mark.time, label=self._label(space))
        reached(Point.AFTER_DECIDE)
        self._move([], self._remember(space, outcome, head, mark))
        return Changed.of(outcome, head)

    def create(self, space: str, *, seq: int = 0) -> Head:
        """See EmbeddedAuthority.create; needs `creating`."""
        if not -1 <= seq < MAX_SEQ:
            raise Misuse(f"a space begins with an event from 0 to {MAX_SEQ}, not {seq + 1}")
        if self._authority.head(space) is not None:
            raise exists_already(self._label(space))
        raw = genesis(space, seq=seq)
        oid = commit_oid(raw)
        self._kept.write([raw])
        self._show(space, None, oid)
        return Head(seq, oid)

    def take_over(
        self,
        space: str,
        beginning: Head,
        tip: str,
        pusher: Pusher,
        options: Options,
        *,
        create: bool,
        publish: Callable[[KeptPacks], None],
    ) -> Decision:
        """Move the head from the genesis `beginning` to the tip of a log that is imported whole, if the rules accept.

        create: begin the space as well if nobody has (needs `creating`); publish: puts the commits into the repo
        """
        standing = self.standing(space)
        facts = import_facts(self._authority.place, pusher, standing, beginning, tip, options, create=create)
        reached(Point.BEFORE_DECIDE)
        decision = decide(facts)
        reached(Point.AFTER_DECIDE)
        if isinstance(decision, Accept):
            publish(self._kept)
            self._show(space, standing.head, tip, self._take(decision, pusher.principal or "", beginning))
        return decision

    def freeze(self, space: str, message: str | None) -> None:
        self._save(replace(self._records[space], frozen=message), self._clock(space))

    def next_epoch(self, space: str) -> int:
        """The epoch that the next tenure will have."""
        return self._records[space].tenancy.epoch + 1

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
    ) -> Decision:
        """Move the head from `expected` over `commits`, oldest first, if the rules accept it; write them if so.

        take_lease: take the lease for this append alone, if it is free
        create: begin the space by the same move if nobody has (needs `creating`); `expected` is its genesis then
        """
        place = self._authority.place
        standing = self.standing(space)
        before = standing.head
        known = partial(self.find, space, expected) if before else None
        options = Options(epoch, take_lease)
        facts = append_facts(place, pusher, standing, expected, commits, known=known, options=options, create=create)
        reached(Point.BEFORE_DECIDE)
        decision = decide(facts)
        reached(Point.AFTER_DECIDE)
        if isinstance(decision, Accept):
            beginning = [] if before else [genesis(space)]
            self._kept.write([*beginning, *(commit.raw for commit in commits)])
            self._show(space, before, commits[-1].oid, self._take(decision, pusher.principal or "", expected))
        return decision

    def move(self, moves: Sequence[RefMove], accepted: Accept, principal: str) -> None:
        """Carry out what `decide` accepted under these locks: leases for this push alone, and the refs, all or none."""
        self._repository.secure(self._kept, moves, [e.oid for events in accepted.events.values() for e in events])
        self._move(moves, self._take(accepted, principal))

    def _take(self, accepted: Accept, principal: str, head: Head | None = None) -> list[Step]:
        """The leases that what was accepted takes for itself alone, taken and released.

        head: where the space stands, or is begun
        """
        taken: list[tuple[str, Outcome, Head, Mark]] = []
        for space in accepted.momentary:
            mark = self._clock(space)
            tenancy = self._records[space].tenancy
            outcome = change(tenancy, Momentary(principal), mark.time, label=self._label(space))
            taken.append((space, outcome, head or self._authority.existing(space), mark))
        return [step for each in taken for step in self._remember(*each)]

    def _settle(self, space: str) -> Record:
        stored, self._marks[space] = self._store.look(space)
        self._records[space] = record = stored or Record(Tenancy(space))
        published = self._repository.read_ref(lease_ref(space))
        mark = self._clock(space)
        if published != record.journal:
            self._reconcile(space, record, published, mark)
            record = self._records[space]
        tenancy = observe(record.tenancy, mark.time)
        noted = self._marks[space]
        if tenancy != record.tenancy or noted is None or noted.boot != mark.boot:
            self._save(replace(record, tenancy=tenancy), mark)
        return self._records[space]

    def _reconcile(self, space: str, record: Record, published: str | None, mark: Mark) -> None:
        """Journal and store disagree: publish what a crash kept back, or begin anew above both."""
        kept_back = self._repository.leading_to(record.entry, published) if record.journal and record.entry else None
        if kept_back:
            self._kept.write(kept_back)
            self._move([RefMove(lease_ref(space), published, record.journal)])
            return
        known = 0
        if published is not None:
            known = self._authority.entry(space, published, self._repository.commit(published)).tenure.epoch
        over = Tenancy(space, epoch=max(known, record.tenancy.epoch), ended=Ended.RESTORED)
        self._records[space] = record = replace(record, journal=published, entry=None)
        head = self._authority.head(space)
        if known >= over.epoch or head is None:
            self._save(replace(record, tenancy=over), mark)
            return
        # The journal lacks an epoch that somebody may have been told of: it says so by the one that begins now.
        outcome = change(over, Restored(over.epoch), mark.time, label=self._label(space))
        self._move([], self._remember(space, outcome, head, mark))

    def _remember(self, space: str, outcome: Outcome, head: Head, mark: Mark) -> list[Step]:
        """Store the outcome, if it begins no epoch; else what is to be stored and published together."""
        record = self._records[space]
        if outcome.tenure is None:
            if outcome.after != record.tenancy:
                self._save(replace(record, tenancy=outcome.after), mark)
            return []
        raw = encode_entry(entry_of(outcome.tenure, head), parent=record.journal)
        oid = commit_oid(raw)
        self._kept.write([raw])
        after = replace(record, tenancy=outcome.after, journal=oid, entry=raw)
        return [Step(after, mark, RefMove(lease_ref(space), record.journal, oid), head.oid)]

    def _show(self, space: str, before: Head | None, oid: str, steps: Sequence[Step] = ()) -> None:
        """Move a space to `oid`, which begins it if there was none `before`. steps: epochs that begin with it"""
        ref = space_ref(space)
        if before is None:
            self._repository.lend_head(ref)
        self._move([RefMove(ref, before.oid if before else None, oid)], steps)

    def _move(self, moves: Sequence[RefMove], steps: Sequence[Step] = ()) -> None:
        journals = {space: record.journal for space, record in self._records.items()}
        carry_out(self._repository, self._store, self._locks, moves, steps, journals=journals)
        self._records.update({step.space: step.record for step in steps})

    def _save(self, record: Record, mark: Mark) -> None:
        self._store.save(record, mark)
        self._records[record.tenancy.space] = record
        self._marks[record.tenancy.space] = mark

    def _clock(self, space: str) -> Mark:
        return read(self._source, self._marks[space])

    def _label(self, space: str) -> str:
        return f"{self._authority.place.label}/{space}"
