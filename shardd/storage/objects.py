"""Reading the objects of a repository in this process: the only module that asks dulwich for one.

What is asked for may move while we look: git packs loose objects, repacks packs and removes the old ones at any time,
and dulwich reports what it then runs into in a dozen ways, none of them ours. So whatever goes wrong, the store is
opened anew and asked again; what stays wrong is Unavailable (the system refuses) or Corrupt (the bytes do not read).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from dulwich.object_store import DiskObjectStore
from dulwich.objects import ObjectID
from dulwich.pack import PackFileDisappeared

from shardd.errors import Corrupt, SharddError, Unavailable

_TRIES = 4

T = TypeVar("T")


class Objects:
    """The objects in `folder`. alternates: further folders to look into"""

    def __init__(self, folder: Path, alternates: Sequence[str] = ()) -> None:
        self._folder = folder
        self._alternates = list(alternates)
        self._store = self._open()

    def close(self) -> None:
        self._store.close()

    def has(self, oid: str) -> bool:
        name = ObjectID(oid.encode())

        def look(store: DiskObjectStore) -> bool:
            if name in store:
                return True
            raise KeyError(oid)

        return self._ask(oid, look) is not None

    def raw(self, oid: str) -> tuple[int, bytes] | None:
        """Kind, as a number of git's, and bytes of an object; None if it is not here."""
        return self._ask(oid, lambda store: store.get_raw(ObjectID(oid.encode())))

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
        return DiskObjectStore(str(self._folder), alternates=self._alternates or None)
