"""A git child joined to its client, to the end of either.

The child ends because it has done its work; because the client has left, or sent what it must not; because no byte has
moved for too long, or it has taken too long altogether. A push is ended as long as nothing is decided (see stage.py).
From then on it goes to its end: its refs are moved by the server, not by the child, and the site's post-receive is told
of what has happened.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass

from shardd.errors import Rejected, SharddError, Unavailable
from shardd.service.channel import Process
from shardd.service.channel_io import from_child, to_child
from shardd.service.children import Children
from shardd.service.git_child import Child
from shardd.service.push_stage import Stage

_LOOK = 0.25  # seconds between looks at the client


@dataclass(frozen=True, slots=True)
class Lasting:
    """seconds: that a git may take; stall: that no byte may move in, before the hooks of a push begin; None for any"""

    seconds: float
    stall: float | None


class Asked:
    """Counts what a client sends, who asks for objects and sends none."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0

    def feed(self, data: bytes) -> None:
        self._count += len(data)
        if self._count > self._most:
            raise Rejected("too-large", f"a request for objects has at most {self._most} bytes", "fetch fewer refs")


async def join(
    children: Children,
    process: Process,
    child: Child,
    seen: Callable[[bytes], None],
    stage: Stage,
    lasting: Lasting,
) -> int:
    """The child's exit status, as a shell would give it; an error if it was ended for what the client did.

    seen: is shown all that the client sends, first
    """
    watch = _Watch(process, stage, lasting)
    moved = watch.moved
    incoming = asyncio.create_task(to_child(process, child.stdin, seen, watch.refused, moved))
    outgoing = asyncio.gather(
        from_child(child.stdout, process.stdout, moved), from_child(child.stderr, process.stderr, moved)
    )
    working = asyncio.create_task(_worked(child, outgoing))
    watching = asyncio.create_task(watch.over())
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            # What it says of its own end is no news to anybody.
            outgoing.cancel()
            await children.end(child)
            refusal = watching.result()
            if refusal is not None:
                raise refusal
        status = await child.gone()
    finally:
        for task in (incoming, working, watching):
            task.cancel()
        await asyncio.gather(incoming, working, watching, return_exceptions=True)
    if status == -signal.SIGXCPU:
        raise Unavailable("git has used up its time on this server", "ask for less at a time")
    return status if status >= 0 else 128 - status


async def _worked(child: Child, outgoing: asyncio.Future[tuple[None, None]]) -> None:
    await outgoing
    await child.gone()


class _Watch:
    """Over a child: whether it still has somebody to serve, and may go on."""

    def __init__(self, process: Process, stage: Stage, lasting: Lasting) -> None:
        self._process = process
        self._stage = stage
        self._lasting = lasting
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        self._began = self._last = self._clock()
        self.refused: asyncio.Future[SharddError] = loop.create_future()

    def moved(self) -> None:
        self._last = self._clock()

    async def over(self) -> SharddError | None:
        """Return when the child is to be ended: with the reason, None if there is nobody to hear it."""
        while True:
            await asyncio.wait((self.refused,), timeout=_LOOK)
            reason = self._reason()
            if reason is None and not self._process.is_closing():
                continue
            if self._stage.end():
                return reason
            await asyncio.Event().wait()  # all is decided: it goes to its end, whoever listens

    def _reason(self) -> SharddError | None:
        if self.refused.done():
            return self.refused.result()
        if self._process.is_closing():
            return None
        most, stall, now = self._lasting.seconds, self._lasting.stall, self._clock()
        if now - self._began > most:
            return Unavailable(f"git has taken more than {most:.0f} seconds", "try again with less at a time")
        if stall is not None and not self._stage.asked and now - self._last > stall:
            return Unavailable(f"no byte has moved for {stall:.0f} seconds")
        return None
