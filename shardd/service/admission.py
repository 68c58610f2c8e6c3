"""How much at once: connections, sessions, and each one's share of them; and the way out, when the server leaves.

Who has not proven who she is, is counted apart, and makes room for whoever comes: the oldest of the address that has
most of them goes. So neither silence nor a flood keeps out who has a key.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from shardd.errors import Unavailable
from shardd.files.settings import Settings

_LATER = "try again in a moment"

K = TypeVar("K")


class Guest(Protocol):
    """A connection, as it is counted here."""

    @property
    def address(self) -> str: ...

    def turn_out(self, why: str) -> None:
        """Disconnect it."""
        ...


class Admission:
    """Counts what is there. For the event loop's thread alone, `leaving` excepted, which any may read.

    settings: those in force just now; there are never more sessions than at the start, as threads were made for those
    left: set once the server has begun to leave
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._most_sessions = settings().max_sessions
        self._strangers: dict[Guest, None] = {}
        self._known: dict[Guest, str] = {}
        self._addresses: Counter[str] = Counter()
        self._principals: Counter[str] = Counter()
        self._sessions = 0
        self._sessions_of: Counter[str] = Counter()
        self._sessions_on: Counter[Guest] = Counter()
        self._unheard = 0
        self._no_session, self._no_connection = asyncio.Event(), asyncio.Event()
        self._no_session.set()
        self._no_connection.set()
        self.left = asyncio.Event()

    @property
    def leaving(self) -> bool:
        return self.left.is_set()

    @property
    def sessions(self) -> int:
        """How many have not ended, what the client has yet to hear of them included."""
        return self._unheard

    def arrive(self, guest: Guest) -> None:
        """Count one more connection, of nobody yet, to be ended by `depart`."""
        if len(self._strangers) >= self._settings().max_unauthenticated:
            crowds = Counter(each.address for each in self._strangers)
            crowd, _ = crowds.most_common(1)[0]
            oldest = next(each for each in self._strangers if each.address == crowd)
            del self._strangers[oldest]
            oldest.turn_out("too many connections that have not logged in")
        self._strangers[guest] = None
        self._no_connection.clear()

    def log_in(self, guest: Guest, principal: str) -> None:
        """The connection is somebody's from now on; Unavailable if there is no room for it."""
        self._strangers.pop(guest, None)
        settings = self._settings()
        if len(self._known) >= settings.max_connections:
            raise Unavailable("too many connections", _LATER)
        if self._addresses[guest.address] >= settings.max_connections_per_address:
            raise Unavailable(f"too many connections from {guest.address}", _LATER)
        if self._principals[principal] >= settings.max_connections_per_principal:
            raise Unavailable(f"too many connections of {principal}", _LATER)
        self._known[guest] = principal
        self._addresses[guest.address] += 1
        self._principals[principal] += 1

    def depart(self, guest: Guest) -> None:
        self._strangers.pop(guest, None)
        principal = self._known.pop(guest, None)
        if principal is not None:
            _less(self._addresses, guest.address)
            _less(self._principals, principal)
        if not self._strangers and not self._known:
            self._no_connection.set()

    @contextmanager
    def session(self, guest: Guest, principal: str) -> Iterator[None]:
        """Count one more session for as long as the block lasts; Unavailable if there is no room for it."""
        settings = self._settings()
        if self.leaving:
            raise Unavailable("this server is leaving", _LATER)
        if self._sessions >= min(settings.max_sessions, self._most_sessions):
            raise Unavailable("too many commands run here", _LATER)
        if self._sessions_of[principal] >= settings.max_sessions_per_principal:
            raise Unavailable(f"too many commands of {principal} run here", _LATER)
        if self._sessions_on[guest] >= settings.max_sessions_per_connection:
            raise Unavailable(f"too many commands run on this connection: {self._sessions_on[guest]}", "open another")
        self._sessions += 1
        self._sessions_of[principal] += 1
        self._sessions_on[guest] += 1
        try:
            yield
        finally:
            self._sessions -= 1
            _less(self._sessions_of, principal)
            _less(self._sessions_on, guest)

    @contextmanager
    def unheard(self) -> Iterator[None]:
        """The server does not leave while the block lasts."""
        self._unheard += 1
        self._no_session.clear()
        try:
            yield
        finally:
            self._unheard -= 1
            if not self._unheard:
                self._no_session.set()

    def leave(self) -> None:
        """Let no session begin any more."""
        self.left.set()

    async def empty(self) -> None:
        """Return once no session is left."""
        await self._no_session.wait()

    async def deserted(self) -> None:
        """Return once there is no connection."""
        await self._no_connection.wait()


def _less(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
