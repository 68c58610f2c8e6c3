"""A git child joined to its client, to the end of either.

The child ends because it has done its work; because the client has left, or sent what it must not; or because it has
taken too long. A push that the client leaves is ended as long as nothing is decided. From then on it goes to its end:
its refs are moved by the server, not by the child, and the site's post-receive is told of what has happened.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from shardd.errors import Rejected, SharddError, Unavailable
from shardd.service.child import Child
from shardd.service.children import Children
from shardd.service.streams import Process, from_child, to_child

_LOOK = 0.25  # seconds between looks at the client


class Meter:
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
    *,
    seconds: float,
    unstoppable: Callable[[], bool] = lambda: False,
) -> int:
    """The child's exit status, as a shell would give it; an error if it was ended for what the client did.

    seen: is shown all that the client sends, first; unstoppable: whether it goes on even if the client has left
    """
    refused: asyncio.Future[SharddError] = asyncio.get_running_loop().create_future()
    incoming = asyncio.create_task(to_child(process, child.stdin, seen, refused))
    outgoing = asyncio.gather(from_child(child.stdout, process.stdout), from_child(child.stderr, process.stderr))
    working = asyncio.create_task(_worked(child, outgoing))
    watching = asyncio.create_task(_watched(process, refused, seconds, unstoppable))
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


async def _watched(
    process: Process, refused: asyncio.Future[SharddError], seconds: float, unstoppable: Callable[[], bool]
) -> SharddError | None:
    """Return when the child is to be ended: with the reason, None if there is nobody to hear it."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    while True:
        await asyncio.wait((refused,), timeout=_LOOK)
        if clock() > deadline:
            return Unavailable(f"git has taken more than {seconds:.0f} seconds", "try again with less at a time")
        if unstoppable():
            await asyncio.sleep(_LOOK)
        elif refused.done():
            return refused.result()
        elif process.is_closing():
            return None
