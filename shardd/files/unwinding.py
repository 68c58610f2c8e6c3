"""Ending when a signal asks for it: what was begun is cleaned up first, and further signals wait for that.

The request is raised as SystemExit wherever the main thread is; where it would lose sight of something that has just
come to be, such as a child, it waits for the end of that.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Request:
    """depth: blocks that are not to be disturbed; asked: the signal that waits for their end"""

    depth = 0
    asked: int | None = None


@contextmanager
def unwinding() -> Iterator[None]:
    """A signal that asks us to end is raised as SystemExit in this block, which must be the main thread's."""

    def end(number: int, _: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        _Request.asked = number
        if not _Request.depth:
            _raise()

    # What is ignored stays so: a `nohup` means it.
    before = {each: handler for each in _ENDS if (handler := signal.getsignal(each)) is not signal.SIG_IGN}
    for each in before:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Until this block has ended, nobody is asked to."""
    _Request.depth += 1
    try:
        yield
    finally:
        _Request.depth -= 1
        if not _Request.depth and _Request.asked is not None:
            _raise()


def _raise() -> None:
    number, _Request.asked = _Request.asked, None
    raise SystemExit(128 + (number or 0))
