"""Files that are on disk when the call returns: the only place that writes one whole, and that syncs a directory."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from shardd.errors import Unavailable

_LINKS = 40  # that are followed from one name, as Linux does


def keep_others_out() -> None:
    """For a process of a server's: nothing that it or its gits make is for others to write, whatever umask it got."""
    os.umask(os.umask(0o077) | 0o022)


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """A disk that refuses (full, read-only, over a quota) while we write at `place` is Unavailable, and not a bug."""
    try:
        yield
    except OSError as error:
        raise refused(error, f"{place} cannot be written") from None


_REMEDIES = {
    errno.ENOSPC: "make room on that disk, and try again",
    errno.EDQUOT: "make room on that disk, or raise the quota, and try again",
    errno.EROFS: "that disk is mounted read-only, perhaps after a fault: see the system's log, and mount it read-write",
    errno.ENOLCK: "that file system gives no locks: keep the directory on a local disk, or let NFS serve locks",
    errno.EMFILE: "too many files are open: raise the limit (`ulimit -n`)",
    errno.ENFILE: "too many files are open on this machine",
}


def refused(error: OSError, what: str) -> Unavailable:
    """What a system call that failed means to whoever runs us. what: could not be done"""
    if error.errno in (errno.EACCES, errno.EPERM):
        remedy = f"run it as the owner{_of(error.filename)}, or have the file's rights changed"
    else:
        remedy = _REMEDIES.get(error.errno or 0, "run `shardd doctor`")
    return Unavailable(f"{what}: {error.strerror or error}", remedy)


def check_owner(place: Path) -> None:
    """Nothing if we run as the owner of `place`, else Unavailable: what we write there would be in the owner's way."""
    owner = place.stat().st_uid
    if owner != os.geteuid():
        raise Unavailable(
            f"{place} belongs to {user_name(owner)}, and you are {user_name(os.geteuid())}",
            f"run the same as its owner: `sudo -u {user_name(owner)} …`",
        )


def user_name(uid: int) -> str:
    """The name of an OS user; `#1234`, as sudo(8) takes it, of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _of(filename: object) -> str:
    """` of PATH, NAME`, where that can be found out."""
    with contextlib.suppress(OSError):
        path = Path(os.fsdecode(filename)) if isinstance(filename, str | bytes) else None
        while path is not None and not _seen(path):
            path = None if path == path.parent else path.parent
        if path is not None:
            return f" of {path}, {user_name(path.stat().st_uid)}"
    return ""


def _seen(path: Path) -> bool:
    try:
        path.stat()
    except OSError:
        return False
    return True


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
def written_whole(
    path: Path, *, mode: int = 0o600, prefix: str | None = None, like: os.stat_result | None = None, new: bool = False
) -> Iterator[IO[bytes]]:
    """A file to write, which replaces `path` when the block ends, and vanishes if it fails; see write_atomic.

    like: of whom owner and mode are taken, where we may; new: FileExistsError if something is there by then
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}." if prefix is None else prefix, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if like is not None:
                with contextlib.suppress(PermissionError):
                    os.fchown(handle, like.st_uid, like.st_gid)
            os.fchmod(handle, mode if like is None else stat.S_IMODE(like.st_mode))
            os.fsync(handle)
        if not new or not _linked(Path(name), path):
            Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    sync_directories([path.parent])


def _linked(draft: Path, path: Path) -> bool:
    """Give the draft a name that nothing has, which renaming cannot promise; False where there are no hard links."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:
        return False
    draft.unlink()
    return True


@contextlib.contextmanager
def handed_over(path: Path, *, force: bool = False) -> Iterator[IO[bytes]]:
    """A file to write for a person, who named it: whole or not at all where it is, or will be, a regular file.

    Links are followed, and what is no regular file, such as a device, a pipe or one of our own descriptors, is written
    in place. FileExistsError where a file would be replaced without `force`; a file keeps its mode and its owner.
    """
    place, opened = _at_its_end(path)
    try:
        there: os.stat_result | None = place.stat()
    except FileNotFoundError:
        there = None
    if opened or (there is not None and not stat.S_ISREG(there.st_mode)):
        with place.open("wb") as file:
            yield file
        return
    if there is not None and not force:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place))
    with written_whole(place, mode=0o666 & ~_umask(), like=there, new=not force) as file:
        yield file


def _at_its_end(path: Path) -> tuple[Path, bool]:
    """Where a name leads, link after link; and whether that is a file that a process has open, such as /dev/stdout."""
    for _ in range(_LINKS):
        path = Path(os.path.realpath(path.parent)) / path.name
        if path.parent.is_relative_to("/proc"):
            return path, True
        if not path.is_symlink():
            return path, False
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _umask() -> int:
    """What the process keeps from new files. It can only be read by setting it, for a moment."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


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
