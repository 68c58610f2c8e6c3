"""The gits that serve clients: started, bounded, and ended with their client and with the server.

Each is the leader of a session and group of its own, so that its helpers and hooks end with it. A server that leaves
ends them; for one that is killed a guard does (guard.py).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from shardd.commands.git_request import GitRun
from shardd.files.bounds import Bounds
from shardd.git.quarantine import discard, named_by
from shardd.service.git_child import Child, RelayEnds, guard, spawn

log = logging.getLogger("shardd.session")

GRACE = 4.0
"""Seconds between the request to end and SIGKILL: long enough for git to remove what it has half written."""


class Children:
    """bounds: of each process of each child that begins just now"""

    def __init__(self, bounds: Callable[[], Bounds]) -> None:
        self._bounds = bounds
        self._running: dict[int, Child] = {}
        self._guard: int | None = None

    @contextmanager
    def started(self, run: GitRun, *, relay: bool) -> Iterator[tuple[Child, RelayEnds | None]]:
        """A child, which is gone when the block ends."""
        self._tell("")  # the guard is there before anything that it should guard
        child, ends = spawn(run, relay=relay)
        self._running[child.pid] = child
        self._tell(f"+{child.pid}\n")
        # It has had no byte of a client's yet, so nothing that is to be bounded has begun.
        self._bounds().apply(child.pid)
        try:
            yield child, ends
        finally:
            if not child.over:
                child.signal(signal.SIGKILL)
            self._tell(f"-{child.pid}\n")  # while its number is still its own
            del self._running[child.pid]
            child.reap()

    async def end(self, child: Child) -> None:
        """End it and all that it has started; what it was about to bring goes too."""
        incoming = await asyncio.to_thread(named_by, child.pid, child.repository)
        child.signal(signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(child.gone()), GRACE)
        child.signal(signal.SIGKILL)  # what of its group has not heard
        await child.gone()
        await asyncio.to_thread(discard, incoming)

    def signal_all(self, how: signal.Signals) -> None:
        for child in self._running.values():
            child.signal(how)

    def _tell(self, line: str) -> None:
        if self._guard is None:
            self._guard = guard()
        try:
            os.write(self._guard, line.encode())
        except BrokenPipeError:
            log.warning("the guard of our gits is gone; starting another")
            os.close(self._guard)
            self._guard = guard()
            os.write(self._guard, "".join(f"+{pid}\n" for pid in self._running).encode())
