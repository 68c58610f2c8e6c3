"""What the embedded authority remembers of each space: one small file, replaced whole, in `<repo>/shardd/leases/`.

A file is written under its space's lock alone, and beside: a process that is stopped in the middle of it holds up its
own space and no other, and whoever only looks is never in anybody's way. It is there before or after a change, never
half. With it lies the mark of the space's lease clock, which needs to be in order only with the leases of that space.

The first shardd kept all spaces in one database, `<repo>/shardd/authority.db`. What a space has there counts until it
has a file; the database goes when nothing in it counts any more.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from shardd.authority.lease_clock import Mark
from shardd.core.names import is_id
from shardd.core.taken_types import Takes
from shardd.core.tenancy import Tenancy
from shardd.errors import Corrupt, SharddError, Unavailable
from shardd.files.crash_points import Point, reached
from shardd.files.durable import sync_directories, writing, written_whole

FOLDER = "leases"
OLD = "authority.db"
_VERSION = 2
"""Written where there is anything that the first version knows nothing of: whoever would forget it does not read it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One space. journal, entry: oid and bytes of the newest commit that refs/leases/<space> must show."""

    tenancy: Tenancy
    journal: str | None = None
    entry: bytes | None = None
    frozen: str | None = None
    takes: Takes | None = None


class _Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    """The content of a file, as JSON. version: anything but ours is not read"""

    version: int
    tenancy: Tenancy
    journal: str | None
    entry: bytes | None
    frozen: str | None
    mark: Mark
    takes: Takes | None = None


class LeaseStore:
    """The leases of the repo whose state folder is `state`. Looking at them writes nothing."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER
        self._old = _OldStore(state / OLD)

    def path(self, space: str) -> Path:
        """Where a space's leases are, or will be."""
        return self._folder / space

    def load(self, space: str) -> Record | None:
        """None if nothing was ever written about the space."""
        return self.look(space)[0]

    def mark(self, space: str) -> Mark | None:
        """What the space's clock was last seen to say; None if nobody ever noted it."""
        return self.look(space)[1]

    def look(self, space: str) -> tuple[Record | None, Mark | None]:
        """Both, of one moment."""
        found = self._read(space)
        if found is None and self._old.exists():
            old = self._old.look(space)
            # Whoever removed the database or wrote its last space meanwhile has left a file.
            found = self._read(space)
            if found is None:
                return old
        if found is None:
            return None, None
        return Record(found.tenancy, found.journal, found.entry, found.frozen, found.takes), found.mark

    def spaces(self) -> list[str]:
        """Those that anything was ever written about."""
        with suppress(FileNotFoundError):
            names = {path.name for path in self._folder.iterdir() if is_id(path.name)}
            return sorted(names.union(self._old.spaces()))
        return self._old.spaces()

    def save(self, record: Record, mark: Mark) -> None:
        """Both, on disk when this returns. To be called under the space's lock."""
        space = record.tenancy.space
        version = 1 if record.takes is None else _VERSION
        stored = _Stored(version, record.tenancy, record.journal, record.entry, record.frozen, mark, takes=record.takes)
        with writing(self._folder):
            if not self._folder.is_dir():
                self._folder.mkdir(mode=0o700, exist_ok=True)
                sync_directories([self._folder.parent])
            with written_whole(self.path(space)) as file:
                file.write(msgspec.json.encode(stored) + b"\n")
                file.flush()
                reached(Point.BEFORE_STORE)
        reached(Point.AFTER_STORE)
        if self._old.exists():
            self._retire_old()

    def copy_to(self, other: LeaseStore) -> None:
        """Make the other one remember what this one does. To be called where nobody else writes there."""
        for space in self.spaces():
            record, mark = self.look(space)
            if record is not None and mark is not None:
                other.save(record, mark)

    def _read(self, space: str) -> _Stored | None:
        path = self.path(space)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"{path} cannot be read: {error.strerror or error}", "run `shardd doctor`") from None
        try:
            version = msgspec.json.decode(raw, type=_Version).version
            if version > _VERSION:
                raise Corrupt(f"{path} was written by a newer shardd", "install that version")
            found = msgspec.json.decode(raw, type=_Stored)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Corrupt(f"{path} cannot be read: {error}", _mend(space)) from None
        if found.tenancy.space != space:
            raise Corrupt(f"{path} is about {found.tenancy.space}", _mend(space))
        return found

    def _retire_old(self) -> None:
        with suppress(SharddError, OSError):  # only tidied up: what counts is stored
            if all(self.path(space).exists() for space in self._old.spaces()):
                self._old.path.unlink(missing_ok=True)


class _Version(msgspec.Struct, frozen=True):
    version: int


_Row: TypeAlias = tuple[Any, ...]


class _OldStore:
    """The database of the first shardd. Nobody writes it any more."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        return self.path.exists()

    def spaces(self) -> list[str]:
        return sorted(space for (space,) in self._rows("SELECT space FROM space"))

    def look(self, space: str) -> tuple[Record | None, Mark | None]:
        rows = self._rows("SELECT tenancy, journal, entry, frozen FROM space WHERE space = ?", space)
        marks = self._rows("SELECT boot, uptime, time FROM clock")
        mark = Mark(*marks[0]) if marks else None
        if not rows:
            return None, mark
        tenancy, journal, entry, frozen = rows[0]
        try:
            return Record(msgspec.json.decode(tenancy, type=Tenancy), journal, entry, frozen), mark
        except msgspec.DecodeError as error:
            raise Corrupt(f"{self.path} holds a lease that does not read: {error}", _MEND_OLD) from None

    def _rows(self, query: str, *parameters: str) -> list[_Row]:
        """The rows found. A file that is gone, or that a crash left without its tables, holds none."""
        if not self.path.exists():
            return []
        try:
            # Not opened read-only: what a killed process left half done is first taken back.
            with closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=rw", uri=True, timeout=30.0)) as it:
                version = it.execute("PRAGMA user_version").fetchone()[0]
                if version > 1:
                    raise Corrupt(f"{self.path} was written by a newer shardd", "install that version")
                return list(it.execute(query, parameters)) if version else []
        except sqlite3.OperationalError as error:
            if not self.path.exists():
                return []
            raise Unavailable(f"the leases in {self.path} cannot be used: {error}", "run `shardd doctor`") from None
        except sqlite3.DatabaseError as error:
            raise Corrupt(f"the leases in {self.path} cannot be read: {error}", _MEND_OLD) from None


def _mend(space: str) -> str:
    return (
        f"move the file away: the lease of {space} ends, and epochs go on from refs/leases/{space}; "
        "if the space was frozen, or its types were listed, that must be done again"
    )


_MEND_OLD = (
    "move the file away: every lease in it ends, and epochs go on from refs/leases; frozen spaces must be frozen again"
)
