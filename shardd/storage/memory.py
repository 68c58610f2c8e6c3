"""A log in memory: the same bytes, oids and answers as one in git, for tests and for embedding without a repo."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from shardd.core.append import Expected, check_expected, earlier, encode_batch
from shardd.core.codec import decode_event, genesis
from shardd.core.event import Data, Draft, Event, Head
from shardd.core.names import check_space
from shardd.core.objects import commit_oid
from shardd.storage.log import Clock, Ids, draft, new_id, utc_now


@dataclass(slots=True)
class MemorySpace:
    """One space's commits after its genesis, oldest first, and where each Event-Id stands among them."""

    genesis: Head
    commits: list[tuple[str, bytes]] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    @classmethod
    def begin(cls, space: str) -> MemorySpace:
        return cls(Head(0, commit_oid(genesis(space))))

    @property
    def head(self) -> Head:
        if not self.commits:
            return self.genesis
        return Head(self.genesis.seq + len(self.commits), self.commits[-1][0])

    def event(self, index: int) -> Event:
        # Decoded anew for each reader: a reader that changes the data it was given changes nobody else's.
        oid, raw = self.commits[index]
        return decode_event(raw, oid=oid, parent_seq=self.genesis.seq + index)

    def find(self, ids: Iterable[str]) -> dict[str, Head]:
        """Those of `ids` that the space has, and where."""
        places = ((id, self.places[id]) for id in ids if id in self.places)
        return {id: Head(self.genesis.seq + 1 + place, self.commits[place][0]) for id, place in places}

    def extend(self, batch: Iterable[tuple[str, bytes]], ids: Iterable[str]) -> None:
        """Add commits, and the Event-Ids that they hold, in the same order."""
        first = len(self.commits)
        self.commits.extend(batch)
        self.places.update({id: first + i for i, id in enumerate(ids)})


class MemoryLog:
    """A DecisionLog that lives as long as the object. Always its own holder; safe to share between threads."""

    def __init__(self, *, actor: str = "local", clock: Clock = utc_now, ids: Ids = new_id) -> None:
        self._actor = actor
        self._clock = clock
        self._ids = ids
        self._spaces: dict[str, MemorySpace] = {}
        self._lock = threading.Lock()

    def append(
        self,
        space: str,
        type: str,
        data: Data | None = None,
        *,
        subject: str | None = None,
        actor: str | None = None,
        id: str | None = None,
        time: datetime | None = None,
        expected: Expected = None,
    ) -> Event:
        one = draft(
            type,
            data,
            subject=subject,
            actor=actor or self._actor,
            id=id,
            time=time,
            now=self._clock,
            ids=self._ids,
        )
        return self.append_many(space, [one], expected=expected)[0]

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

    def events(self, space: str, after: int | None = None) -> Iterator[Event]:
        check_space(space)
        found = self._spaces.get(space)
        if found is None:
            return iter(())
        start = 0 if after is None else max(0, after - found.genesis.seq)
        return (found.event(index) for index in range(start, len(found.commits)))

    def head(self, space: str) -> Head | None:
        check_space(space)
        found = self._spaces.get(space)
        return None if found is None else found.head
