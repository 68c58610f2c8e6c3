"""Moved: wakes whoever waits for a space to change. A hint, never a fact: a waiter looks again by itself now and then.

In this process alone; what other processes do is noticed by that second look.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 1.0
"""How long a waiter may rely on the hint before it looks by itself."""


class Moved:
    """Counts the changes of each space."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._counts: dict[str, int] = {}
        self._listeners: set[Callable[[str], None]] = set()

    def count(self, space: str) -> int:
        """To be asked before looking at the space, and handed to `wait` afterwards: no change between is missed."""
        with self._changed:
            return self._counts.get(space, 0)

    def set(self, space: str) -> None:
        with self._changed:
            self._counts[space] = self._counts.get(space, 0) + 1
            self._changed.notify_all()
            listeners = list(self._listeners)
        for listener in listeners:
            listener(space)

    def wait(self, space: str, count: int, seconds: float = POLL_SECONDS) -> None:
        """Until the space has changed since `count`, or so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._counts.get(space, 0) != count, timeout=seconds)

    def listen(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener` with each space that changes, in the thread that changed it; returns what ends that."""
        with self._changed:
            self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)


@dataclass(frozen=True, slots=True)
class Pause:
    """What somebody waits for who will look again after it. count: that of the space before the last look"""

    moved: Moved
    space: str
    count: int
    seconds: float = POLL_SECONDS

    def wait(self) -> None:
        self.moved.wait(self.space, self.count, self.seconds)


def patiently(steps: Generator[Pause, None, T]) -> T:
    """What the steps come to; waits in this thread for whatever they wait for."""
    while True:
        try:
            next(steps).wait()
        except StopIteration as ended:
            found: T = ended.value
            return found
