"""One flock(2)ed file per space: whoever holds it may look at the space's lease and head and change them.

The files are never unlinked (a lock on an unlinked file excludes nobody), and one that was replaced all the same is no
lock: what was locked must still be what the name names. Several are taken in name order, so two takers cannot wait for
each other; and where one of them stays taken, those before it are given back, so that a stuck space holds up itself
alone. The kernel drops a lock with its last descriptor, so a killed process leaves none behind; its git children
inherit the descriptor and keep the lock until they too are gone. What a file holds: see authority/move_record.py.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shardd.errors import Unavailable
from shardd.files.durable import check_owner, refused, writing

# Locks that belong to no space, besides those of single refs (core/refs.py); no space begins with `@`.
HEAD = "@head"  # what HEAD points at, while that does not exist
PACKED_REFS = "@packed-refs"  # git's one file of packed refs; always taken last, on its own

PATIENCE = 60.0
"""Seconds to wait for a lock before giving up: far longer than any holder needs it."""

BRIEF = 0.25
"""Seconds to wait for a lock while others are held."""

_LARGEST = 1024 * 1024  # bytes in a lock file that are looked at


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that is held."""

    name: str
    path: Path
    descriptor: int

    def is_named(self) -> bool:
        """Whether the file that is locked is still the one that the name names."""
        mine = os.fstat(self.descriptor)
        try:
            named = self.path.stat()
        except FileNotFoundError:
            return False
        return (mine.st_dev, mine.st_ino) == (named.st_dev, named.st_ino)

    def read(self) -> bytes:
        return os.pread(self.descriptor, _LARGEST, 0)

    def write(self, content: bytes, *, durable: bool = False) -> None:
        """Replace what the file holds; on disk when this returns, if it is to be durable."""
        with writing(self.path):
            os.ftruncate(self.descriptor, 0)
            if os.pwrite(self.descriptor, content, 0) != len(content):
                raise OSError("the disk is full")
            if durable:
                os.fsync(self.descriptor)


@contextmanager
def locked(folder: Path, spaces: Iterable[str], *, patience: float = PATIENCE) -> Iterator[list[Lock]]:
    """The locks of all these spaces, held until the block ends. Unavailable if one stays taken."""
    with writing(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
        check_owner(folder.parent)
    names = sorted(set(spaces))
    deadline = time.monotonic() + patience
    held: list[Lock] = []
    try:
        while len(held) < len(names):
            name = names[len(held)]
            lock = _take(folder, name, min(deadline, time.monotonic() + BRIEF) if held else deadline)
            if lock is not None:
                held.append(lock)
                continue
            # Nobody need wait for what we hold only because we wait for somebody else.
            _release(held)
            lock = _take(folder, name, deadline)
            if lock is None:
                raise Unavailable(
                    f"the lock of {name} stays taken", "look for a stopped shardd or git process on the server"
                )
            os.close(lock.descriptor)
        yield held
    finally:
        _release(held)


def _release(held: list[Lock]) -> None:
    while held:
        os.close(held.pop().descriptor)


def _take(folder: Path, name: str, until: float) -> Lock | None:
    """The lock; None if it is still taken at `until`, by the monotonic clock."""
    while True:
        with writing(folder / name):
            lock = Lock(name, folder / name, os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        try:
            taken = flock(lock.descriptor, until)
            if taken and lock.is_named():
                return lock
        except BaseException:
            os.close(lock.descriptor)
            raise
        os.close(lock.descriptor)
        if not taken:
            return None


def flock(descriptor: int, until: float, how: int = fcntl.LOCK_EX) -> bool:
    """Whether the lock was had before `until`, by the monotonic clock; it is tried once at least."""
    pause = 0.0005
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, 0.01)
        except OSError as error:
            raise refused(error, f"{_path(descriptor)} cannot be locked") from None
        else:
            return True


def _path(descriptor: int) -> str:
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        return "a file"
