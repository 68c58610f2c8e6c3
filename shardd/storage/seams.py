"""Named points at which a process can be made to die, so that tests can show what a crash there leaves behind.

    SHARDD_KILL_AT=after-move        SIGKILL to itself when the process first comes to that point
    SHARDD_KILL_AT=before-lock:3     … the third time

The variable is read once, at import; where it is not set a point costs one comparison. It gives nobody a right: whoever
can set the environment of a process can kill it anyway, and a client's environment never reaches us.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum

VARIABLE = "SHARDD_KILL_AT"


class Point(StrEnum):
    """Every step of a push and of a lease change, before and after."""

    BEFORE_LOOK = "before-look"  # pre-receive is about to decide, without locks
    AFTER_LOOK = "after-look"  # it has, and git is not told yet
    BEFORE_LOCK = "before-lock"  # the locks of the spaces are about to be taken
    AFTER_LOCK = "after-lock"  # they are held, and nothing was looked at yet
    BEFORE_DECIDE = "before-decide"  # under the locks, the facts are gathered
    AFTER_DECIDE = "after-decide"  # it is decided, and nothing was written yet
    BEFORE_STORE = "before-store"  # inside the transaction that stores a lease
    AFTER_STORE = "after-store"  # the lease is stored; its journal entry is not published
    BEFORE_MOVE = "before-move"  # all objects are on disk
    AFTER_MOVE = "after-move"  # git has moved the refs; their directories are not synced, the locks still held
    BEFORE_ANSWER = "before-answer"  # all is on disk and unlocked, and nobody knows
    AFTER_ANSWER = "after-answer"  # whoever asked was told


_armed: Point | None = None
_passes = 0


def arm(where: str) -> None:
    """Die at `POINT` or `POINT:N`; an empty string disarms. ValueError if there is no such point."""
    global _armed, _passes
    name, _, count = where.partition(":")
    _armed = Point(name) if name else None
    _passes = int(count or 1)


def reached(point: Point) -> None:
    """Called where the process comes to `point`."""
    global _passes
    if _armed is None or point is not _armed:
        return
    _passes -= 1
    if _passes == 0:
        os.kill(os.getpid(), signal.SIGKILL)


arm(os.environ.get(VARIABLE, ""))
