"""Which event ids a long run over a log has met: kept on disk, so that memory does not grow with the log."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shardd.errors import Unavailable

_BATCH = 2_000
_CACHE_KIB = 16_384


@dataclass(frozen=True, slots=True)
class Twice:
    """An event whose id another one has, at `earlier`. where: what it was to be called in messages"""

    id: str
    seq: int
    where: str
    earlier: int


class SeenIds:
    """To be closed; the ids vanish with it. They are looked up in batches, so a repetition is noticed a little late.

    Whatever notes one is Unavailable where the disk for temporary files refuses.
    """

    def __init__(self) -> None:
        # The empty name is a database of SQLite's own, in a temporary file that nobody else sees.
        self._connection = sqlite3.connect("", isolation_level=None)
        with _writing():
            for statement in (
                f"PRAGMA cache_size = -{_CACHE_KIB}",
                "PRAGMA journal_mode = OFF",
                "PRAGMA synchronous = OFF",
                "CREATE TABLE seen (id TEXT PRIMARY KEY, seq INTEGER NOT NULL, oid TEXT NOT NULL) WITHOUT ROWID",
                "BEGIN",
            ):
                self._connection.execute(statement)
        self._rows: list[tuple[str, int, str]] = []
        self._where: list[str] = []

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> SeenIds:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, id: str, seq: int, oid: str, where: str) -> Twice | None:
        """Note one; the first repetition among all that were noted, once a batch is full."""
        self._rows.append((id, seq, oid))
        self._where.append(where)
        return self.flush() if len(self._rows) >= _BATCH else None

    def flush(self) -> Twice | None:
        """The first repetition among all that were noted."""
        rows, self._rows = self._rows, []
        wheres, self._where = self._where, []
        before = self._connection.total_changes
        with _writing():
            self._connection.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", rows)
        if self._connection.total_changes - before == len(rows):
            return None
        for (id, seq, _), where in zip(rows, wheres, strict=True):
            (earlier,) = self._connection.execute("SELECT seq FROM seen WHERE id = ?", (id,)).fetchone()
            if seq != earlier:
                return Twice(id, seq, where, earlier)
        raise AssertionError("a row was left out, and each is there")

    def rows(self) -> Iterator[tuple[str, int, str]]:
        """(id, seq, oid) of all, by id."""
        return iter(self._connection.execute("SELECT id, seq, oid FROM seen ORDER BY id"))


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise Unavailable(
            f"a temporary file cannot be written: {error}", "make room where TMPDIR points, and try again"
        ) from None
