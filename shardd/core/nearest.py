"""Did you mean: the known word that is nearest to one that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

_ALIKE = 0.6
_MOST = 5_000  # known words that are looked at: a hint is not worth more


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one that a slip of the fingers would make of it; None if none is near. The first of equals, by name."""
    best: tuple[float, str] | None = None
    given = word.casefold()
    for each in sorted(set(known))[:_MOST]:
        matcher = SequenceMatcher(None, each.casefold(), given, autojunk=False)
        if each != word and matcher.real_quick_ratio() >= _ALIKE and matcher.quick_ratio() >= _ALIKE:
            ratio = matcher.ratio()
            if ratio >= _ALIKE and (best is None or ratio > best[0]):
                best = (ratio, each)
    return None if best is None else best[1]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing: to be put behind a message."""
    near = nearest(word, known)
    return f"; did you mean {near}?" if near else ""
