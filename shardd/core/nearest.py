"""Did you mean: the known word that comes nearest to one that is not known."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of the known words that was probably meant, None if none is like it."""
    from difflib import get_close_matches  # only a slip needs it, and every command would load it

    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing: to be put behind a message."""
    meant = nearest(word, known)
    return f"; did you mean {meant}?" if meant else ""
