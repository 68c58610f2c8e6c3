"""Events to append: the one place where tests make them, but for those that are about a single odd one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from shardd.core.canonical import Json
from shardd.core.event import Draft

NOON = datetime(2026, 6, 15, 10, tzinfo=UTC)

Said = tuple[str, dict[str, Json]]
"""An event's type and data: all that matters in most tests."""

CAST = ("alice", "bob", "Carol <carol@example.org>")
"""Who says it, in turn."""

_serial = iter(range(10**9))


def drafts(
    actors: str | tuple[str, ...], said: int | range | Iterable[Said] = 1, *, prefix: str | None = None
) -> list[Draft]:
    """What the actors have `said`, in turn: a number of notes that nobody has made before, these notes, or anything.

    All else follows from actor and place, so that whoever asks twice, but for a number, is given the very same.
    prefix: what their ids begin with
    """
    numbered: Iterable[tuple[int, Said | None]]
    cast = (actors,) if isinstance(actors, str) else actors
    if isinstance(said, int):
        numbered = [(next(_serial), None) for _ in range(said)]
        prefix = prefix or f"{cast[0]}-new"
    elif isinstance(said, range):
        numbered = [(number, None) for number in said]
    else:
        numbered = enumerate(said, 1)
    return [
        Draft(
            type=each[0] if each else "note",
            data=each[1] if each else {"n": number},
            subject="Home" if number % 3 == 0 else None,
            actor=cast[number % len(cast)],
            id=f"{prefix or 'e'}-{number}",
            time=NOON + timedelta(minutes=number % 1_000_000),
        )
        for number, each in numbered
    ]
