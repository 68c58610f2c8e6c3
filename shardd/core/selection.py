"""Which events of a log somebody wants to see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from shardd.core.event import Event
from shardd.core.kinds.default import DEFAULT_KINDS
from shardd.core.kinds.kind import Ref
from shardd.core.roles import matches


@dataclass(frozen=True, slots=True)
class Selection:
    """All that is named has to fit.

    after: a seq; actor, type: with `*` for any characters; since, until: of the events' own times, both included
    about: anything of this; limit: at most so many
    """

    after: int | None = None
    actor: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    about: frozenset[Ref] | None = None
    limit: int | None = None

    def wants(self, event: Event) -> bool:
        return (
            (self.after is None or event.seq > self.after)
            and (self.actor is None or matches(self.actor, event.actor))
            and (self.type is None or matches(self.type, event.type))
            and (self.since is None or event.time >= self.since)
            and (self.until is None or event.time <= self.until)
            and (self.about is None or not self.about.isdisjoint(DEFAULT_KINDS.about(event)))
        )

    def of(self, newest_first: Iterable[Event]) -> Iterator[Event]:
        """Those wanted: the newest, if there are more than the limit. No event is read after the last of them."""
        return islice((event for event in newest_first if self.wants(event)), self.limit)
