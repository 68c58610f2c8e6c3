"""Which Event-Ids a space has, and the sequence number of its head: derived from the log, so never trusted over it.

An accepted commit need not carry its number, so the number of a head is a count from the last one that does; and
`duplicate-event` asks for an id among millions. Both are kept in a small SQLite file per repo that is brought up to a
head before it answers, by reading just the commits since. It is rebuilt when it is missing, belongs to another history,
or was written before the last boot: it is not synced, so only a crash of the machine itself can have torn it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

from shardd.core.codec import decode_event, decode_genesis
from shardd.core.event import Head
from shardd.core.refs import space_ref
from shardd.errors import BadEvent, Corrupt, Unavailable
from shardd.storage.clock import SystemTime
from shardd.storage.repository import Repository, first_parent

_VERSION = 1
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS boot (id TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS head (space TEXT PRIMARY KEY, seq INTEGER NOT NULL, oid TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS event (
        space TEXT, id TEXT, seq INTEGER NOT NULL, oid TEXT NOT NULL, PRIMARY KEY (space, id)
    ) WITHOUT ROWID""",
    f"PRAGMA user_version = {_VERSION}",
)
_LOOKUP = 500  # ids in one query, below SQLite's limit on parameters
_PART = 2_000  # commits in one transaction

T = TypeVar("T")


class EventIndex:
    """The index of one repo, in the file `path`. Several processes may use it at once."""

    def __init__(self, path: Path, *, boot: str | None = None) -> None:
        self._path = path
        self._boot = SystemTime().boot() if boot is None else boot

    def head(self, repository: Repository, space: str, oid: str) -> Head:
        """The number of the commit `oid`, which is the head of `space`."""
        return self._ask(lambda connection: self._catch_up(connection, repository, space, oid))

    def find(self, repository: Repository, space: str, oid: str, ids: Iterable[str]) -> dict[str, Head]:
        """Those of `ids` that the space has up to its head `oid`, and where."""
        wanted = list(ids)

        def look(connection: sqlite3.Connection) -> dict[str, Head]:
            self._catch_up(connection, repository, space, oid)
            found: dict[str, Head] = {}
            for start in range(0, len(wanted), _LOOKUP):
                part = wanted[start : start + _LOOKUP]
                marks = ",".join("?" * len(part))
                rows = connection.execute(
                    f"SELECT id, seq, oid FROM event WHERE space = ? AND id IN ({marks})",  # noqa: S608
                    (space, *part),
                )
                found.update({row[0]: Head(row[1], row[2]) for row in rows})
            return found

        return self._ask(look)

    def adopt(self, space: str, head: Head, rows: Iterable[tuple[str, int, str]]) -> None:
        """Take over what a whole new log has: (id, seq, oid) of each event up to `head`. See `_catch_up` for parts."""

        def store(connection: sqlite3.Connection) -> None:
            at = self._at(connection, space)
            while at is not None:
                at = self._forget(connection, space, at)
            steps = iter(rows)
            while part := list(islice(steps, _PART)):
                with _transaction(connection):
                    connection.executemany("REPLACE INTO event VALUES (?, ?, ?, ?)", [(space, *row) for row in part])
            with _transaction(connection):
                connection.execute("REPLACE INTO head VALUES (?, ?, ?)", (space, head.seq, head.oid))

        self._ask(store)

    def problem(self, repository: Repository) -> str | None:
        """What is wrong with the file, if anything is: damaged, or of another history than the repo's refs."""
        if not self._path.exists():
            return None
        try:
            with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=30.0)) as connection:
                (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if said != "ok":
                    return f"is damaged: {said}"
                known = connection.execute("SELECT space, seq, oid FROM head").fetchall()
                for space, seq, oid in known:
                    tip = repository.read_ref(space_ref(space))
                    if tip is None or not repository.is_commit(oid) or not repository.git.is_ancestor(oid, tip):
                        return f"knows a head of {space} that is none: seq {seq}, {oid[:12]}"
                    row = connection.execute("SELECT max(seq) FROM event WHERE space = ?", (space,)).fetchone()
                    if row[0] is not None and row[0] != seq:
                        return f"has {space} at seq {seq}, and events up to seq {row[0]}"
        except sqlite3.OperationalError as error:
            return None if "no such table" in str(error) else f"cannot be read: {error}"
        except sqlite3.DatabaseError as error:
            return f"is damaged: {error}"
        return None

    def reset(self) -> None:
        """Remove the file; the next question makes it anew."""
        # The journal goes first: it would be rolled back into the new file.
        for name in (f"{self._path.name}-journal", self._path.name):
            self._path.with_name(name).unlink(missing_ok=True)

    def _catch_up(self, connection: sqlite3.Connection, repository: Repository, space: str, oid: str) -> Head:
        at = self._at(connection, space)
        anew = False
        while at is None or at.oid != oid:
            if at is not None and (anew or not repository.has(at.oid)):
                at = self._forget(connection, space, at)
                continue
            steps = self._read(repository, space, oid, at)
            # A part at a time: the file is shared by all spaces, and a long log must not keep the others waiting.
            while part := list(islice(steps, _PART)):
                reached, met = self._note(connection, space, at, part)
                if not met:
                    break  # somebody else is at it too
                at = reached
            else:
                # Read to its end, and not there: what was indexed is no part of this history (a restore, a repair).
                anew = at is not None and at.oid != oid
                continue
            at = self._at(connection, space)
        return at

    def _read(self, repository: Repository, space: str, oid: str, at: Head | None) -> Iterator[tuple[Head, str | None]]:
        """Each commit after `at` up to `oid` and its Event-Id; ends early where the chain does not go on from `at`."""
        for name, raw in repository.history(oid, after=at.oid if at else None):
            try:
                if at is None:
                    at = Head(decode_genesis(raw, space), name)
                    yield at, None
                    continue
                if first_parent(raw) != at.oid:
                    return
                event = decode_event(raw, oid=name, parent_seq=at.seq)
            except BadEvent as error:
                raise Corrupt(
                    f"{space} in {repository.path}, commit {name}: {error.message}", "run `shardd verify`"
                ) from None
            at = Head(event.seq, name)
            yield at, event.id

    def _note(
        self, connection: sqlite3.Connection, space: str, before: Head | None, part: list[tuple[Head, str | None]]
    ) -> tuple[Head, bool]:
        """Store what was read after `before`, and where that leads; False if the index no longer stands there."""
        with _transaction(connection):
            if self._at(connection, space) != before:
                return part[-1][0], False
            connection.executemany(
                "REPLACE INTO event VALUES (?, ?, ?, ?)",
                [(space, id, at.seq, at.oid) for at, id in part if id is not None],
            )
            last = part[-1][0]
            connection.execute("REPLACE INTO head VALUES (?, ?, ?)", (space, last.seq, last.oid))
        return last, True

    def _forget(self, connection: sqlite3.Connection, space: str, at: Head) -> Head | None:
        """Begin the space again, unless somebody else has just done so; where it stands then."""
        with _transaction(connection):
            if self._at(connection, space) == at:
                connection.execute("DELETE FROM event WHERE space = ?", (space,))
                connection.execute("DELETE FROM head WHERE space = ?", (space,))
            return self._at(connection, space)

    @staticmethod
    def _at(connection: sqlite3.Connection, space: str) -> Head | None:
        row = connection.execute("SELECT seq, oid FROM head WHERE space = ?", (space,)).fetchone()
        return None if row is None else Head(*row)

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return self._try(question)
        except sqlite3.DatabaseError:
            self.reset()  # it is damaged
        try:
            return self._try(question)
        except sqlite3.DatabaseError as error:
            raise Unavailable(f"the index {self._path} cannot be used: {error}", "run `shardd doctor`") from None

    def _try(self, question: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with closing(self._connect()) as connection:
                return question(connection)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the index {self._path} cannot be used: {error}", "run `shardd doctor`") from None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=30.0, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = OFF")
            if connection.execute("PRAGMA user_version").fetchone()[0] not in (0, _VERSION):
                raise sqlite3.DatabaseError("of another version")  # and made anew like a damaged one
            with contextlib.suppress(sqlite3.OperationalError):
                if connection.execute("SELECT id FROM boot").fetchone() == (self._boot,) and self._boot:
                    return connection
            with _transaction(connection):
                for statement in _SCHEMA:
                    connection.execute(statement)
                if connection.execute("SELECT id FROM boot").fetchone() != (self._boot,):
                    for statement in ("DELETE FROM head", "DELETE FROM event", "DELETE FROM boot"):
                        connection.execute(statement)
                    connection.execute("INSERT INTO boot VALUES (?)", (self._boot,))
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # some errors have ended it already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
