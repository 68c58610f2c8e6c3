"""Waiting for a space to change, in the event loop: any number of sessions, and no thread for any of them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from shardd.authority.moved import Pause


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
