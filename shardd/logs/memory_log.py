"""A log in memory: the same bytes, oids and answers as one in git, for tests and for embedding without a repo."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from shardd.core.append import Expected, check_expected, earlier, encode_batch
from shardd.core.codec import decode_event, genesis_oid
from shardd.core.event import Draft, Event, Head
from shardd.core.import_chain import Imported, chain, twice
from shardd.core.jsonl import Numbered
from shardd.core.names import check_space
from shardd.errors import Rejected, SharddError
from shardd.logs.decision_log import Clock, DraftingLog, Ids, new_id, utc_now


@dataclass(slots=True)
class MemorySpace:
    """One space's commits after its genesis, oldest first, and where each Event-Id stands among them.

    seqs: their numbers; only an import leaves any out
    """

    genesis: Head
    seqs: list[int] = field(default_factory=list)
    commits: list[tuple[str, bytes]] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    @classmethod
    def begin(cls, space: str) -> MemorySpace:
        return cls(Head(0, genesis_oid(space)))

    @property
    def head(self) -> Head:
        return Head(self.seqs[-1], self.commits[-1][0]) if self.seqs else self.genesis

    def event(self, index: int) -> Event:
        # Decoded anew for each reader: a reader that changes the data it was given changes nobody else's.
        oid, raw = self.commits[index]
        return decode_event(raw, oid=oid, parent_seq=self.seqs[index] - 1)

    def find(self, ids: Iterable[str]) -> dict[str, Head]:
        """Those of `ids` that the space has, and where."""
        places = ((id, self.places[id]) for id in ids if id in self.places)
        return {id: Head(self.seqs[place], self.commits[place][0]) for id, place in places}

    def extend(self, batch: Iterable[tuple[str, bytes]], ids: Iterable[str]) -> None:
        """Add commits, and the Event-Ids that they hold, in the same order."""
        for (oid, raw), id in zip(batch, ids, strict=True):
            self.add(id, self.head.seq + 1, oid, raw)

    def add(self, id: str, seq: int, oid: str, raw: bytes) -> None:
        self.places[id] = len(self.commits)
        self.seqs.append(seq)
        self.commits.append((oid, raw))


class MemoryLog(DraftingLog):
    """A DecisionLog that lives as long as the object. Always its own holder; safe to share between threads."""

    def __init__(self, *, actor: str = "local", clock: Clock = utc_now, ids: Ids = new_id) -> None:
        self._actor = actor
        super().__init__(clock, ids)
        self._spaces: dict[str, MemorySpace] = {}
        self._lock = threading.Lock()

    def _me(self) -> str:
        return self._actor

    def append_many(self, space: str, events: Iterable[Draft], *, expected: Expected = None) -> list[Event]:
        drafts = list(events)
        check_space(space)
        with self._lock:
            found = self._spaces.get(space)
            known = (
                {} if found is None else {d.id: found.event(found.places[d.id]) for d in drafts if d.id in found.places}
            )
            answered = earlier(drafts, known)
            if answered is not None:
                return answered
            check_expected(expected, None if found is None else found.head)
            if not drafts:
                return []
            if found is None:
                found = MemorySpace.begin(space)
            first = len(found.commits)
            found.extend(encode_batch(drafts, found.head, epoch=None), [d.id for d in drafts])
            self._spaces[space] = found
            return [found.event(i) for i in range(first, len(found.commits))]

    def import_events(
        self, space: str, events: Iterable[Numbered], *, keep_gaps: bool = False, dry_run: bool = False
    ) -> Imported:
        check_space(space)
        self._require_empty(space, None)
        taken: MemorySpace | None = None
        for each in chain(space, events, keep_gaps=keep_gaps):
            if taken is None:
                taken = MemorySpace(Head(each.seq, each.oid))
            elif each.id in taken.places:
                raise twice(each.id, taken.seqs[taken.places[each.id]], each.where)
            elif each.id is not None:
                taken.add(each.id, each.seq, each.oid, each.raw)
        if taken is None:
            raise SharddError("an import of nothing is refused where it is read")
        with self._lock:
            self._require_empty(space, taken.genesis)
            if not dry_run:
                self._spaces[space] = taken
        return Imported(len(taken.commits), taken.head)

    def _require_empty(self, space: str, beginning: Head | None) -> None:
        """The same as the rules of a push say of an import: Rejected unless a log that begins there may come in."""
        found = self._spaces.get(space)
        if found is not None and found.commits:
            raise Rejected("exists", f"{space} has events already, up to seq {found.head.seq}", "name a new space")
        if found is not None and beginning not in (None, found.genesis):
            raise Rejected("exists", f"{space} begins after seq {found.head.seq}, and the log to be imported does not")

    def events(self, space: str, after: int | None = None) -> Iterator[Event]:
        check_space(space)
        found = self._spaces.get(space)
        if found is None:
            return iter(())
        start = 0 if after is None else bisect_right(found.seqs, after)
        return (found.event(index) for index in range(start, len(found.commits)))

    def head(self, space: str) -> Head | None:
        check_space(space)
        found = self._spaces.get(space)
        return None if found is None else found.head
