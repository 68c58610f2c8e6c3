"""What the embedded authority remembers, in SQLite: one row per space, and the mark of the lease clock.

A rollback journal and the fullest sync: the database is small, and several processes write it (WAL before SQLite 3.51.3
can corrupt under that); without EXTRA the unlinking of the journal, which is the commit, could be lost with the power.
Connections are short: opened for one look or one change, closed after it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from shardd.core.tenancy import Tenancy
from shardd.errors import Corrupt, Unavailable
from shardd.storage.clock import Mark
from shardd.storage.seams import Point, reached

_VERSION = 1
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS space (
        space TEXT PRIMARY KEY, tenancy BLOB NOT NULL, journal TEXT, entry BLOB, frozen TEXT
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS clock (
        one INTEGER PRIMARY KEY CHECK (one = 1), boot TEXT, uptime INTEGER, time INTEGER
    )""",
    f"PRAGMA user_version = {_VERSION}",
)


_Row: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One space. journal, entry: oid and bytes of the newest commit that refs/leases/<space> must show."""

    tenancy: Tenancy
    journal: str | None = None
    entry: bytes | None = None
    frozen: str | None = None


class LeaseStore:
    """The database at `path`; made when first written. Looking at it writes nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, space: str) -> Record | None:
        """None if nothing was ever written about the space."""
        row = self._look("SELECT tenancy, journal, entry, frozen FROM space WHERE space = ?", space)
        return self._record(row[0]) if row else None

    def tenancies(self) -> list[Tenancy]:
        """Of every space that anything was ever written about."""
        return [self._record(row).tenancy for row in self._look("SELECT tenancy, journal, entry, frozen FROM space")]

    def mark(self) -> Mark | None:
        row = self._look("SELECT boot, uptime, time FROM clock")
        return Mark(*row[0]) if row else None

    def save(self, record: Record, mark: Mark) -> None:
        """Both, in one transaction, on disk when this returns."""
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            if self._version(connection) == 0:
                for statement in _SCHEMA:
                    connection.execute(statement)
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
            # Two spaces may save out of the order in which they read the clock; the mark never goes back. After a
            # reboot with the clock set back its time stays, but must be counted from this boot on, or it stands still.
            connection.execute(
                "INSERT INTO clock VALUES (1, ?, ?, ?) ON CONFLICT (one) DO UPDATE SET boot = excluded.boot, "
                "uptime = excluded.uptime, time = excluded.time WHERE excluded.time > clock.time "
                "OR (excluded.time = clock.time AND excluded.boot <> clock.boot)",
                (mark.boot, mark.uptime, mark.time),
            )
            reached(Point.BEFORE_STORE)
            connection.execute("COMMIT")
        reached(Point.AFTER_STORE)

    def _look(self, query: str, *parameters: str) -> list[_Row]:
        """The rows found. A file that is missing, or that a crash left without its tables, holds none."""
        if not self._path.exists():
            return []
        with self._open() as connection:
            if self._version(connection) == 0:
                return []
            return list(connection.execute(query, parameters))

    def _record(self, row: _Row) -> Record:
        tenancy, journal, entry, frozen = row
        try:
            return Record(msgspec.json.decode(tenancy, type=Tenancy), journal, entry, frozen)
        except msgspec.DecodeError as error:
            raise Corrupt(f"{self._path} holds a lease that does not read: {error}", _MEND) from None

    def _version(self, connection: sqlite3.Connection) -> int:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > _VERSION:
            raise Corrupt(f"{self._path} was written by a newer shardd", "install that version")
        return version

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=30.0, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = EXTRA")
                yield connection
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the leases in {self._path} cannot be used: {error}", "run `shardd doctor`") from None
        except sqlite3.DatabaseError as error:
            raise Corrupt(f"the leases in {self._path} cannot be read: {error}", _MEND) from None


_MEND = "move the file away: every lease ends, and epochs go on from refs/leases; frozen spaces must be frozen again"
