"""What the embedded authority remembers, in SQLite: one row per space, and the mark of the lease clock.

A rollback journal and full sync: the database is small, and several processes write it (WAL before SQLite 3.51.3 can
corrupt under that). Connections are short: opened for one look or one change, closed after it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from shardd.core.lease import Tenancy
from shardd.errors import Corrupt, Unavailable
from shardd.storage.clock import Mark

_SCHEMA = """
CREATE TABLE IF NOT EXISTS space (
    space TEXT PRIMARY KEY, tenancy BLOB NOT NULL, journal TEXT, entry BLOB, frozen TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clock (one INTEGER PRIMARY KEY CHECK (one = 1), boot TEXT, uptime INTEGER, time INTEGER);
"""


@dataclass(frozen=True, slots=True)
class Record:
    """One space. journal, entry: oid and bytes of the newest commit that refs/leases/<space> must show."""

    tenancy: Tenancy
    journal: str | None = None
    entry: bytes | None = None
    frozen: str | None = None


class LeaseStore:
    """The database at `path`; made when first written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, space: str) -> Record | None:
        """None if nothing was ever written about the space."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT tenancy, journal, entry, frozen FROM space WHERE space = ?", (space,)
            ).fetchone()
        return None if row is None else self._record(row)

    def mark(self) -> Mark | None:
        with self._open() as connection:
            row = connection.execute("SELECT boot, uptime, time FROM clock").fetchone()
        return None if row is None else Mark(*row)

    def save(self, record: Record, mark: Mark) -> None:
        """Both, in one transaction, on disk when this returns."""
        with self._open() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "REPLACE INTO space VALUES (?, ?, ?, ?, ?)",
                (
                    record.tenancy.space,
                    msgspec.json.encode(record.tenancy),
                    record.journal,
                    record.entry,
                    record.frozen,
                ),
            )
            # Two spaces may save out of the order in which they read the clock; the mark never goes back.
            connection.execute(
                "INSERT INTO clock VALUES (1, ?, ?, ?) ON CONFLICT (one) DO UPDATE SET boot = excluded.boot, "
                "uptime = excluded.uptime, time = excluded.time WHERE excluded.time > clock.time",
                (mark.boot, mark.uptime, mark.time),
            )

    def _record(self, row: tuple[bytes, str | None, bytes | None, str | None]) -> Record:
        try:
            tenancy = msgspec.json.decode(row[0], type=Tenancy)
        except msgspec.DecodeError as error:
            raise Corrupt(f"{self._path} holds a lease that does not read: {error}", "run `shardd doctor`") from None
        return Record(tenancy, row[1], row[2], row[3])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        fresh = not self._path.exists()
        try:
            with closing(sqlite3.connect(self._path, timeout=30.0, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                if fresh:
                    connection.executescript("PRAGMA journal_mode = DELETE;" + _SCHEMA)
                yield connection
        except sqlite3.DatabaseError as error:
            kind = Unavailable if isinstance(error, sqlite3.OperationalError) else Corrupt
            raise kind(f"the leases in {self._path} cannot be used: {error}", "run `shardd doctor`") from None
