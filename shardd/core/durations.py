"""Lengths of time as people write them, and as we say them: `90`, `45 s`, `15m`, `1h30m`, `2d`."""

from __future__ import annotations

import re

from shardd.errors import Misuse

_UNITS = {
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1_000),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60_000),
    **dict.fromkeys(("h", "hour", "hours"), 3_600_000),
    **dict.fromkeys(("d", "day", "days"), 86_400_000),
    **dict.fromkeys(("w", "week", "weeks"), 7 * 86_400_000),
}
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,9})?|\.\d{1,9}) ?([a-z]*) ?", re.ASCII)
_LONGEST = 10**12  # milliseconds


def parse_duration(text: str) -> int:
    """Milliseconds. A number without a unit is seconds; several parts add up, the largest first."""
    total, at, before = 0.0, 0, float("inf")
    given = text.strip().lower()
    while at < len(given):
        part = _PART.match(given, at)
        unit = _UNITS.get(part[2]) if part else None
        if part is None or unit is None or unit >= before or (not part[2] and (at, part.end()) != (0, len(given))):
            raise _none(text)
        total += float(part[1]) * unit
        at, before = part.end(), unit
    if not given or total > _LONGEST:
        raise _none(text)
    return round(total)


def _none(text: str) -> Misuse:
    return Misuse(f"{text!r} is not a length of time", "write it like 90 (seconds), 15m, 1h or 2d")


def left_text(milliseconds: int) -> str:
    """`12 min`, `45 s`, `3 h`: what is left, as people say it."""
    seconds = -(-milliseconds // 1000)
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 2 * 3600:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 2 * 86400 else f"{seconds // 86400} d"
