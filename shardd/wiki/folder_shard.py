"""FolderShard: a folder of Markdown files. The key of `notes/Home.md` is `notes/Home`.

Safe on folders that somebody else fills: no symbolic link is followed, at any depth, not even one that appears between
listing and reading; only regular files are pages; names that begin with a dot are left out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

from shardd.errors import Misuse, Unavailable
from shardd.wiki.shard import Source

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FolderShard:
    """The Markdown files under `root`. Reads afresh every time, so changes show at once.

    suffix: which files are pages; it is not part of the key
    """

    kind = "folder"

    def __init__(self, root: str | os.PathLike[str], *, suffix: str = ".md") -> None:
        self._root = Path(root).absolute()
        self._suffix = suffix
        if not self._root.is_dir():
            raise Misuse(f"{str(self._root)!r} is not a folder")

    def pages(self) -> Iterator[Source]:
        """In the same order on every file system. Misuse on a name that is not UTF-8, naming it."""
        for parent, folders, files, here in os.fwalk(self._root, onerror=_unreadable, follow_symlinks=False):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            inside = Path(parent).relative_to(self._root)
            for name in sorted(files):
                if self._is_page(name, here):
                    path = _utf8((inside / name).as_posix())
                    yield Source(path.removesuffix(self._suffix), path, partial(self._read, path))

    def find(self, key: str) -> Source | None:
        path = key + self._suffix
        parts = path.split("/")
        if "\0" in path or any(not part or part.startswith(".") for part in parts):
            return None
        try:
            os.close(self._open(path))
        except (OSError, UnicodeEncodeError):
            return None
        return Source(key, path, partial(self._read, path))

    def _is_page(self, name: str, folder: int) -> bool:
        if not name.endswith(self._suffix) or name.startswith("."):
            return False
        try:
            return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
        except FileNotFoundError:  # gone since the folder was listed
            return False

    def _read(self, path: str) -> bytes:
        try:
            with os.fdopen(self._open(path), "rb") as file:
                return file.read()
        except OSError as error:
            raise Unavailable(f"{path!r} cannot be read: {error.strerror}") from None

    def _open(self, path: str) -> int:
        """A descriptor of the regular file, opened step by step so that no step can be a link; OSError otherwise."""
        *folders, name = path.split("/")
        here = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for folder in folders:
                below = os.open(folder, _DIRECTORY, dir_fd=here)
                os.close(here)
                here = below
            found = os.open(name, _FILE, dir_fd=here)
        finally:
            os.close(here)
        if not stat.S_ISREG(os.fstat(found).st_mode):
            os.close(found)
            raise OSError(0, "not a regular file")
        return found


def _unreadable(error: OSError) -> NoReturn:
    # Left out silently, the pages below would look as if nobody had them.
    raise Unavailable(f"{error.filename!r} cannot be listed: {error.strerror}") from None


def _utf8(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise Misuse(
            f"the file name {os.fsencode(path)!r} is not UTF-8, so it can be no page key", "rename the file"
        ) from None
    return path
