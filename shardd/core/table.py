"""Table: immutable rows by id, and per page the ids of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from immutables import Map


class OnPage(Protocol):
    """A row that says something about one page. Its page never changes."""

    @property
    def page(self) -> str: ...


R = TypeVar("R", bound=OnPage)
_NO_IDS: Map[str, None] = Map()


@dataclass(frozen=True, slots=True)
class Table(Generic[R]):
    """Putting and finding a row costs the same however many there are."""

    rows: Map[str, R] = field(default=Map())
    _on: Map[str, Map[str, None]] = field(default=Map(), compare=False, repr=False)

    @classmethod
    def of(cls, rows: Iterable[tuple[str, R]]) -> Table[R]:
        found: Table[R] = cls()
        for id, row in rows:
            found = found.put(id, row)
        return found

    def __len__(self) -> int:
        return len(self.rows)

    def get(self, id: str) -> R | None:
        return self.rows.get(id)

    def put(self, id: str, row: R) -> Table[R]:
        return Table(self.rows.set(id, row), self._on.set(row.page, self._on.get(row.page, _NO_IDS).set(id, None)))

    def on(self, pages: Iterable[str]) -> list[tuple[str, R]]:
        """(id, row) of every row on these pages, sorted by id."""
        return [(id, self.rows[id]) for id in sorted(id for page in pages for id in self._on.get(page, _NO_IDS))]

    def pages(self) -> Iterator[str]:
        """Every page that a row is about."""
        return iter(self._on)

    def in_order(self) -> list[R]:
        """The rows, sorted by id."""
        return [self.rows[id] for id in sorted(self.rows)]
