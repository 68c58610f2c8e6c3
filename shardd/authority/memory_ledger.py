"""A ledger in memory: for as long as the object lives, in one process, for any number of its threads."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from shardd.authority.lease_clock import Mark, SystemTime, TimeSource, read
from shardd.authority.ledger import Commits, Effect, Effects, Growth, Kept
from shardd.authority.moved import Moved
from shardd.core.codec import decode_event, genesis
from shardd.core.event import Event, Head
from shardd.core.import_chain import Placed
from shardd.core.limits import Limits, TooLarge
from shardd.core.notes import NotesFacts
from shardd.core.objects import commit_oid, first_parent, parents
from shardd.core.part import Part
from shardd.core.push_facts import Candidate, Relation, claimed_ids
from shardd.core.refs import LeaseRef, Ref, SpaceRef, classify
from shardd.core.taken_types import Takes
from shardd.core.tenancy import Tenancy
from shardd.errors import Unavailable


@dataclass(slots=True)
class _Log:
    """A genesis, the numbered commits after it, and where each Event-Id stands. It grows, and never shrinks."""

    genesis: Head
    seqs: list[int] = field(default_factory=list)
    commits: list[tuple[str, bytes]] = field(default_factory=list)
    ids: dict[str, Head] = field(default_factory=dict)

    @property
    def head(self) -> Head:
        return Head(self.seqs[-1], self.commits[-1][0]) if self.seqs else self.genesis

    def add(self, seq: int, oid: str, raw: bytes) -> None:
        # A reader counts the numbers: what they belong to is there first.
        self.commits.append((oid, raw))
        self.seqs.append(seq)


@dataclass(slots=True)
class _Leases:
    tenancy: Tenancy
    frozen: str | None = None
    takes: Takes | None = None
    journal: list[tuple[str, bytes]] = field(default_factory=list)


class MemoryStage:
    """A whole log, held until it is shown."""

    def __init__(self) -> None:
        self.log: _Log | None = None

    def __enter__(self) -> MemoryStage:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add(self, commit: Placed) -> None:
        if self.log is None:
            self.log = _Log(Head(commit.seq, commit.oid))
        else:
            self.log.add(commit.seq, commit.oid, commit.raw)

    def ready(self, head: Head, ids: Iterable[tuple[str, int, str]]) -> None:
        if self.log is not None:
            self.log.ids = {id: Head(seq, oid) for id, seq, oid in ids}


class MemoryLedger:
    def __init__(self, *, source: TimeSource | None = None) -> None:
        self.moved = Moved()
        self._source = source or SystemTime()
        self._mark: Mark | None = None
        self._logs: dict[str, _Log] = {}
        self._leases: dict[str, _Leases] = {}
        self._objects: dict[str, bytes] = {}
        self._lock = threading.RLock()

    def head(self, space: str) -> Head | None:
        with self._lock:
            log = self._logs.get(space)
            return None if log is None else log.head

    def events(self, space: str, part: Part) -> Iterator[Event]:
        log = self._logs.get(space)
        if log is None:
            return iter(())
        start = 0 if part.after is None else bisect_right(log.seqs, part.after)
        end = len(log.seqs) if part.until is None else bisect_right(log.seqs, part.until)
        places = range(start, end)[::-1] if part.reverse else range(start, end)
        # Decoded anew for each reader: a reader that changes the data it was given changes nobody else's.
        found = ((log.seqs[at], *log.commits[at]) for at in places[: part.limit])
        return (decode_event(raw, oid=oid, parent_seq=seq - 1) for seq, oid, raw in found)

    def kept(self, space: str) -> Kept:
        with self._lock:
            self._mark = read(self._source, self._mark)
            found = self._leases.get(space) or _Leases(Tenancy(space))
            journal = found.journal[-1][0] if found.journal else None
            return Kept(found.tenancy, self._mark.time, found.frozen, journal, takes=found.takes)

    def spaces(self) -> Sequence[str]:
        with self._lock:
            return sorted(self._logs)

    def leased(self) -> Sequence[str]:
        with self._lock:
            return sorted(self._leases)

    def find(self, space: str, head: Head, ids: Sequence[str]) -> Mapping[str, Head]:
        with self._lock:
            log = self._logs.get(space)
            found = {} if log is None else {id: log.ids[id] for id in ids if id in log.ids}
            return {id: at for id, at in found.items() if at.seq <= head.seq}

    def journal(self, space: str) -> Commits:
        with self._lock:
            return iter(list(self._leases[space].journal if space in self._leases else ()))

    def stage(self, space: str) -> MemoryStage:
        return MemoryStage()

    @contextmanager
    def transaction(
        self, spaces: Iterable[str], *, also: Iterable[str] = (), creating: bool = False
    ) -> Iterator[MemoryLedger]:
        """All spaces at once: there is one lock, and who holds it finds here all that a transaction has."""
        with self._lock:
            yield self

    def raw(self, space: str, at: Head) -> bytes:
        with self._lock:
            return self._objects[at.oid]

    def ref(self, name: str) -> str | None:
        match classify(name):
            case SpaceRef(space):
                head = self.head(space)
                return None if head is None else head.oid
            case LeaseRef(space):
                return self.kept(space).journal
        return None

    def takes(self, refs: Sequence[Ref]) -> Collection[Ref]:
        """None: logs alone are kept."""
        return ()

    def incoming(self, commits: Sequence[Candidate]) -> MemoryIncoming:
        """A push that brings these commits."""
        brought = {commit.oid: commit for commit in commits}
        return MemoryIncoming(lambda oid: brought.get(oid) or self._object(oid))

    def _object(self, oid: str) -> Candidate | None:
        with self._lock:
            raw = self._objects.get(oid)
            return None if raw is None else Candidate(oid, raw)

    def commit(self, effects: Effects) -> None:
        if effects.refs:
            raise Unavailable("a ledger in memory keeps logs alone")
        for effect in effects.spaces:
            if effect.growth is not None and effect.growth.old != self.head(effect.space):
                raise Unavailable(f"the head of {effect.space} has moved although it was held")
        for effect in effects.spaces:
            self._take(effect)
        for effect in effects.spaces:
            if not effect.quiet:
                self.moved.set(effect.space)

    def _take(self, effect: Effect) -> None:
        leases = self._leases.setdefault(effect.space, _Leases(Tenancy(effect.space)))
        if effect.entry is not None:
            leases.journal.append((commit_oid(effect.entry), effect.entry))
        if effect.tenancy is not None:
            leases.tenancy = effect.tenancy
        if effect.frozen is not None:
            leases.frozen = effect.frozen.message
        if effect.taking is not None:
            leases.takes = effect.taking.takes
        if effect.growth is not None:
            self._grow(effect.space, effect.growth)

    def _grow(self, space: str, growth: Growth) -> None:
        if isinstance(growth.stage, MemoryStage) and growth.stage.log is not None:
            whole = self._logs[space] = growth.stage.log
            self._objects[whole.genesis.oid] = genesis(space, seq=whole.genesis.seq)
            self._objects.update(whole.commits)
            return
        log = self._logs.get(space)
        if log is None:
            log = _Log(growth.new if growth.old is None else growth.old)
            if growth.genesis is not None:
                log = _Log(Head(growth.new.seq - len(growth.events), growth.genesis.oid))
                self._objects[growth.genesis.oid] = growth.genesis.raw
        ids = claimed_ids(growth.events)
        for seq, commit, id in zip(range(log.head.seq + 1, growth.new.seq + 1), growth.events, ids, strict=True):
            self._objects[commit.oid] = commit.raw
            log.ids[id] = Head(seq, commit.oid)
            log.add(seq, commit.oid, commit.raw)
        self._logs[space] = log


class MemoryIncoming:
    """See Incoming. commit: finds one by its oid, brought or kept"""

    def __init__(self, commit: Callable[[str], Candidate | None]) -> None:
        self._commit = commit

    def is_commit(self, oid: str) -> bool:
        if self._commit(oid) is None:
            raise Unavailable(f"what was pushed is gone: {oid[:12]} was not brought", "push it again")
        return True

    def descends(self, new: str, old: str) -> bool:
        return old in self._ancestors(new)

    def relate(self, head: Head, new: str, limits: Limits) -> tuple[Relation, Sequence[Candidate]]:
        self.is_commit(new)
        found: list[Candidate] = []
        at: str | None = new
        while at is not None and at != head.oid and (commit := self._commit(at)) is not None:
            if len(commit.raw) > limits.commit_bytes:
                raise TooLarge(at, len(commit.raw), limits.commit_bytes)
            found.append(commit)
            at = first_parent(commit.raw)
        if at == head.oid:
            return (Relation.EXTENDS, found[::-1]) if len(found) <= limits.events else (Relation.TOO_LONG, ())
        new_ones, old_ones = self._ancestors(new), self._ancestors(head.oid)
        if new in old_ones:
            return Relation.BEHIND, ()
        if head.oid in new_ones:
            return Relation.MERGES, ()
        return (Relation.FORKS if new_ones & old_ones else Relation.UNRELATED), ()

    def notes(self, new: str, old: str | None, limits: Limits, *, alone: bool) -> NotesFacts:
        raise Unavailable("a ledger in memory keeps no notes")

    def _ancestors(self, oid: str) -> set[str]:
        """The commit itself and all that lead to it."""
        found: set[str] = set()
        left = [oid]
        while left:
            at = left.pop()
            if at not in found and (commit := self._commit(at)) is not None:
                found.add(at)
                left += parents(commit.raw)
        return found
