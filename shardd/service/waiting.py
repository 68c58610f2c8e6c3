"""Commands that wait, in the event loop: each step runs in a thread, and between two of them there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from shardd.authority.moved import Pause

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Ended(Generic[T]):
    """With a value. A StopIteration does not go through a future."""

    value: T


async def driven(steps: Generator[Pause, None, T]) -> T:
    """What the steps come to."""
    while not isinstance(found := await asyncio.to_thread(_next, steps), _Ended):
        await heard(found)
    return found.value


def _next(steps: Generator[Pause, None, T]) -> Pause | _Ended[T]:
    try:
        return next(steps)
    except StopIteration as ended:
        return _Ended(ended.value)


async def heard(pause: Pause) -> None:
    """Until what is waited for may have come about, or it is time to look again."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def hear(space: str) -> None:
        if space == pause.space:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                loop.call_soon_threadsafe(changed.set)

    end = pause.moved.listen(hear)
    try:
        # Asked after the listener is there: a change between the last look and now is not missed.
        if pause.moved.count(pause.space) == pause.count:
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), pause.seconds)
    finally:
        end()
