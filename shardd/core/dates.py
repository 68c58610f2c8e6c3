"""Times as people write them: what git accepts, the part of it that is of use in a log."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

from shardd.errors import Misuse

_AGO = re.compile(r"(\d{1,6}|an?) *(second|sec|minute|min|hour|day|week|month|year)s? *ago\Z")
_SECONDS = {"second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
_MONTHS = {"month": 1, "year": 12}
_NAMED = {"today": 0, "yesterday": 1}
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


def parse_when(text: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """The time in UTC that is meant; Misuse if it is none.

    `2026-06-15`, `2026-06-15 12:00`, ISO 8601; `now`, `today`, `yesterday` (their midnight, or `yesterday 14:00`);
    `2 days ago`, `2.days.ago`, `an hour ago`
    zone: where none is named; None for the machine's own
    """
    word = re.sub(r"[\s._]+", " ", text.strip().lower()) if "ago" in text.lower() else text.strip()
    try:
        found = _named(word.lower(), now.astimezone(zone)) or datetime.fromisoformat(word.upper())
        if found.tzinfo is None and zone is not None:
            found = found.replace(tzinfo=zone)
        return max(found.astimezone(UTC), _FIRST)
    except (ValueError, OverflowError):
        raise Misuse(
            f"{text[:60]!r} is no time", "write 2026-06-15, '2026-06-15 12:00', yesterday, '2 days ago'"
        ) from None


def _named(word: str, now: datetime) -> datetime | None:
    """In the zone of `now`; None where it is to be read as ISO 8601."""
    if word == "now":
        return now
    day, _, clock = word.partition(" ")
    if day in _NAMED:
        midnight = (now - timedelta(days=_NAMED[day])).replace(hour=0, minute=0, second=0, microsecond=0)
        if not clock:
            return midnight
        said = datetime.fromisoformat(f"{midnight:%Y-%m-%d} {clock}")
        return said if said.tzinfo is not None else said.replace(tzinfo=now.tzinfo)
    match = _AGO.match(word)
    if match is None:
        return None
    count, unit = (1 if match[1] in ("a", "an") else int(match[1])), match[2]
    if unit in _SECONDS:
        return now - timedelta(seconds=count * _SECONDS[unit])
    months = now.year * 12 + now.month - 1 - count * _MONTHS[unit]
    if months < 12 * 1970:
        return _FIRST
    # The 31st of a month that has none is its last day.
    for day_of_month in range(now.day, 0, -1):
        try:
            return now.replace(year=months // 12, month=months % 12 + 1, day=day_of_month)
        except ValueError:
            continue
    return None
