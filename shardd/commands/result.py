"""What a command answers: the same facts as lines for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from shardd.authority.moved import Pause
from shardd.core.canonical import Json
from shardd.core.hook_protocol import printable


@dataclass(frozen=True, slots=True)
class Answer:
    """lines: for people, without newlines; values: for programs, one JSON value a line. Either may be a stream.

    coloured: the lines for a terminal that shows colours, if they differ; long: worth a pager there
    live: whoever reads waits for each line, as it answers one that was sent
    """

    lines: Iterable[str]
    values: Iterable[Json]
    coloured: Iterable[str] | None = None
    long: bool = False
    live: bool = False


Steps: TypeAlias = Generator[Pause, None, Answer]
"""A command on its way to its answer: yields what it waits for, and goes on after that, perhaps in another thread."""


def at_once(run: Callable[[object], Answer]) -> Callable[[object], Steps]:
    """For commands that wait for nothing."""

    def steps(command: object) -> Steps:
        yield from ()
        return run(command)

    return steps


def many(count: int, noun: str) -> str:
    """`1 event`, `2 events`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def say(line: str, value: Json) -> Answer:
    """One fact."""
    return Answer([printable(line)], [value])


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], values: Sequence[Json], *, empty: str) -> Answer:
    """Aligned columns for people, one JSON array for programs. empty: what to say where there are no rows."""
    if not rows:
        return Answer([empty], [[]])
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(headers), *cells]) for i in range(len(headers))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [headers, *cells]
    )
    return Answer(list(lines), [list(values)])


def record(facts: Sequence[tuple[str, str]], value: Json) -> Answer:
    """`name  value` lines, aligned."""
    width = max(len(name) for name, _ in facts)
    return Answer([f"{name.ljust(width)}  {printable(text)}" for name, text in facts], [value])
