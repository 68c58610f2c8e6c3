"""Which Event-Ids a space has, and the sequence number of its head: derived from the log, so never trusted over it.

An accepted commit need not carry its number, so the number of a head is a count from the last one that does; and
`duplicate-event` asks for an id among millions. Both are kept in a small SQLite file per repo that is brought up to a
head before it answers, by reading just the commits since. It is rebuilt when it is missing, belongs to another history,
or was written before the last boot: it is not synced, so only a crash of the machine itself can have torn it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from shardd.core.codec import decode_event, decode_genesis
from shardd.core.event import Head
from shardd.errors import BadEvent, Corrupt, Unavailable
from shardd.storage.clock import SystemTime
from shardd.storage.repository import Repository, first_parent

_SCHEMA = """
CREATE TABLE IF NOT EXISTS boot (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS head (space TEXT PRIMARY KEY, seq INTEGER NOT NULL, oid TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (
    space TEXT, id TEXT, seq INTEGER NOT NULL, oid TEXT NOT NULL, PRIMARY KEY (space, id)
) WITHOUT ROWID;
"""
_LOOKUP = 500  # ids in one query, below SQLite's limit on parameters


class EventIndex:
    """The index of one repo, in the file `path`. Several processes may use it at once."""

    def __init__(self, path: Path, *, boot: str | None = None) -> None:
        self._path = path
        self._boot = SystemTime().boot() if boot is None else boot

    def head(self, repository: Repository, space: str, oid: str) -> Head:
        """The number of the commit `oid`, which is the head of `space`."""
        with self._open() as connection:
            return self._catch_up(connection, repository, space, oid)

    def find(self, repository: Repository, space: str, oid: str, ids: Iterable[str]) -> dict[str, Head]:
        """Those of `ids` that the space has up to its head `oid`, and where."""
        wanted = list(ids)
        found: dict[str, Head] = {}
        with self._open() as connection:
            self._catch_up(connection, repository, space, oid)
            for start in range(0, len(wanted), _LOOKUP):
                part = wanted[start : start + _LOOKUP]
                marks = ",".join("?" * len(part))
                rows = connection.execute(
                    f"SELECT id, seq, oid FROM event WHERE space = ? AND id IN ({marks})",  # noqa: S608
                    (space, *part),
                )
                found.update({row[0]: Head(row[1], row[2]) for row in rows})
        return found

    def _catch_up(self, connection: sqlite3.Connection, repository: Repository, space: str, oid: str) -> Head:
        at = self._at(connection, space)
        if at is not None and at.oid == oid:
            return at
        connection.execute("BEGIN IMMEDIATE")
        try:
            at = self._read(connection, repository, space, oid, self._at(connection, space))
            connection.execute("REPLACE INTO head VALUES (?, ?, ?)", (space, at.seq, at.oid))
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        return at

    def _read(
        self, connection: sqlite3.Connection, repository: Repository, space: str, oid: str, at: Head | None
    ) -> Head:
        if at is not None and not repository.has(at.oid):
            at = None
        commits = repository.history(oid, after=at.oid if at else None)
        for name, raw in commits:
            try:
                if at is None:
                    connection.execute("DELETE FROM event WHERE space = ?", (space,))
                    at = Head(decode_genesis(raw, space), name)
                    continue
                if first_parent(raw) != at.oid:
                    # What was indexed is no part of this history (a restore, a repair): begin again.
                    return self._read(connection, repository, space, oid, None)
                event = decode_event(raw, oid=name, parent_seq=at.seq)
            except BadEvent as error:
                raise Corrupt(
                    f"{space} in {repository.path}, commit {name}: {error.message}", "run `shardd verify`"
                ) from None
            connection.execute("REPLACE INTO event VALUES (?, ?, ?, ?)", (space, event.id, event.seq, name))
            at = Head(event.seq, name)
        if at is None or at.oid != oid:
            return self._read(connection, repository, space, oid, None)
        return at

    @staticmethod
    def _at(connection: sqlite3.Connection, space: str) -> Head | None:
        row = connection.execute("SELECT seq, oid FROM head WHERE space = ?", (space,)).fetchone()
        return None if row is None else Head(*row)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(self._connect()) as connection:
                yield connection
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the index {self._path} cannot be used: {error}", "run `shardd doctor`") from None
        except sqlite3.DatabaseError:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            raise Unavailable(f"the index {self._path} was damaged and is now removed", "try again") from None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=30.0, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = OFF")
            with contextlib.suppress(sqlite3.OperationalError):
                if connection.execute("SELECT id FROM boot").fetchone() == (self._boot,) and self._boot:
                    return connection
            connection.executescript(_SCHEMA)
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("SELECT id FROM boot").fetchone() != (self._boot,):
                for statement in ("DELETE FROM head", "DELETE FROM event", "DELETE FROM boot"):
                    connection.execute(statement)
                connection.execute("INSERT INTO boot VALUES (?)", (self._boot,))
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection
