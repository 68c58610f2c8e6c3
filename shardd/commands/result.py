"""What a command answers: typed items, and how one is shown. The items are read once, whoever prints them.

Each      a line for an item (or several), as it comes; a JSON value for each
Table     aligned columns; one JSON array
Facts     `name  value` lines, aligned; a JSON value for each item
say       one thing that was done, in a line
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO, Generic, Protocol, TypeAlias, TypeVar

from shardd.authority.moved import Pause
from shardd.core.canonical import Json
from shardd.core.hook_protocol import printable

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Shown(Protocol[T_contra]):
    """How items are shown: to people as lines without newlines, to programs as JSON values."""

    def lines(self, items: Iterable[T_contra], *, colours: bool) -> Iterator[str]: ...

    def values(self, items: Iterable[T_contra]) -> Iterator[Json]: ...


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """items: what was found or done, perhaps a stream; shown: how

    long: worth a pager on a terminal; live: whoever reads waits for each line
    """

    items: Iterable[T]
    shown: Shown[T]
    long: bool = False
    live: bool = False

    @property
    def complete(self) -> bool:
        """Whether the items are all there: what was asked is done, whoever hears of it."""
        return isinstance(self.items, list)

    def lines(self, *, colours: bool = False) -> Iterator[str]:
        return self.shown.lines(self.items, colours=colours)

    def values(self) -> Iterator[Json]:
        return self.shown.values(self.items)

    def of(self, stream: IO[bytes]) -> Answer[T]:
        """The same, of a command that reads `stream` while it answers: closed with the last item."""
        return replace(self, items=_with(stream, self.items), live=True)


class AnyAnswer(Protocol):
    """An answer, whatever its items are: all that printing it takes."""

    @property
    def long(self) -> bool: ...

    @property
    def live(self) -> bool: ...

    @property
    def complete(self) -> bool: ...

    def lines(self, *, colours: bool = False) -> Iterator[str]: ...

    def values(self) -> Iterator[Json]: ...

    def of(self, stream: IO[bytes]) -> AnyAnswer: ...


@dataclass(frozen=True, slots=True)
class Each(Generic[T]):
    """line: of an item, for people; of several lines where a newline is in it; coloured: the same for a terminal"""

    line: Callable[[T], str]
    value: Callable[[T], Json]
    coloured: Callable[[T], str] | None = None

    def lines(self, items: Iterable[T], *, colours: bool) -> Iterator[str]:
        line = self.coloured if colours and self.coloured is not None else self.line
        for item in items:
            yield from line(item).split("\n")

    def values(self, items: Iterable[T]) -> Iterator[Json]:
        return map(self.value, items)


@dataclass(frozen=True, slots=True)
class Table(Generic[T]):
    """row: the cells of an item; empty: what to say where there are no items"""

    headers: Sequence[str]
    row: Callable[[T], Sequence[str]]
    value: Callable[[T], Json]
    empty: str

    def lines(self, items: Iterable[T], *, colours: bool) -> Iterator[str]:
        rows = [[printable(cell) for cell in self.row(item)] for item in items]
        if not rows:
            yield self.empty
            return
        widths = [max(map(len, column)) for column in zip(self.headers, *rows, strict=True)]
        for row in [self.headers, *rows]:
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

    def values(self, items: Iterable[T]) -> Iterator[Json]:
        yield [self.value(item) for item in items]


@dataclass(frozen=True, slots=True)
class Facts(Generic[T]):
    """facts: name and value of each thing that is known of an item"""

    facts: Callable[[T], Sequence[tuple[str, str]]]
    value: Callable[[T], Json]

    def lines(self, items: Iterable[T], *, colours: bool) -> Iterator[str]:
        for item in items:
            found = self.facts(item)
            width = max(len(name) for name, _ in found)
            yield from (f"{name.ljust(width)}  {printable(text)}" for name, text in found)

    def values(self, items: Iterable[T]) -> Iterator[Json]:
        return map(self.value, items)


@dataclass(frozen=True, slots=True)
class Done:
    """Something was done. lines: for people"""

    lines: Sequence[str]
    value: Json


_DONE: Each[Done] = Each(lambda done: "\n".join(map(printable, done.lines)), lambda done: done.value)


def say(line: str | Sequence[str], value: Json) -> Answer[Done]:
    """One thing was done."""
    return Answer([Done([line] if isinstance(line, str) else line, value)], _DONE)


NOTHING: Answer[Done] = Answer([], _DONE)
"""Nothing to say: whoever did it has said it."""


Steps: TypeAlias = Generator[Pause, None, AnyAnswer]
"""A command on its way to its answer: yields what it waits for, and goes on after that, perhaps in another thread."""


def at_once(run: Callable[[object], AnyAnswer]) -> Callable[[object], Steps]:
    """For commands that wait for nothing."""

    def steps(command: object) -> Steps:
        yield from ()
        return run(command)

    return steps


def _with(stream: IO[bytes], items: Iterable[T]) -> Iterator[T]:
    with stream:
        yield from items
