"""How much at once: connections, in total and per address, and sessions; and the way out, when the server leaves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from shardd.errors import Unavailable
from shardd.storage.settings import Settings

_LATER = "try again in a moment"


class Admission:
    """Counts what is there. For the event loop's thread alone, `leaving` excepted, which any may read.

    left: set once the server has begun to leave
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._addresses: Counter[str] = Counter()
        self._sessions = 0
        self._no_session, self._no_connection = asyncio.Event(), asyncio.Event()
        self._no_session.set()
        self._no_connection.set()
        self.left = asyncio.Event()

    @property
    def leaving(self) -> bool:
        return self.left.is_set()

    @property
    def connections(self) -> int:
        return self._addresses.total()

    @property
    def sessions(self) -> int:
        return self._sessions

    def connect(self, address: str) -> None:
        """Count one more connection, to be ended by `disconnect`; Unavailable if there is no room for it."""
        if self.connections >= self._settings.max_connections:
            raise Unavailable("too many connections", _LATER)
        if self._addresses[address] >= self._settings.max_connections_per_address:
            raise Unavailable(f"too many connections from {address}", _LATER)
        self._addresses[address] += 1
        self._no_connection.clear()

    def disconnect(self, address: str) -> None:
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
        if not self._addresses:
            self._no_connection.set()

    @contextmanager
    def session(self, beside: int) -> Iterator[None]:
        """Count one more session for as long as the block lasts; Unavailable if there is no room for it.

        beside: how many the same connection has already
        """
        if self.leaving:
            raise Unavailable("this server is leaving", _LATER)
        if self._sessions >= self._settings.max_sessions:
            raise Unavailable("too many commands run here", _LATER)
        if beside >= self._settings.max_sessions_per_connection:
            raise Unavailable(f"too many commands run on this connection: {beside}", "open another")
        self._sessions += 1
        self._no_session.clear()
        try:
            yield
        finally:
            self._sessions -= 1
            if not self._sessions:
                self._no_session.set()

    def leave(self) -> None:
        """Let no session begin any more."""
        self.left.set()

    async def empty(self) -> None:
        """Return once no session runs."""
        await self._no_session.wait()

    async def deserted(self) -> None:
        """Return once there is no connection."""
        await self._no_connection.wait()
