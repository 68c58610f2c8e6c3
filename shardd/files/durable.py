"""Files that are on disk when the call returns: the only place that writes one whole, and that syncs a directory."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from shardd.errors import Unavailable


def keep_others_out() -> None:
    """For a process of a server's: nothing that it or its gits make is for others to write, whatever umask it got."""
    os.umask(os.umask(0o077) | 0o022)


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """A disk that refuses (full, read-only, over a quota) while we write at `place` is Unavailable, and not a bug."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "make room on that disk, and try again" if full else "run `shardd doctor`"
        raise Unavailable(f"{place} cannot be written: {error.strerror or error}", remedy) from None


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600, prefix: str | None = None) -> None:
    """Replace `path` by `data`: temporary file, fsync, rename, fsync of the directory. A reader sees old or new.

    prefix: of the temporary file's name, which a killed process leaves behind
    """
    with written_whole(path, mode=mode, prefix=prefix) as file:
        file.write(data)


def write_new(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file that is not there yet, and fsync it. Its name is not synced, and a reader may see a part of it."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(handle, mode)
        os.fsync(handle)


@contextlib.contextmanager
def written_whole(path: Path, *, mode: int = 0o600, prefix: str | None = None) -> Iterator[IO[bytes]]:
    """A file to write, which replaces `path` when the block ends, and vanishes if it fails; see write_atomic."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}." if prefix is None else prefix, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fchmod(handle, mode)
            os.fsync(handle)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    sync_directories([path.parent])


def put_in_place(draft: Path, path: Path) -> None:
    """Make a file that another program wrote replace `path`: fsync, rename, fsync of the directory."""
    sync_files([draft])
    draft.replace(path)
    sync_directories([path.parent])


def sync_directories(paths: Iterable[Path]) -> None:
    """fsync each directory that exists, so that the names in it survive a power failure."""
    _sync(paths, os.O_RDONLY | os.O_DIRECTORY)


def sync_files(paths: Iterable[Path]) -> None:
    """fsync each file that exists, which another program wrote and did not sync."""
    _sync(paths, os.O_RDONLY)


def _sync(paths: Iterable[Path], flags: int) -> None:
    for path in dict.fromkeys(paths):
        try:
            handle = os.open(path, flags)
        except FileNotFoundError:
            continue
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
