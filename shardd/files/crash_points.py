"""Named points at which a process can be made to die or to stand still, so that tests can show what that leaves behind.

    SHARDD_KILL_AT=after-move        SIGKILL to itself when the process first comes to that point
    SHARDD_KILL_AT=before-lock:3     … the third time
    SHARDD_STOP_AT=before-store      SIGSTOP, until somebody sends SIGCONT

The variables are read once, at import; where none is set a point costs one comparison. They give nobody a right:
whoever can set the environment of a process can kill it anyway, and a client's environment never reaches us.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum

VARIABLE = "SHARDD_KILL_AT"
STOPPING = "SHARDD_STOP_AT"


class Point(StrEnum):
    """Every step of a push and of a lease change, before and after."""

    BEFORE_LOOK = "before-look"  # pre-receive is about to decide, without locks
    AFTER_LOOK = "after-look"  # it has, and git is not told yet
    BEFORE_LOCK = "before-lock"  # the locks of the spaces are about to be taken
    AFTER_LOCK = "after-lock"  # they are held, and nothing was looked at yet
    IN_INDEX = "in-index"  # inside the transaction that makes the index of a space, or makes it longer
    BEFORE_DECIDE = "before-decide"  # under the locks, the facts are gathered
    AFTER_DECIDE = "after-decide"  # it is decided, and nothing was written yet
    BEFORE_STORE = "before-store"  # inside the transaction that stores a lease
    AFTER_STORE = "after-store"  # the lease is stored; its journal entry is not published
    BEFORE_MOVE = "before-move"  # all objects are on disk
    AFTER_MOVE = "after-move"  # git has moved the refs; their directories are not synced, the locks still held
    BEFORE_ANSWER = "before-answer"  # all is on disk and unlocked, and nobody knows
    AFTER_ANSWER = "after-answer"  # whoever asked was told


_armed: Point | None = None
_signal = signal.SIGKILL
_passes = 0


def arm(where: str, *, how: signal.Signals = signal.SIGKILL) -> None:
    """Die, or stop, at `POINT` or `POINT:N`; an empty string disarms. ValueError if there is no such point."""
    global _armed, _passes, _signal
    name, _, count = where.partition(":")
    _armed = Point(name) if name else None
    _passes = int(count or 1)
    _signal = how


def reached(point: Point) -> None:
    """Called where the process comes to `point`."""
    global _passes
    if _armed is None or point is not _armed:
        return
    _passes -= 1
    if _passes == 0:
        os.kill(os.getpid(), _signal)


if STOPPING in os.environ:
    arm(os.environ[STOPPING], how=signal.SIGSTOP)
else:
    arm(os.environ.get(VARIABLE, ""))
