"""Travel in time: the state of a space as of a seq, an oid, or a time."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TypeAlias, TypeVar

from shardd.core.event import Event
from shardd.core.fold import Reducer
from shardd.core.names import is_oid
from shardd.errors import Misuse
from shardd.logs.decision_log import ReadableLog
from shardd.logs.snapshots import Folded, SnapshotStore, catch_up

S = TypeVar("S")

Point: TypeAlias = int | str | datetime
"""A seq (int), a time in UTC (datetime), or any text that parse_point takes: an oid or its first 7 or more digits."""

_ABBREVIATED = re.compile(r"[0-9a-f]{7,64}\Z")


def parse_point(text: str) -> Point:
    """SEQ, OID or TIME as a person writes it; Misuse if it is none.

    Up to 16 digits and nothing else are a seq, even if an oid begins so. A time is ISO 8601 with a zone:
    `2026-06-15T10:00:00Z`, `2026-06-15 12:00+02:00`.
    """
    word = text.strip()
    if is_oid(word.lower()):
        return word.lower()
    if re.match(r"[0-9]{1,16}\Z", word):
        return int(word)
    if _ABBREVIATED.match(word.lower()):
        return word.lower()
    time: datetime | None = None
    try:
        said = datetime.fromisoformat(word)
        time = said.astimezone(UTC) if said.tzinfo is not None else None
    except (ValueError, OverflowError):
        pass
    if time is None:
        raise Misuse(
            f"{text!r} is no point in a log",
            "give a seq like 42, an oid or its first 7 digits, or a time with its zone like 2026-06-15T10:00:00Z",
        )
    return time


def resolve(log: ReadableLog, space: str, point: Point) -> int:
    """The seq that a point stands for; Misuse if the log does not reach it. 0 may stand for "before the first event".

    A time stands for the longest run of events from the start of which none is later. An event's time says when it was
    decided and may go back, so every event that can have been there at that time is in.
    """
    if isinstance(point, str):
        point = parse_point(point)
    if isinstance(point, datetime):
        last = 0
        for event in log.events(space):
            if event.time > point:
                break
            last = event.seq
        return last
    if isinstance(point, int):
        head = log.head(space)
        newest = 0 if head is None else head.seq
        if not 0 <= point <= newest:
            message = f"there is no seq {point} in {space}: its head is {newest}"
            raise Misuse(message, "in a clone, `git fetch` brings in what is newer")
        return point
    found = [event.seq for event in log.events(space) if event.oid.startswith(point)]
    if len(found) == 1:
        return found[0]
    if found:
        raise Misuse(f"{point} begins {len(found)} oids in {space}", "give more digits")
    raise Misuse(f"there is no event {point} in {space}", "`shardd log` lists the events")


def find_event(log: ReadableLog, space: str, text: str) -> Event | None:
    """What a person means by its seq, its id, its oid or how that begins; Misuse if that begins several."""
    if text.isascii() and text.isdigit() and len(text) <= 16:
        found = next(log.events(space, int(text) - 1), None)
        if found is not None and found.seq == int(text):
            return found
    short = text.lower() if re.match(r"[0-9a-fA-F]{4,64}\Z", text) else None
    begun: list[Event] = []
    for event in log.events(space, reverse=True):
        if event.id == text or event.oid == short:
            return event
        if short is not None and event.oid.startswith(short):
            begun.append(event)
    if len(begun) > 1:
        raise Misuse(f"{text} begins {len(begun)} oids in {space}", "give more digits")
    return begun[0] if begun else None


def state_at(
    log: ReadableLog, space: str, point: Point, reducer: Reducer[S], *, snapshots: SnapshotStore | None = None
) -> Folded[S]:
    """The fold as of a point, that event included; Misuse as `resolve`."""
    return catch_up(log, space, reducer, snapshots=snapshots, up_to=resolve(log, space, point))
