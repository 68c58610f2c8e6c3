"""Reading the objects of a repository in this process: the only module that asks dulwich for one.

What is asked for may move while we look: git packs loose objects, repacks packs and removes the old ones at any time,
and dulwich reports what it then runs into in a dozen ways, none of them ours. So whatever goes wrong, the store is
opened anew and asked again; what stays wrong is Unavailable (the system refuses) or Corrupt (the bytes do not read).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from dulwich.object_store import DiskObjectStore
from dulwich.objects import ObjectID
from dulwich.pack import PackFileDisappeared

from shardd.errors import Corrupt, SharddError, Unavailable
from shardd.git import pack_file
from shardd.git.kept_packs import OURS, listing

_TRIES = 4
_KINDS = {b"commit": 1, b"tree": 2, b"blob": 3, b"tag": 4}
_ENOUGH = 1 << 20  # bytes of an entry; a larger one is left to dulwich

T = TypeVar("T")


class Objects:
    """The objects in `folder`. alternates: further folders to look into"""

    def __init__(self, folder: Path, alternates: Sequence[str] = ()) -> None:
        self._folder = folder
        self._alternates = [Path(each) for each in alternates]
        self._indexes: dict[Path, bytes] = {}
        self._store = self._open()

    def close(self) -> None:
        self._store.close()

    def has(self, oid: str) -> bool:
        if self._near(oid) is not None:
            return True
        name = ObjectID(oid.encode())

        def look(store: DiskObjectStore) -> bool:
            if name in store:
                return True
            raise KeyError(oid)

        return self._ask(oid, look) is not None

    def raw(self, oid: str) -> tuple[int, bytes] | None:
        """Kind, as a number of git's, and bytes of an object; None if it is not here."""
        return self._near(oid) or self._ask(oid, lambda store: store.get_raw(ObjectID(oid.encode())))

    def _near(self, oid: str) -> tuple[int, bytes] | None:
        """The same for what was written lately: a loose object, or one in a small pack of ours.

        dulwich opens every pack there is for it, each in half a millisecond. None says nothing: it may be elsewhere.
        """
        for folder in (self._folder, *self._alternates):
            with suppress(OSError, ValueError, KeyError, zlib.error):
                head, _, raw = zlib.decompress((folder / oid[:2] / oid[2:]).read_bytes()).partition(b"\0")
                kind, _, size = head.partition(b" ")
                if int(size) == len(raw):
                    return _KINDS[kind], raw
        for folder in (self._folder, *self._alternates):
            with suppress(OSError):
                for name in listing(folder / "pack"):
                    if name.startswith(OURS) and name.endswith(".idx"):
                        with suppress(OSError, ValueError, IndexError, struct.error, zlib.error):
                            at = pack_file.find(self._index(folder / "pack" / name), oid)
                            if at is not None:
                                with (folder / "pack" / f"{name[:-4]}.pack").open("rb") as file:
                                    return pack_file.read(os.pread(file.fileno(), _ENOUGH, at))
        return None

    def _index(self, path: Path) -> bytes:
        if path not in self._indexes:
            self._indexes[path] = path.read_bytes()
        return self._indexes[path]

    def _ask(self, oid: str, look: Callable[[DiskObjectStore], T]) -> T | None:
        missing = 0
        failed: Exception | None = None
        for _ in range(_TRIES):
            try:
                return look(self._store)
            except KeyError:
                # Once is not enough: between a look at the packs and one at the loose objects it may have been packed.
                missing += 1
                if missing == 2:
                    return None
            except Exception as error:
                failed = error
            self.close()
            self._store = self._open()
        raise self._translated(oid, failed)

    def _translated(self, oid: str, error: Exception | None) -> SharddError:
        where = f"the object {oid} in {self._folder.parent}"
        if isinstance(error, PackFileDisappeared | FileNotFoundError):
            return Unavailable(f"{where} is moved about by git, time and again", "try again")
        if isinstance(error, OSError):
            return Unavailable(f"{where} cannot be read: {error.strerror or error}", "run `shardd doctor`")
        return Corrupt(f"{where} does not read: {type(error).__name__}: {error}", "run `git fsck`")

    def _open(self) -> DiskObjectStore:
        return DiskObjectStore(str(self._folder), alternates=[str(each) for each in self._alternates] or None)
