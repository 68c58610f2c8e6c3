"""Part: which stretch of a log is read, and from which end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile, islice, takewhile

from shardd.core.event import Event


@dataclass(frozen=True, slots=True)
class Part:
    """Which events of a log, and in which order; see ReadableLog in logs/decision_log.py."""

    after: int | None = None
    until: int | None = None
    limit: int | None = None
    reverse: bool = False

    def of(self, events: Iterator[Event]) -> Iterator[Event]:
        """Of all events, in the order that is wanted, up to the first that comes too late."""
        if self.reverse:
            events = takewhile(lambda event: self.after is None or event.seq > self.after, events)
            events = dropwhile(lambda event: self.until is not None and event.seq > self.until, events)
        else:
            events = dropwhile(lambda event: self.after is not None and event.seq <= self.after, events)
            events = takewhile(lambda event: self.until is None or event.seq <= self.until, events)
        return islice(events, self.limit)
