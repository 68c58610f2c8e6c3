"""Folders in which packs are made, out of sight and out of reach: git looks for none below `<repo>/shardd/`, and its
pruning removes the like of them that lie beside the objects while they are still in use.

Whoever works in one has it locked by flock(2); one that is not locked is litter of a killed process, and goes with the
next.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shardd.files.durable import writing

_PREFIX = "aside-"


@contextmanager
def aside(state: Path) -> Iterator[Path]:
    """A new folder below `state`, with a folder `pack` in it; gone at the end."""
    for folder in folders(state):
        clear(folder)
    with writing(state):
        folder, lock = _made(state)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def folders(state: Path) -> list[Path]:
    """Those below `state`, in use or not."""
    return list(state.glob(f"{_PREFIX}*"))


def clear(folder: Path, *, remove: bool = True) -> bool:
    """Remove the folder unless somebody works in it; whether nobody did. remove: False only finds out"""
    lock = _locked(folder, wait=False)
    if lock is None:
        return False
    if remove:  # with the lock held: whoever has just made it and waits for it makes another
        shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)
    return True


def _made(state: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=state))
        lock = _locked(folder, wait=True)
        if lock is None:
            continue
        try:
            (folder / "pack").mkdir()
        except FileNotFoundError:
            os.close(lock)  # it was taken for litter before it was locked
        else:
            return folder, lock


def _locked(folder: Path, *, wait: bool) -> int | None:
    """The descriptor of the locked folder; None if it is gone, or somebody else's."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
