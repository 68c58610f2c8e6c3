"""New objects, out of reach of any git that cleans up: packs under a `.keep`, until refs name what is in them.

`git prune` removes each loose object, and `git repack -a -d` each pack, that no ref led to when it looked, however long
ago that was and however young the object is. So whatever a ref move is to make reachable is put into a pack first

- whose name nobody has seen before: a repack that is at it has listed the packs that it may remove;
- which has its `.keep` before it can be seen, and until the ref has moved: a repack that begins meanwhile passes it by.

The keep says whose it is, `shardd <pid> <lock>…`, the locks being those that its maker held (storage/locks.py). Who
holds one of them knows that the maker is gone, and puts away what it left behind.

One append makes one small pack. When there are many, they become one: see `gather`.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from shardd.core.names import is_id
from shardd.core.objects import EMPTY_TREE, commit_oid
from shardd.errors import SharddError, Unavailable
from shardd.storage import packfile
from shardd.storage.durable import sync_directories, write_atomic, write_new, writing
from shardd.storage.locks import locked
from shardd.storage.packfile import Kind

log = logging.getLogger("shardd.packs")

OURS = f"pack-{b'shardd'.hex()}"
"""How the names begin of packs that we wrote ourselves, and so know how to read and to gather; then comes the level."""

PACKS = "@packs"
"""The lock of whoever gathers packs; never waited for."""

_MANY = 16  # packs of one level become one pack of the next
_LEVELS = 3  # and then no more: git's own repacking does better with what is large
_LARGEST = 1 << 20  # bytes of a pack that is made one with others: all of them are in memory then


class KeptPacks:
    """The packs that a holder of locks adds to the bare repo at `path`; a context, at whose end they need no keep."""

    def __init__(self, path: Path, locks: Sequence[str]) -> None:
        self._path = path
        self._folder = path / "objects" / "pack"
        self._locks = list(locks)
        self._keeps: list[Path] = []
        self.wrote = False

    def leave(self) -> None:
        """The move was begun, and is not over: the next holder of the locks ends it first, and these keeps then."""
        self._keeps.clear()

    def __enter__(self) -> KeptPacks:
        return self

    def __exit__(self, *_: object) -> None:
        """The refs have moved, or will not: either way a git that cleans up may judge for itself now."""
        while self._keeps:
            with suppress(OSError):  # the next holder of the lock removes it
                discard(self._keeps.pop())

    def write(self, raws: Iterable[bytes]) -> None:
        """Store commits in a pack of their own, on disk when this returns."""
        found: dict[str, bytes] = {}
        for raw in raws:
            found[commit_oid(raw)] = packfile.entry(Kind.COMMIT, raw)
            if not raw.startswith(b"parent ", raw.index(b"\n") + 1):
                # All commits of ours stand on the empty tree, which git needs no object for and other readers do.
                found[EMPTY_TREE] = packfile.entry(Kind.TREE, b"")
        if found:
            self.store(found)

    def take(self, folder: Path, names: Iterable[str]) -> None:
        """Move in the packs `pack-<name>` that git made in `folder`, on this file system: all, or Unavailable."""
        with writing(self._folder):
            for name in names:
                # The index comes last: git looks for packs by their indexes.
                parts = sorted(folder.glob(f"pack-{name}.*"), key=lambda path: path.suffix == ".idx")
                if not {".pack", ".idx"} <= {part.suffix for part in parts}:
                    raise Unavailable(f"the new pack {name} went missing from {folder}", "try again")
                new = self._begin(f"pack-{secrets.token_hex(20)}")
                for part in parts:
                    if part.suffix != ".keep":
                        part.rename(new.with_suffix(part.suffix))
            sync_directories([self._folder])

    def store(self, entries: Mapping[str, bytes]) -> None:
        """The same for objects of any kind, by their oids; see packfile.entry."""
        made = packfile.build(entries)
        with writing(self._folder):
            level = min(int(math.log(len(entries), _MANY)), 15)
            name = f"{OURS}{level:x}"
            new = self._begin(name + secrets.token_hex(20)[len(name) - 5 :])
            write_new(new.with_suffix(".pack"), made.pack, mode=0o444)
            write_atomic(new.with_suffix(".idx"), made.index, mode=0o444, prefix=f"{new.name}.tmp-")

    def _begin(self, name: str) -> Path:
        """Put the keep where a pack is to be; the pack's path without a suffix."""
        self._folder.mkdir(exist_ok=True)
        mine = {keep.name for keep in self._keeps}
        for keep, locks in keeps(self._path):
            if keep.name not in mine and not locks.isdisjoint(self._locks):
                discard(keep)
        keep = self._folder / f"{name}.keep"
        self._keeps.append(keep)
        self.wrote = True
        keep.write_text(f"shardd {os.getpid()} {' '.join(self._locks)}\n")
        return self._folder / name


def listing(folder: Path) -> set[str]:
    """The names in a folder of packs."""
    with os.scandir(folder) as found:
        return {each.name for each in found}


def keeps(path: Path) -> list[tuple[Path, frozenset[str]]]:
    """The keeps of ours in the bare repo at `path`, and the locks that their makers held."""
    found: list[tuple[Path, frozenset[str]]] = []
    folder = path / "objects" / "pack"
    for keep in (folder / name for name in listing(folder) if name.endswith(".keep")):
        with suppress(FileNotFoundError):
            words = keep.read_text(errors="replace").split()
            if words[:1] == ["shardd"] and words[2:] and all(map(_is_lock, words[2:])):
                found.append((keep, frozenset(words[2:])))
    return found


def _is_lock(name: str) -> bool:
    return is_id(name.removeprefix("@notes-").removeprefix("@"))


def discard(keep: Path) -> None:
    """Put away the keep, and the pack as well if it is not complete: its maker was killed, or the disk was full."""
    if not keep.with_suffix(".idx").exists():
        for part in keep.parent.glob(f"{keep.stem}.*"):
            if part != keep:
                part.unlink(missing_ok=True)
    keep.unlink(missing_ok=True)


def gather(path: Path, locks: Path) -> None:
    """Make one pack of many small ones, level by level, so that their number grows as the logarithm of the objects'.

    Nothing is lost by it, whoever cleans up beside it: the new pack has all that is in the old ones, and is on disk
    before they go. It is housekeeping after an append that stands, and so fails for itself alone.

    locks: the folder of the lock files; if somebody is at it already there is nothing to do
    """
    folder = path / "objects" / "pack"
    try:
        if _small(folder):
            with locked(locks, [PACKS], patience=0), KeptPacks(path, [PACKS]) as kept:
                while small := _small(folder):
                    found: dict[str, bytes] = {}
                    for index in small:
                        found.update(packfile.entries(index.with_suffix(".pack").read_bytes(), index.read_bytes()))
                    kept.store(found)
                    for old in (part for index in small for part in (index, index.with_suffix(".pack"))):
                        old.unlink(missing_ok=True)
    except Unavailable:
        pass
    except (SharddError, OSError) as error:
        log.warning("the small packs in %s stay as they are: %s", folder, error)


def _small(folder: Path) -> list[Path]:
    """The indexes of packs of one level, if there are enough to make one of them; else none."""
    names = listing(folder)
    levels: dict[str, list[Path]] = {}
    for name in names:
        if name.startswith(OURS) and name.endswith(".idx") and f"{name[:-4]}.keep" not in names:
            levels.setdefault(name[len(OURS)], []).append(folder / name)
    for at in range(_LEVELS):
        found = levels.get(f"{at:x}", [])
        if len(found) >= _MANY and len(found := list(filter(_may_be_gathered, found))) >= _MANY:
            return found
    return []


def _may_be_gathered(index: Path) -> bool:
    """Not what is large, and not what is in flight: its keep goes once its ref has moved.

    A look at the folder may show an index and not the keep that was there before it; one at the keep itself does not.
    """
    with suppress(FileNotFoundError):
        return index.with_suffix(".pack").stat().st_size <= _LARGEST and not index.with_suffix(".keep").exists()
    return False
