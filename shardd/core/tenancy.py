"""The leases of one space as values, and how their times are written. What may become of them: core/lease.py."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from shardd.core.event import parse_time

_UNIX = datetime(1970, 1, 1, tzinfo=UTC)


class Reason(StrEnum):
    """Why an epoch began."""

    ACQUIRE = "acquire"
    TRANSFER = "transfer"
    GRANT = "grant"
    REVOKE = "revoke"
    SERVER = "server"
    RESTORE = "restore"


class Ended(StrEnum):
    """How the tenure before it ended."""

    FIRST = "first"
    RELEASED = "released"
    EXPIRED = "expired"
    TRANSFERRED = "transferred"
    REVOKED = "revoked"
    RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of `holder` to append to `space` until `expires`. Times in milliseconds since 1970, lease clock."""

    space: str
    holder: str
    epoch: int
    granted: int
    expires: int
    fenced: bool = False

    def left(self, now: int) -> int:
        """Milliseconds until it expires; 0 if it has."""
        return max(0, self.expires - now)


@dataclass(frozen=True, slots=True)
class Waiter:
    ticket: str
    principal: str
    seen: int


@dataclass(frozen=True, slots=True)
class Tenancy:
    """All that is remembered of one space's leases.

    epoch: the last one given out; lease: the live one, if any; ended: how the last tenure ended, if it has
    bars: principals that may not hold the lease before a time
    """

    space: str
    epoch: int = 0
    lease: Lease | None = None
    ended: Ended = Ended.FIRST
    waiters: tuple[Waiter, ...] = ()
    bars: tuple[tuple[str, int], ...] = ()


def alike(one: Tenancy, other: Tenancy) -> bool:
    """Whether they differ at most in when those in line were last seen."""

    def unseen(tenancy: Tenancy) -> Tenancy:
        return replace(tenancy, waiters=tuple(replace(waiter, seen=0) for waiter in tenancy.waiters))

    return unseen(one) == unseen(other)


@dataclass(frozen=True, slots=True)
class Tenure:
    """What the journal publishes when an epoch begins. holder: None after a revocation or a restore."""

    epoch: int
    holder: str | None
    granted: int
    reason: Reason
    previous: Ended
    text: str = ""


def stamp(milliseconds: int) -> str:
    """RFC 3339 with milliseconds, for people and for the journal."""
    value = _UNIX + timedelta(milliseconds=milliseconds)
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def milliseconds(text: str) -> int:
    """The inverse of stamp; BadEvent where it is none."""
    return (parse_time(text) - _UNIX) // timedelta(milliseconds=1)
