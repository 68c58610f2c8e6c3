"""The ledger that is one bare repo, in as many processes as like to open it.

It keeps one lock per space (files/space_locks.py), the git ref as the head, and a file of leases per space
(authority/lease_store.py). The order of writes carries the authority's promise:

- a lease change is stored in that file, which decides it, while git holds the journal ref, and then published there,
  before `commit` returns. A crash between the two leaves a journal that lags; the next holder of the lock publishes the
  very same bytes before it does anything else, and the head cannot have moved meanwhile. If git fails in between, and
  nothing was published, the store is put back: nothing was committed.
- refs move last, after all that they need is on disk. What a crash before that leaves behind (objects) is garbage that
  nothing names. The lease of a push that takes one for itself alone is stored like any other, and its journal entry
  moves together with the log: a crash there costs an epoch, never an event.
- a move of a log also verifies the journal of its space, and a move of a journal the log, in one transaction of git: so
  an old epoch is fenced off by git itself, should a lock fail.
- what the last holder of a lock left half done is finished and synced first (authority/move_record.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from shardd.authority import move_record
from shardd.authority.event_index import Draft, EventIndex
from shardd.authority.index_file import Row
from shardd.authority.lease_clock import Mark, SystemTime, TimeSource, read
from shardd.authority.lease_store import LeaseStore, Record
from shardd.authority.ledger import Commits, Effect, Effects, Growth, Kept
from shardd.authority.moved import Moved
from shardd.authority.moving import Step, carry_out
from shardd.core.event import Event, Head
from shardd.core.import_chain import Placed
from shardd.core.journal import entry_at
from shardd.core.objects import commit_oid
from shardd.core.part import Part
from shardd.core.push_facts import Candidate
from shardd.core.refs import Change, LeaseRef, OtherRef, Ref, SpaceRef, lease_ref, space_ref
from shardd.core.tenancy import Tenancy
from shardd.errors import SharddError
from shardd.files.crash_points import Point, reached
from shardd.files.space_locks import HEAD, Lock
from shardd.git import log_reader
from shardd.git.kept_packs import KeptPacks, gather
from shardd.git.pack_writer import PackWriter
from shardd.git.plain_refs import plain_patterns, plainly
from shardd.git.repository import Repository


class EmbeddedLedger:
    """See Ledger. source: the machine's clocks; moved: shared by all in this process that look at the repo"""

    def __init__(self, repository: Repository, *, source: TimeSource | None = None, moved: Moved | None = None) -> None:
        self.repository = repository
        self.index = EventIndex(repository.state / "index")
        self.leases = LeaseStore(repository.state)
        self.source = source or SystemTime()
        self.moved = moved or Moved()

    def head(self, space: str) -> Head | None:
        oid = self.repository.read_ref(space_ref(space))
        return None if oid is None else self.index.head(self.repository, space, oid)

    def events(self, space: str, part: Part) -> Iterator[Event]:
        oid = self.repository.read_ref(space_ref(space))
        if oid is None:
            return iter(())
        places = None if part == Part() else self.index.places(self.repository, space, oid)
        return log_reader.events(self.repository, space, oid, part, places=places)

    def kept(self, space: str) -> Kept:
        stored, mark = self.leases.look(space)
        record = stored or Record(Tenancy(space))
        return Kept(record.tenancy, read(self.source, mark).time, record.frozen, record.journal, takes=record.takes)

    def spaces(self) -> Sequence[str]:
        return self.repository.spaces()

    def leased(self) -> Sequence[str]:
        return self.leases.spaces()

    def find(self, space: str, head: Head, ids: Sequence[str]) -> Mapping[str, Head]:
        return self.index.peek(self.repository, space, head, ids)

    def journal(self, space: str) -> Commits:
        newest = self.repository.read_ref(lease_ref(space))
        return iter(self.repository.history(newest) if newest else ())

    def refs(self, space: str) -> dict[str, str]:
        """Where the log and the journal of a space stand."""
        found = {ref: self.repository.read_ref(ref) for ref in (space_ref(space), lease_ref(space))}
        return {ref: oid for ref, oid in found.items() if oid is not None}

    def ref(self, name: str) -> str | None:
        return self.repository.read_ref(name)

    def takes(self, refs: Sequence[Ref]) -> Collection[Ref]:
        # A name that is malformed in a folder of ours is of no family either, and left to git by no pattern.
        patterns = plain_patterns(self.repository.git) if any(isinstance(ref, OtherRef) for ref in refs) else []
        return {ref for ref in refs if not isinstance(ref, OtherRef) or plainly(ref.name, patterns)}

    def stage(self, space: str) -> EmbeddedStage:
        return EmbeddedStage(self, space)

    @contextmanager
    def transaction(
        self, spaces: Iterable[str], *, also: Iterable[str] = (), creating: bool = False
    ) -> Iterator[EmbeddedTransaction]:
        names = list(spaces)
        wanted = {*names, *also, HEAD} if creating else {*names, *also}
        reached(Point.BEFORE_LOCK)
        with (
            move_record.settled(self.repository, wanted) as locks,
            KeptPacks(self.repository.path, [lock.name for lock in locks]) as packs,
        ):
            reached(Point.AFTER_LOCK)
            try:
                yield EmbeddedTransaction(self, names, locks, packs)
            except BaseException:
                if any(lock.read() for lock in locks):
                    packs.leave()
                raise
        if packs.wrote:
            gather(self.repository.path, self.repository.locks)
        reached(Point.BEFORE_ANSWER)


class EmbeddedStage:
    """Packs that no ref leads to, and an index of them that nobody looks into."""

    def __init__(self, ledger: EmbeddedLedger, space: str) -> None:
        self._ledger = ledger
        self._space = space
        self._open = ExitStack()
        self._index: Draft | None = None
        self.packs = PackWriter(ledger.repository)

    def __enter__(self) -> EmbeddedStage:
        self._open.enter_context(self.packs)
        self.packs.empty_tree()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, commit: Placed) -> None:
        self.packs.commit(commit.raw)

    def ready(self, head: Head, ids: Iterable[tuple[str, int, str]]) -> None:
        with suppress(SharddError):  # it can be made again from the log
            draft = self._ledger.index.draft(self._space, head, map(Row._make, ids))
            self._index = self._open.enter_context(draft)

    def shown(self) -> None:
        """The log is there."""
        if self._index is not None:
            with suppress(SharddError):
                self._index.install()


class EmbeddedTransaction:
    """See Transaction. On entry each journal shows what was decided, as far as that is known."""

    def __init__(self, ledger: EmbeddedLedger, spaces: Sequence[str], locks: Sequence[Lock], packs: KeptPacks) -> None:
        self._ledger = ledger
        self._repository = ledger.repository
        self._locks = locks
        self._packs = packs
        self._records: dict[str, Record] = {}
        self._marks: dict[str, Mark | None] = {}
        self._lost: dict[str, int] = {}
        # Nobody else moves a log meanwhile: what was looked up holds until the next commit.
        self._heads: dict[str, Head | None] = {}
        self._found: dict[tuple[str, Head, tuple[str, ...]], Mapping[str, Head]] = {}
        for space in spaces:
            self._load(space)

    def kept(self, space: str) -> Kept:
        record = self._records[space]
        now = self._clock(space).time
        return Kept(record.tenancy, now, record.frozen, record.journal, self._lost.get(space), record.takes)

    def head(self, space: str) -> Head | None:
        if space not in self._heads:
            self._heads[space] = self._ledger.head(space)
        return self._heads[space]

    def find(self, space: str, head: Head, ids: Sequence[str]) -> Mapping[str, Head]:
        asked = (space, head, tuple(ids))
        if asked not in self._found:
            self._found[asked] = self._ledger.index.find(self._repository, space, head, ids)
        return self._found[asked]

    def raw(self, space: str, at: Head) -> bytes:
        return self._repository.commit(at.oid)

    def ref(self, name: str) -> str | None:
        return self._ledger.ref(name)

    def commit(self, effects: Effects) -> None:
        self._heads.clear()
        self._found.clear()
        events: list[Candidate] = []
        raws: list[bytes] = []
        moves: list[Change] = list(effects.refs)
        steps: list[Step] = []
        for effect in effects.spaces:
            if effect.growth is not None:
                moves.append(_move(effect.space, effect.growth))
                events += effect.growth.events
                if effect.growth.genesis is not None:
                    raws.append(effect.growth.genesis.raw)
            if effect.entry is not None:
                raws.append(effect.entry)
                steps.append(self._step(effect, effect.entry))
            elif any(part is not None for part in (effect.tenancy, effect.frozen, effect.taking)):
                self._save(self._after(effect), self._clock(effect.space))
        if effects.incoming is None:
            raws += [event.raw for event in events]
        else:
            self._repository.secure(self._packs, events, effects.refs)
        self._packs.write(raws)
        grown = [(effect.space, effect.growth) for effect in effects.spaces if effect.growth is not None]
        stages = [growth.stage for _, growth in grown if isinstance(growth.stage, EmbeddedStage)]
        for stage in stages:
            stage.packs.publish(self._packs)
        for space, growth in grown:
            if growth.old is None:
                self._repository.lend_head(space_ref(space))
        self._carry_out(moves, steps)
        for stage in stages:
            stage.shown()
        for effect in effects.spaces:
            if not effect.quiet:
                self._ledger.moved.set(effect.space)

    def _carry_out(self, moves: Sequence[Change], steps: Sequence[Step]) -> None:
        journals = {space: record.journal for space, record in self._records.items()}
        carry_out(self._repository, self._ledger.leases, self._locks, moves, steps, journals=journals)
        for step in steps:
            self._records[step.space] = step.record
            self._lost.pop(step.space, None)

    def _step(self, effect: Effect, entry: bytes) -> Step:
        space, oid = effect.space, commit_oid(entry)
        before = self._records[space].journal
        record = replace(self._after(effect), journal=oid, entry=entry)
        stands = self._repository.read_ref(space_ref(space))
        return Step(record, self._clock(space), Change.of(LeaseRef(space), before, oid), stands)

    def _after(self, effect: Effect) -> Record:
        record = self._records[effect.space]
        frozen = record.frozen if effect.frozen is None else effect.frozen.message
        takes = record.takes if effect.taking is None else effect.taking.takes
        return replace(record, tenancy=effect.tenancy or record.tenancy, frozen=frozen, takes=takes)

    def _load(self, space: str) -> None:
        stored, mark = self._ledger.leases.look(space)
        self._marks[space] = mark
        self._records[space] = record = stored or Record(Tenancy(space))
        published = self._repository.read_ref(lease_ref(space))
        if published != record.journal:
            self._reconcile(space, record, published)
        now = self._clock(space)
        if space not in self._lost and (mark is None or mark.boot != now.boot):
            self._save(self._records[space], now)

    def _reconcile(self, space: str, record: Record, published: str | None) -> None:
        """Journal and store disagree: publish what a crash kept back; else leave the rest to the rules."""
        kept_back = self._repository.leading_to(record.entry, published) if record.journal and record.entry else None
        if kept_back:
            self._packs.write(kept_back)
            self._carry_out([Change.of(LeaseRef(space), published, record.journal)], [])
            return
        known = 0
        if published is not None:
            where = f"{lease_ref(space)} in {self._repository.path}"
            known = entry_at(where, published, self._repository.commit(published)).tenure.epoch
        self._lost[space] = known
        self._records[space] = replace(record, journal=published, entry=None)

    def _save(self, record: Record, mark: Mark) -> None:
        space = record.tenancy.space
        self._ledger.leases.save(record, mark)
        self._records[space], self._marks[space] = record, mark
        self._lost.pop(space, None)

    def _clock(self, space: str) -> Mark:
        return read(self._ledger.source, self._marks[space])


def _move(space: str, growth: Growth) -> Change:
    return Change.of(SpaceRef(space), growth.old.oid if growth.old else None, growth.new.oid)
