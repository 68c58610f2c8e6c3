"""Reading a log from its end: what was decided last is what people look for first."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from shardd.core.event import Event
from shardd.logs.decision_log import ReadableLog

_FIRST = 50


def newest_first(log: ReadableLog, space: str, after: int | None = None) -> Iterator[Event]:
    """The events with seq greater than `after` (None: all), the newest first, from where the log stands now.

    Read in stretches, each twice as long as the one before: who wants a few pays for a few.
    """
    head = log.head(space)
    if head is None:
        return
    lowest = -1 if after is None else after
    above, length = head.seq + 1, _FIRST
    while above > lowest + 1:
        below = max(lowest, above - 1 - length)
        # With nothing below, numbers are not even counted: a log may begin anywhere.
        events = log.events(space, below if below > lowest or after is not None else None)
        yield from reversed(_below(above, events))
        above, length = below + 1, length * 2


def _below(end: int, events: Iterator[Event]) -> list[Event]:
    return list(takewhile(lambda event: event.seq < end, events))
