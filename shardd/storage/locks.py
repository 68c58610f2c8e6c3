"""One flock(2)ed file per space: whoever holds it may look at the space's lease and head and change them.

The files are never unlinked (a lock on an unlinked file excludes nobody). Several are taken in name order, so two
takers cannot wait for each other. The kernel drops a lock with its last descriptor, so a killed process leaves none
behind; its git children inherit the descriptor and keep the lock until they too are gone.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from shardd.errors import Unavailable
from shardd.storage.durable import writing

# Locks that belong to no space, besides those of single refs (core/refs.py); no space begins with `@`.
HEAD = "@head"  # what HEAD points at, while that does not exist
PACKED_REFS = "@packed-refs"  # git's one file of packed refs; always taken last, on its own

PATIENCE = 60.0
"""Seconds to wait for a lock before giving up: far longer than any holder needs it."""


@contextmanager
def locked(folder: Path, spaces: Iterable[str], *, patience: float = PATIENCE) -> Iterator[list[int]]:
    """The descriptors of the locks of all these spaces, held until the block ends. Unavailable if one stays taken."""
    with ExitStack() as stack:
        held: list[int] = []
        with writing(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
        for space in sorted(set(spaces)):
            with writing(folder / space):
                descriptor = os.open(folder / space, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, descriptor)
            _take(descriptor, space, time.monotonic() + patience)
            held.append(descriptor)
        yield held


def _take(descriptor: int, space: str, deadline: float) -> None:
    pause = 0.0005
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"the lock of {space} stays taken", "look for a stopped shardd or git process on the server"
                ) from None
            time.sleep(pause)
            pause = min(pause * 1.5, 0.01)
        else:
            return
