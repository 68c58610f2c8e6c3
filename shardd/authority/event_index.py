"""Which Event-Ids a space has, and the sequence number of its head: derived from the log, so never trusted over it.

`duplicate-event` asks for an id among millions, and an accepted commit need not carry its number. Each space has an
index of its own in two files (authority/index_file.py), which only the holder of the space's lock writes, and only
forward: before it answers, it is brought along the log up to the head that stands under the lock. It is made anew where
that is proven to be needed: it is missing, does not read, or stands at a commit that the log does not contain.

Without the lock nothing is written, and nothing waited for. The head's number is then read from the log itself; the
index is asked where the log says none, and may know nothing.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import islice
from pathlib import Path

from shardd.authority.index_file import (
    Row,
    Tail,
    Unusable,
    build,
    grow,
    install,
    opened,
    place_after,
    place_up_to,
    rows_of,
    stands_at,
    tail_rows,
)
from shardd.core.codec import decode_genesis, skim
from shardd.core.event import Head
from shardd.core.objects import first_parent
from shardd.core.refs import space_ref
from shardd.errors import BadEvent, Corrupt, SharddError, Unavailable
from shardd.files.durable import writing
from shardd.git import log_reader
from shardd.git.repository import NEAR, Repository

log = logging.getLogger("shardd.index")

FOLD = 512
"""From so many events on, what has come is put into the database: one round of syncs for all of them."""

_PART = 2_000  # events kept in memory at once while a long way is caught up
_PATIENCE = 30.0  # seconds, for whoever looks into the database with other tools
_FOLDING = 1.0  # seconds that a fold waits for readers; it can be done another time


class EventIndex:
    """The indexes of the spaces of one repo, in `folder`. Several processes may use them at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, space: str) -> Path:
        """The database of a space."""
        return self._folder / f"{space}.db"

    def head(self, repository: Repository, space: str, oid: str) -> Head:
        """The number of the commit `oid`, which is or was the head of `space`. Needs no lock."""
        return log_reader.head_at(repository, space, oid, known=_Glimpse(self.path(space), self._tail(space)))

    def peek(self, repository: Repository, space: str, head: Head, ids: Sequence[str]) -> dict[str, Head]:
        """One of `ids` that the space has up to `head`, the first one if the index knows it. Needs no lock."""
        found = _Glimpse(self.path(space), self._tail(space)).places(ids)
        known = [(id, found[id]) for id in ids if id in found and found[id].seq <= head.seq]
        for id, at in known[:NEAR]:
            # The index may be of another history than this head: a restore by hand.
            if repository.has(at.oid) and repository.git.is_ancestor(at.oid, head.oid):
                return {id: at}
        return {}

    def places(self, repository: Repository, space: str, oid: str) -> log_reader.Places | None:
        """Where the events of the log stand that ends with the commit `oid`; None if the index cannot be proven to be
        of this log without looking far. Needs no lock.
        """
        with suppress(sqlite3.Error, Unusable, SharddError), opened(self.path(space), patience=0) as connection:
            base = stands_at(connection)
            tail = Tail(self._tail(space), base).rows
            known = {base.oid, *(at.oid for at in tail.values())}
            at: str | None = oid
            for _ in range(FOLD):
                if at is None:
                    return None
                if at in known:
                    # Rows are added along the log alone: whoever stands in it has all of its rows from it.
                    return _Places(self.path(space), base.seq)
                at = first_parent(repository.commit(at))
        return None

    def find(self, repository: Repository, space: str, head: Head, ids: Iterable[str]) -> dict[str, Head]:
        """Those of `ids` that the space has up to its head, and where. Under the space's lock."""
        wanted = list(ids)
        if not wanted:
            return {}
        try:
            return self._settled(repository, space, head, wanted)
        except Unusable as why:
            log.info("the index of %s in %s is made anew: %s", space, repository.path, why)
        with self.draft(space, head, self._rows(repository, space, head.oid, None)) as draft:
            draft.install()
        try:
            return self._settled(repository, space, head, wanted)
        except Unusable as why:
            raise Unavailable(f"the index {self.path(space)} cannot be used: {why}", "run `shardd doctor`") from None

    @contextmanager
    def draft(self, space: str, head: Head, rows: Iterable[Row]) -> Iterator[Draft]:
        """A new index, of all events up to `head`, that nobody sees."""
        with writing(self._folder):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{space}.", dir=self._folder)
            os.close(handle)
        draft = Draft(Path(name), self.path(space), self._tail(space))
        try:
            build(draft.file, head, rows)
            yield draft
        except sqlite3.Error as error:
            raise Unavailable(f"the index {self.path(space)} cannot be made: {error}", "run `shardd doctor`") from None
        finally:
            draft.file.unlink(missing_ok=True)

    def problem(self, repository: Repository, space: str, *, mending: bool = False) -> str | None:
        """What is wrong with the index of a space, if anything is: damaged, or of another history than the repo's.

        mending: take back first what a killed process left half done; under the space's lock
        """
        if not self.path(space).exists():
            return None
        try:
            with opened(self.path(space), patience=_PATIENCE, write=mending) as connection:
                (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if said != "ok":
                    return f"is damaged: {said}"
                at = stands_at(connection)
                (newest,) = connection.execute("SELECT max(seq) FROM event").fetchone()
        except (sqlite3.Error, Unusable) as error:
            return f"is damaged: {error}"
        tip = repository.read_ref(space_ref(space))
        if tip is None or not repository.is_commit(at.oid) or not repository.git.is_ancestor(at.oid, tip):
            return f"knows a head of {space} that is none: seq {at.seq}, {at.oid[:12]}"
        if newest is not None and newest != at.seq:
            return f"has {space} at seq {at.seq}, and events up to seq {newest}"
        return None

    def reset(self, space: str) -> None:
        """Remove the index of a space, under its lock; the next question there makes it anew."""
        path = self.path(space)
        for name in (path, path.with_name(f"{path.name}-journal"), self._tail(space)):
            name.unlink(missing_ok=True)

    def _settled(self, repository: Repository, space: str, head: Head, wanted: list[str]) -> dict[str, Head]:
        """Catch up and look up, as one; Unusable if the index has to be made anew first."""
        try:
            try:
                return self._ask(repository, space, head, wanted, fold=True)
            except _Held:
                return self._ask(repository, space, head, wanted, fold=False)
        except sqlite3.Error as error:
            if _is_busy(error):
                raise Unavailable(
                    f"the index {self.path(space)} is locked", "look for a program that has it open on the server"
                ) from None
            raise Unusable(str(error)) from None

    def _ask(self, repository: Repository, space: str, head: Head, wanted: list[str], *, fold: bool) -> dict[str, Head]:
        if not self.path(space).is_file():
            raise Unusable("there is none")
        with opened(self.path(space), patience=_PATIENCE, write=True) as connection:
            tail = Tail(self._tail(space), stands_at(connection))
            before = len(tail.rows)
            if tail.head != head:
                steps = self._rows(repository, space, head.oid, tail.head)
                while part := list(islice(steps, _PART)):
                    tail.append(part)
                if tail.head != head:
                    raise Unusable(f"it stands at {tail.head.oid[:12]}, which is not in the log")
            found = rows_of(connection, wanted)
            found.update({id: tail.rows[id] for id in wanted if id in tail.rows})
            # Not at each append once readers were in the way, but at each such number of them.
            if fold and len(tail.rows) // FOLD > before // FOLD:
                self._fold(connection, tail)
        return found

    def _fold(self, connection: sqlite3.Connection, tail: Tail) -> None:
        connection.execute(f"PRAGMA busy_timeout = {int(_FOLDING * 1000)}")
        try:
            grow(connection, tail.head, (Row(id, at.seq, at.oid) for id, at in tail.rows.items()))
        except sqlite3.OperationalError as error:
            raise (_Held() if _is_busy(error) else error) from None
        tail.drop()

    def _rows(self, repository: Repository, space: str, oid: str, at: Head | None) -> Iterator[Row]:
        """Each event after `at` up to `oid`; ends early where the chain does not go on from `at`."""
        if at is not None and not repository.has(at.oid):
            return
        for name, raw in repository.history(oid, after=at.oid if at else None):
            try:
                if at is None:
                    at = Head(decode_genesis(raw, space), name)
                    continue
                if first_parent(raw) != at.oid:
                    return
                event = skim(raw, oid=name, parent_seq=at.seq)
            except BadEvent as error:
                raise Corrupt(
                    f"{space} in {repository.path}, commit {name}: {error.message}", "run `shardd verify`"
                ) from None
            at = Head(event.seq, name)
            yield Row(event.id, event.seq, name)

    def _tail(self, space: str) -> Path:
        return self._folder / f"{space}.tail"


class Draft:
    """An index that was built beside. file: where"""

    def __init__(self, file: Path, path: Path, tail: Path) -> None:
        self.file = file
        self._path = path
        self._tail = tail

    def install(self) -> None:
        """Make it the index of its space. Under the space's lock."""
        install(self.file, self._path)
        with suppress(OSError):  # it goes by itself once there is something to add
            self._tail.unlink()


class _Places:
    """The places that a database knows, up to the seq that it stands at."""

    def __init__(self, path: Path, newest: int) -> None:
        self._path = path
        self._newest = newest

    def after(self, seq: int, count: int) -> Head | None:
        with suppress(sqlite3.Error, Unusable), opened(self._path, patience=0) as connection:
            return place_after(connection, seq, count, self._newest)
        return None

    def up_to(self, seq: int) -> Head | None:
        with suppress(sqlite3.Error, Unusable), opened(self._path, patience=0) as connection:
            return place_up_to(connection, seq) if seq <= self._newest else None
        return None


class _Held(Exception):
    """Somebody reads the database just now, or was stopped while reading it."""


class _Glimpse:
    """What can be seen of an index without its lock, and without waiting: perhaps nothing."""

    def __init__(self, path: Path, tail: Path) -> None:
        self._path = path
        self._tail = tail

    def places(self, ids: Iterable[str]) -> dict[str, Head]:
        """Where some of these are."""
        wanted = list(ids)
        # The tail is read first: what is put into the database meanwhile is then found there.
        found = {id: self._recent[id] for id in wanted if id in self._recent}
        with suppress(sqlite3.Error, Unusable), opened(self._path, patience=0) as connection:
            found.update(rows_of(connection, wanted))
        return found

    def seq(self, id: str, oid: str) -> int | None:
        """The number of the commit `oid`, whose event is `id`."""
        at = self.places([id]).get(id)
        return at.seq if at is not None and at.oid == oid else None

    def stand(self) -> Head | None:
        """A head that the space has had."""
        if self._recent:
            return list(self._recent.values())[-1]
        with suppress(sqlite3.Error, Unusable), opened(self._path, patience=0) as connection:
            return stands_at(connection)
        return None

    @cached_property
    def _recent(self) -> dict[str, Head]:
        with suppress(Unusable):
            return {row.id: Head(row.seq, row.oid) for row in tail_rows(self._tail)}
        return {}


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
