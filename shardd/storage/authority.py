"""The authority: the one component that checks lease and epoch and moves heads.

`Authority` is the whole interface. What it guarantees, by every way in and when any process is killed at any point:
once `change` has answered "epoch N, head H", no event of an earlier epoch is appended any more, and the head stays H
until the holder of N moves it; once `append` has accepted, the events are durable and every later reader sees them.

`EmbeddedAuthority` keeps it with one lock per space (storage/locks.py), the git ref as the head, and SQLite for the
leases. The order of writes carries the promise:

- a lease change is committed to SQLite first, which decides it, and then published in the journal ref, before the call
  answers. A crash between the two leaves a journal that lags; the next holder of the lock publishes the very same
  bytes before it does anything else, and the head cannot have moved meanwhile.
- a push moves its refs last, after all that it needs is on disk. What its refusal would have left behind (objects) is
  garbage that nothing names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from shardd.core.codec import genesis
from shardd.core.event import Head
from shardd.core.journal import Entry, decode_entry, encode_entry
from shardd.core.lease import Ended, Lease, Momentary, Outcome, Tenancy, Tenure, Transition, change, observe
from shardd.core.limits import Limits
from shardd.core.names import check_space, lease_ref, space_ref
from shardd.core.objects import commit_oid
from shardd.core.policy import Accept, Candidate, Change, Decision, Relation, decide
from shardd.core.roles import Rights
from shardd.errors import BadEvent, Corrupt, Rejected
from shardd.storage.clock import Mark, SystemTime, TimeSource, read
from shardd.storage.facts import Place, Pusher, Standing, claimed_ids, gather_one, space_facts
from shardd.storage.git import RefMove
from shardd.storage.index import EventIndex
from shardd.storage.leases import LeaseStore, Record
from shardd.storage.locks import locked
from shardd.storage.repository import Repository


@dataclass(frozen=True, slots=True)
class Changed:
    """The answer to a lease change. waiting: how many stand before the asker, if it was put in line instead."""

    epoch: int
    head: Head
    lease: Lease | None
    waiting: int | None = None


class Authority(Protocol):
    """What every implementation does, each call atomic. tests/contract/test_authority.py is its contract."""

    def change(self, space: str, transition: Transition) -> Changed:
        """Apply a lease transition; Rejected if it may not be, or if nobody created the space."""
        ...

    def append(
        self, space: str, expected: Head, commits: Sequence[Candidate], *, principal: str, epoch: int | None
    ) -> Decision:
        """Move the head from `expected` over `commits`, if the rules of a push accept that from `principal`."""
        ...

    def head(self, space: str) -> Head | None:
        """Where the space stands; None if it does not exist."""
        ...


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
        self.place = Place(repository, EventIndex(repository.state / "index.db"), label, rights, limits or Limits())
        self._source = source or SystemTime()
        self._store = LeaseStore(repository.state / "authority.db")
        self._locks = repository.state / "locks"

    def head(self, space: str) -> Head | None:
        place = self.place
        oid = place.repository.read_ref(space_ref(check_space(space)))
        return None if oid is None else place.index.head(place.repository, space, oid)

    def existing(self, space: str) -> Head:
        """Like head, but Rejected where there is none."""
        head = self.head(space)
        if head is None:
            label = f"{self.place.label}/{space}"
            raise Rejected(
                "no-such-space", f"there is no space {label}", f"an admin creates it: `shardd space create {label}`"
            )
        return head

    def standing(self, space: str) -> Standing:
        """How things stand just now, without a lock: for showing, and for a first look at a push."""
        record = self._store.load(check_space(space)) or Record(Tenancy(space))
        now = read(self._source, self._store.mark()).time
        return Standing(space, self.head(space), observe(record.tenancy, now), record.frozen, now)

    def change(self, space: str, transition: Transition) -> Changed:
        self.existing(space)
        with self.hold([space]) as held:
            return held.change(space, transition)

    def append(
        self, space: str, expected: Head, commits: Sequence[Candidate], *, principal: str, epoch: int | None
    ) -> Decision:
        with self.hold([space]) as held:
            return held.append(space, expected, commits, Pusher(principal), epoch)

    def create(self, space: str) -> Head:
        """Begin a space with its genesis; Rejected if it exists."""
        with self.hold([space]) as held:
            return held.create(space)

    def freeze(self, space: str, message: str | None) -> None:
        """Make a space read-only, with the message that a pusher is shown; None lifts it."""
        self.existing(space)
        with self.hold([space]) as held:
            held.freeze(space, message)

    @contextmanager
    def hold(self, spaces: Iterable[str], *, also: Iterable[str] = ()) -> Iterator[Held]:
        """All these spaces, locked against every other process until the block ends.

        also: further locks to take, for refs that belong to no space; their names begin with `@`
        """
        names = [check_space(space) for space in spaces]
        self._locks.mkdir(mode=0o700, exist_ok=True)
        with locked(self._locks, [*names, *also]) as descriptors:
            yield Held(self, self._store, self._source, names, descriptors)


class Held:
    """Locked spaces. On entry each is brought into order: expiry stored, journal complete."""

    def __init__(
        self,
        authority: EmbeddedAuthority,
        store: LeaseStore,
        source: TimeSource,
        spaces: Sequence[str],
        descriptors: Sequence[int],
    ) -> None:
        self._repository = authority.place.repository
        self._authority = authority
        self._store = store
        self._source = source
        self._descriptors = descriptors
        self._records: dict[str, Record] = {}
        for space in spaces:
            self._records[space] = self._settle(space)

    def standing(self, space: str) -> Standing:
        record = self._records[space]
        now = self._clock().time
        return Standing(space, self._authority.head(space), observe(record.tenancy, now), record.frozen, now)

    def change(self, space: str, transition: Transition) -> Changed:
        head = self._authority.existing(space)
        mark = self._clock()
        outcome = change(self._records[space].tenancy, transition, mark.time, label=self._label(space))
        self._apply(space, outcome, head, mark)
        after = outcome.after
        return Changed(after.epoch, head, after.lease, outcome.waiting)

    def create(self, space: str) -> Head:
        if self._authority.head(space) is not None:
            raise Rejected("exists", f"the space {self._label(space)} exists already")
        raw = genesis(space)
        oid = commit_oid(raw)
        self._repository.write_commits([raw])
        self._repository.move_refs([RefMove(space_ref(space), None, oid)], locks=self._descriptors)
        checked_out = (self._repository.read_ref("HEAD") or "").removeprefix("ref: ")
        if not checked_out or self._repository.read_ref(checked_out) is None:
            # A clone checks out what HEAD names: the first space.
            self._repository.git.run("symbolic-ref", "HEAD", space_ref(space))
        return Head(0, oid)

    def freeze(self, space: str, message: str | None) -> None:
        self._save(replace(self._records[space], frozen=message), self._clock())

    def append(
        self, space: str, expected: Head, commits: Sequence[Candidate], pusher: Pusher, epoch: int | None
    ) -> Decision:
        """Move the head from `expected` over `commits`, oldest first, if the rules accept it; write them if so."""
        place = self._authority.place
        standing = self.standing(space)
        head = standing.head
        known = {}
        relation = Relation.EXTENDS if head == expected else Relation.FORKS
        if head is not None and relation is Relation.EXTENDS:
            known = place.index.find(self._repository, space, head.oid, claimed_ids(commits))
        ref = space_ref(space)
        change = Change(ref, expected.oid, commits[-1].oid)
        facts = gather_one(place, pusher, change, standing, space_facts(standing, relation, commits, known), epoch)
        decision = decide(facts)
        if isinstance(decision, Accept):
            self._repository.write_commits(commit.raw for commit in commits)
            self._repository.move_refs([RefMove(ref, expected.oid, commits[-1].oid)], locks=self._descriptors)
        return decision

    def move(self, moves: Sequence[RefMove], accepted: Accept, principal: str) -> None:
        """Carry out what `decide` accepted under these locks: leases for this push alone, then the refs."""
        for space in accepted.momentary:
            self.change(space, Momentary(principal))
        self._repository.sync_objects(
            [*(event.oid for events in accepted.events.values() for event in events), *(m.new for m in moves if m.new)]
        )
        self._repository.move_refs(moves, locks=self._descriptors)

    def _settle(self, space: str) -> Record:
        record = self._store.load(space)
        published = self._repository.read_ref(lease_ref(space))
        mark = self._clock()
        if record is None or published != record.journal:
            record = self._mend_journal(space, record or Record(Tenancy(space)), published, mark)
        tenancy = observe(record.tenancy, mark.time)
        stored = self._store.mark()
        if tenancy != record.tenancy or stored is None or stored.boot != mark.boot:
            record = replace(record, tenancy=tenancy)
            self._save(record, mark)
        return record

    def _mend_journal(self, space: str, record: Record, published: str | None, mark: Mark) -> Record:
        """Journal and store disagree: publish what a crash kept back, or learn from the journal what the store lost."""
        if published is not None:
            try:
                entry = decode_entry(self._repository.commit(published))
            except BadEvent as error:
                raise Corrupt(f"{lease_ref(space)} in {self._repository.path}: {error.message}") from None
            if entry.tenure.epoch > record.tenancy.epoch:
                lost = Tenancy(space, epoch=entry.tenure.epoch, ended=Ended.RESTORED)
                record = replace(record, tenancy=lost, journal=published, entry=None)
                self._save(record, mark)
                return record
        if record.journal is not None:
            if record.entry is not None:
                self._repository.write_commits([record.entry])
            self._repository.move_refs([RefMove(lease_ref(space), published, record.journal)], locks=self._descriptors)
        return record

    def _apply(self, space: str, outcome: Outcome, head: Head, mark: Mark) -> None:
        record = replace(self._records[space], tenancy=outcome.after)
        if outcome.tenure is None:
            self._save(record, mark)
            return
        published = record.journal
        raw = encode_entry(Entry(_plain(outcome.tenure), head), parent=published)
        record = replace(record, journal=commit_oid(raw), entry=raw)
        self._repository.write_commits([raw])
        self._save(record, mark)
        self._repository.move_refs([RefMove(lease_ref(space), published, record.journal)], locks=self._descriptors)

    def _save(self, record: Record, mark: Mark) -> None:
        self._store.save(record, mark)
        self._records[record.tenancy.space] = record

    def _clock(self) -> Mark:
        return read(self._source, self._store.mark())

    def _label(self, space: str) -> str:
        return f"{self._authority.place.label}/{space}"


def _plain(tenure: Tenure) -> Tenure:
    """The reason on one line, as a commit message can hold it."""
    return replace(tenure, text=" ".join(tenure.text.split())[:200])
