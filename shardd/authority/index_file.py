"""The two files in which a space's index lies: what is synced, and what has come since.

    <space>.db      SQLite: id, seq and oid of each event up to a head. Written a few hundred events at a time, each
                    time with the fullest sync, under a rollback journal: a power failure leaves it before or after
    <space>.tail    text: what has come since, one line each, not synced. Each line carries a checksum of itself and of
                    all before it, and the first one names the head that the database stands at: what a power failure
                    tore is seen, and everything before it counts

Both are written by the holder of the space's lock alone. Whoever reads them without it never waits, and takes what
cannot be read just now for nothing: each line and row is a fact about one commit, which nothing can make untrue.
"""

from __future__ import annotations

import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from shardd.core.event import Head
from shardd.files.crash_points import Point, reached
from shardd.files.durable import put_in_place, sync_directories, writing

_VERSION = 2
_SCHEMA = (
    "CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, oid TEXT NOT NULL)",
    "CREATE TABLE event (id TEXT PRIMARY KEY, seq INTEGER NOT NULL, oid TEXT NOT NULL) WITHOUT ROWID",
    f"PRAGMA user_version = {_VERSION}",
)
_BY_SEQ = "CREATE INDEX IF NOT EXISTS by_seq ON event (seq)"
_LOOKUP = 500  # ids in one query, below SQLite's limit on parameters
_BUILDING_KIB = 65_536  # memory for the pages of a database that is built
_LINE = re.compile(rb"([0-9a-f]{8}) (-?\d{1,16}) ([0-9a-f]{40,64}) ([!-~]{1,128})\Z")


class Row(NamedTuple):
    """One event."""

    id: str
    seq: int
    oid: str


class Unusable(Exception):
    """The files do not say what they should: they are to be made anew. str: why"""


# --- the database


@contextmanager
def opened(path: Path, *, patience: float, write: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection within a transaction, which sees one moment and is rolled back unless it is committed."""
    where = f"{path.absolute().as_uri()}?mode={'rw' if write else 'ro'}"
    with closing(sqlite3.connect(where, uri=True, timeout=patience, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = EXTRA")  # the journal's end, which is the commit, is synced too
        connection.execute("BEGIN")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != _VERSION:
            raise Unusable(f"it is of version {version}")
        yield connection


def stands_at(connection: sqlite3.Connection) -> Head:
    row = connection.execute("SELECT seq, oid FROM head").fetchone()
    if row is None:
        raise Unusable("it names no head")
    return Head(*row)


def rows_of(connection: sqlite3.Connection, ids: list[str]) -> dict[str, Head]:
    found: dict[str, Head] = {}
    for start in range(0, len(ids), _LOOKUP):
        part = ids[start : start + _LOOKUP]
        marks = ",".join("?" * len(part))
        rows = connection.execute(f"SELECT id, seq, oid FROM event WHERE id IN ({marks})", part)  # noqa: S608
        found.update({row[0]: Head(row[1], row[2]) for row in rows})
    return found


def place_after(connection: sqlite3.Connection, seq: int, count: int, newest: int) -> Head | None:
    """The event so many places after a seq, or the last one, none above `newest`."""
    query = "SELECT seq, oid FROM event WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
    found = connection.execute(query, (seq, newest, count)).fetchall()
    return Head(*found[-1]) if found else None


def place_up_to(connection: sqlite3.Connection, seq: int) -> Head | None:
    """The last event up to a seq."""
    row = connection.execute("SELECT seq, oid FROM event WHERE seq <= ? ORDER BY seq DESC LIMIT 1", (seq,)).fetchone()
    return None if row is None else Head(*row)


def grow(connection: sqlite3.Connection, head: Head, rows: Iterable[Row]) -> None:
    """Put rows in and stand at `head`, on disk when this returns."""
    connection.execute(_BY_SEQ)  # which an earlier shardd did without
    connection.executemany("REPLACE INTO event VALUES (?, ?, ?)", rows)
    connection.execute("REPLACE INTO head VALUES (1, ?, ?)", (head.seq, head.oid))
    reached(Point.IN_INDEX)
    connection.execute("COMMIT")


def build(path: Path, head: Head, rows: Iterable[Row]) -> None:
    """Write a new database, which nobody sees yet."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            f"PRAGMA cache_size = -{_BUILDING_KIB}",
            "BEGIN",
            *_SCHEMA,
        ):
            connection.execute(statement)
        connection.executemany("INSERT INTO event VALUES (?, ?, ?)", rows)
        connection.execute(_BY_SEQ)
        connection.execute("INSERT INTO head VALUES (1, ?, ?)", (head.seq, head.oid))
        reached(Point.IN_INDEX)
        connection.execute("COMMIT")


def install(draft: Path, path: Path) -> None:
    """Put a database that was built into its place, the old one's journal out of the way of the new."""
    with writing(path):
        # In this order, and synced: a journal would be rolled back into whatever has its database's name, and a
        # database whose journal is gone may be half of a change.
        for name in (path, path.with_name(f"{path.name}-journal")):
            if name.exists():
                name.unlink()
                sync_directories([path.parent])
        put_in_place(draft, path)


# --- the tail


class Tail:
    """What has come since the database. rows: by id; head: where it leads, the database's own head if it is empty"""

    def __init__(self, path: Path, base: Head) -> None:
        self._path = path
        self._base = base
        self._sum, self._size = 0, 0
        self.head = base
        self.rows: dict[str, Head] = {}
        for number, (row, summed, size) in enumerate(_lines(path)):
            if number == 0 and Head(row.seq, row.oid) != base:
                return  # of another database: it was folded into this one, or made anew
            self._sum, self._size = summed, size
            if number > 0:
                self.head = Head(row.seq, row.oid)
                self.rows[row.id] = self.head

    def append(self, rows: Iterable[Row]) -> None:
        """Add what follows. What cannot be read at the end of the file goes."""
        added = list(rows)
        lines = b""
        if self._size == 0:
            lines = self._line(Row("-", self._base.seq, self._base.oid))
        lines += b"".join(map(self._line, added))
        with writing(self._path):
            with self._path.open("r+b" if self._path.exists() else "w+b") as file:
                file.truncate(self._size)
                file.seek(self._size)
                file.write(lines)
            self._size += len(lines)
        for row in added:
            self.head = Head(row.seq, row.oid)
            self.rows[row.id] = self.head

    def drop(self) -> None:
        """All of it is in the database now."""
        with suppress(OSError):  # it names another head than the database's: nothing in it counts any more
            self._path.unlink()

    def _line(self, row: Row) -> bytes:
        said = b"%d %s %s" % (row.seq, row.oid.encode(), row.id.encode())
        self._sum = zlib.crc32(said, self._sum)
        return b"%08x %s\n" % (self._sum, said)


def tail_rows(path: Path) -> Iterator[Row]:
    """All rows of a tail, whatever database it follows."""
    for number, (row, _, _) in enumerate(_lines(path)):
        if number > 0:
            yield row


def _lines(path: Path) -> Iterator[tuple[Row, int, int]]:
    """Each line that counts, the sum up to it, and where it ends."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror or error}") from None
    summed = size = 0
    for line in raw.split(b"\n")[:-1]:
        match = _LINE.match(line)
        summed = zlib.crc32(line[9:], summed)
        if match is None or int(match[1], 16) != summed:
            return
        size += len(line) + 1
        yield Row(match[4].decode(), int(match[2]), match[3].decode()), summed, size
