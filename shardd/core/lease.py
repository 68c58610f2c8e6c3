"""Who may append, and since when: the leases of one space as a value, and every change to them as a function.

The rules:

- At most one lease is live. It is live from `granted` until the clock reaches `expires`, or until it is ended.
- Every new tenure takes the next epoch, and so does a revocation, whose epoch nobody holds: whatever was sent under an
  earlier epoch is then recognisably stale. An epoch is never used twice and never goes back.
- An expiry that was once seen is stored (`observe`), so no clock can bring that lease back.
- `acquire` is refused while anybody holds the lease, the asker included: two sessions of one principal must not both
  believe that they hold it. Renewing and releasing are for the holder; a fenced lease asks for its epoch as well.
- Who waits is served in the order of asking. While somebody waits, a free lease goes to the first in line.
- A revoked holder is barred for a while, so that a stuck program does not take the lease right back.

Times are integer milliseconds of the lease clock (see storage/clock.py), never of the caller.

    now            free                held by me           held by another
    Acquire        next epoch          not-holder           not-holder (or wait in line)
    Renew          not-holder          same epoch, anew     not-holder
    Release        not-holder          ended                not-holder
    Transfer       not-holder          next epoch for `to`  not-holder
    Grant          next epoch          next epoch if force  next epoch if force
    Revoke         (nothing to do)     next epoch, nobody   next epoch, nobody
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from shardd.errors import Misuse, Rejected

PERSON_TTL_MS = 15 * 60_000
PROGRAM_TTL_MS = 60_000
MAX_TTL_MS = 30 * 24 * 3_600_000
BAR_MS = 60_000
WAITER_SILENCE_MS = 5_000
"""A waiter that has not asked again for this long has gone away and loses its place."""
WAITER_FRESH_MS = 1_000
"""A waiter that asks again within this time changes nothing that would have to be stored."""


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


@dataclass(frozen=True, slots=True)
class Acquire:
    """ticket: set by whoever waits, the same at each attempt; it keeps the place in line."""

    principal: str
    ttl: int = PERSON_TTL_MS
    fenced: bool = False
    ticket: str | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Leave the line."""

    ticket: str


@dataclass(frozen=True, slots=True)
class Renew:
    principal: str
    ttl: int = PERSON_TTL_MS
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Release:
    principal: str
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Transfer:
    principal: str
    to: str
    ttl: int = PERSON_TTL_MS
    epoch: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """An operator's word. force: also over a live lease, which is revoked thereby."""

    to: str
    ttl: int = PERSON_TTL_MS
    force: bool = False
    fenced: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class Revoke:
    bar: int = BAR_MS
    text: str = ""


@dataclass(frozen=True, slots=True)
class Momentary:
    """A lease for one push alone: begun and released in one step, under one epoch."""

    principal: str


@dataclass(frozen=True, slots=True)
class Restored:
    """The repo came back from a backup: nothing from before holds, and epochs go on from at least `floor`."""

    floor: int


Transition: TypeAlias = Acquire | GiveUp | Renew | Release | Transfer | Grant | Revoke | Momentary | Restored


@dataclass(frozen=True, slots=True)
class Tenure:
    """What the journal publishes when an epoch begins. holder: None after a revocation or a restore."""

    epoch: int
    holder: str | None
    granted: int
    reason: Reason
    previous: Ended
    text: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """after: what to remember; tenure: set if an epoch began; waiting: how many stand before the asker, if it waits."""

    after: Tenancy
    tenure: Tenure | None = None
    waiting: int | None = None


def observe(tenancy: Tenancy, now: int) -> Tenancy:
    """The tenancy as it stands at `now`: an expired lease ended, silent waiters and served bars dropped."""
    lease = tenancy.lease
    if lease is not None and lease.expires <= now:
        tenancy = replace(tenancy, lease=None, ended=Ended.EXPIRED)
    waiters = tuple(w for w in tenancy.waiters if w.seen + WAITER_SILENCE_MS > now)
    bars = tuple(b for b in tenancy.bars if b[1] > now)
    if len(waiters) != len(tenancy.waiters) or len(bars) != len(tenancy.bars):
        tenancy = replace(tenancy, waiters=waiters, bars=bars)
    return tenancy


def change(tenancy: Tenancy, transition: Transition, now: int, *, label: str) -> Outcome:
    """What becomes of `tenancy`, or Rejected. Total over every state and transition.

    label: how to call the space in messages, `repo/space`
    """
    tenancy = observe(tenancy, now)
    match transition:
        case Acquire():
            return _acquire(tenancy, transition, now, label)
        case GiveUp(ticket):
            return Outcome(_without(tenancy, ticket))
        case Renew(principal, ttl, epoch):
            lease = _own(tenancy, principal, epoch, label)
            return Outcome(replace(tenancy, lease=replace(lease, expires=now + _ttl(ttl))))
        case Release(principal, epoch):
            _own(tenancy, principal, epoch, label)
            return Outcome(replace(tenancy, lease=None, ended=Ended.RELEASED))
        case Transfer(principal, to, ttl, epoch, text):
            lease = _own(tenancy, principal, epoch, label)
            _not_barred(tenancy, to, now, label)
            return _begin(tenancy, to, ttl, lease.fenced, Reason.TRANSFER, Ended.TRANSFERRED, now, text)
        case Grant(to, ttl, force, fenced, text):
            held = tenancy.lease
            if held is not None and not force:
                raise Rejected(
                    "not-holder",
                    f"{held.holder} holds {label} (epoch {held.epoch}, {left_text(held.left(now))} left)",
                    f"wait, or run `shardd lease grant {label} {to} --force` to take it away",
                )
            ended = tenancy.ended if held is None else Ended.REVOKED
            tenancy = replace(tenancy, bars=tuple(b for b in tenancy.bars if b[0] != to))
            return _begin(tenancy, to, ttl, fenced, Reason.GRANT, ended, now, text)
        case Revoke(bar, text):
            return _revoke(tenancy, bar, text, now)
        case Momentary(principal):
            outcome = _acquire(tenancy, Acquire(principal), now, label)
            return replace(outcome, after=replace(outcome.after, lease=None, ended=Ended.RELEASED))
        case Restored(floor):
            epoch = max(tenancy.epoch, floor) + 1
            return Outcome(
                Tenancy(tenancy.space, epoch=epoch, ended=Ended.RESTORED),
                Tenure(epoch, None, now, Reason.RESTORE, Ended.RESTORED),
            )


def left_text(milliseconds: int) -> str:
    """`12 min`, `45 s`, `3 h`: what is left, as people say it."""
    seconds = -(-milliseconds // 1000)
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 2 * 3600:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 2 * 86400 else f"{seconds // 86400} d"


def stamp(milliseconds: int) -> str:
    """RFC 3339 with milliseconds, for people and for the journal."""
    value = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def not_holder(
    label: str, principal: str, lease: Lease | None, now: int, *, ended: Ended, may_append: bool
) -> Rejected:
    """Why `principal` may not append just now: the one wording for pushes and lease calls."""
    if lease is None:
        how = "" if ended is Ended.FIRST else f" (the last one {_ENDINGS[ended]})"
        message = f"nobody holds the lease of {label}{how}"
        remedy = f"run `shardd lease acquire {label}`, then try again"
    else:
        left = lease.left(now)
        message = f"{lease.holder} holds the lease of {label} (epoch {lease.epoch}, {left_text(left)} left)"
        remedy = f"ask {lease.holder} to release it, or wait: `shardd lease acquire {label} --wait {-(-left // 1000)}`"
    if not may_append:
        remedy = (
            f"{principal} needs the role append first: ask an admin for `shardd role grant {principal} append {label}`"
        )
    return Rejected("not-holder", message, remedy)


_ENDINGS = {
    Ended.RELEASED: "was released",
    Ended.EXPIRED: "expired",
    Ended.TRANSFERRED: "was transferred",
    Ended.REVOKED: "was revoked",
    Ended.RESTORED: "ended when the repo was restored",
}


def _acquire(tenancy: Tenancy, ask: Acquire, now: int, label: str) -> Outcome:
    _ttl(ask.ttl)
    _not_barred(tenancy, ask.principal, now, label)
    held = tenancy.lease
    line = tenancy.waiters
    if ask.ticket is not None:
        place = next((i for i, w in enumerate(line) if w.ticket == ask.ticket), len(line))
        if place == len(line) or line[place].seen + WAITER_FRESH_MS <= now:
            line = (*line[:place], Waiter(ask.ticket, ask.principal, now), *line[place + 1 :])
        if held is not None or place > 0:
            return Outcome(replace(tenancy, waiters=line), waiting=place)
        return _begin(_without(tenancy, ask.ticket), ask.principal, ask.ttl, ask.fenced, Reason.ACQUIRE, None, now)
    if held is not None and held.holder == ask.principal:
        raise Rejected(
            "not-holder",
            f"{ask.principal} already holds {label} in another session (epoch {held.epoch}, "
            f"{left_text(held.left(now))} left)",
            f"run `shardd lease renew {label}` to keep it, or `shardd lease release {label}` first",
        )
    if held is not None:
        raise not_holder(label, ask.principal, held, now, ended=tenancy.ended, may_append=True)
    if line:
        raise Rejected(
            "not-holder",
            f"{label} is free, but {line[0].principal} waits for it and comes first",
            f"run `shardd lease acquire {label} --wait 60` to stand in line",
        )
    return _begin(tenancy, ask.principal, ask.ttl, ask.fenced, Reason.ACQUIRE, None, now)


def _revoke(tenancy: Tenancy, bar: int, text: str, now: int) -> Outcome:
    held = tenancy.lease
    if held is None:
        return Outcome(tenancy)
    epoch = tenancy.epoch + 1
    if bar > 0:
        # Its other sessions leave the line too: they could not be served, and would only hold it up.
        bars = (*(b for b in tenancy.bars if b[0] != held.holder), (held.holder, now + bar))
        waiters = tuple(w for w in tenancy.waiters if w.principal != held.holder)
        tenancy = replace(tenancy, bars=bars, waiters=waiters)
    return Outcome(
        replace(tenancy, epoch=epoch, lease=None, ended=Ended.REVOKED),
        Tenure(epoch, None, now, Reason.REVOKE, Ended.REVOKED, text),
    )


def _begin(
    tenancy: Tenancy, holder: str, ttl: int, fenced: bool, reason: Reason, ended: Ended | None, now: int, text: str = ""
) -> Outcome:
    epoch = tenancy.epoch + 1
    previous = tenancy.ended if ended is None else ended
    lease = Lease(tenancy.space, holder, epoch, now, now + _ttl(ttl), fenced)
    return Outcome(replace(tenancy, epoch=epoch, lease=lease), Tenure(epoch, holder, now, reason, previous, text))


def _own(tenancy: Tenancy, principal: str, epoch: int | None, label: str) -> Lease:
    lease = tenancy.lease
    if lease is None:
        how = "" if tenancy.ended is Ended.FIRST else f": the last one {_ENDINGS[tenancy.ended]}"
        raise Rejected("not-holder", f"nobody holds {label}{how}", f"run `shardd lease acquire {label}`")
    if lease.holder != principal:
        raise Rejected(
            "not-holder",
            f"{lease.holder} holds {label} (epoch {lease.epoch}), not {principal}",
            f"ask {lease.holder}, or an admin: `shardd lease revoke {label}`",
        )
    if epoch is None and lease.fenced:
        raise Rejected(
            "stale-epoch", f"the lease of {label} is fenced: name its epoch", "run it again with `--epoch N`"
        )
    if epoch is not None and epoch != lease.epoch:
        raise Rejected(
            "stale-epoch", f"the epoch of {label} is {lease.epoch}, not {epoch}", f"see `shardd lease show {label}`"
        )
    return lease


def _without(tenancy: Tenancy, ticket: str) -> Tenancy:
    return replace(tenancy, waiters=tuple(w for w in tenancy.waiters if w.ticket != ticket))


def _not_barred(tenancy: Tenancy, principal: str, now: int, label: str) -> None:
    for name, until in tenancy.bars:
        if name == principal:
            raise Rejected(
                "not-holder",
                f"the lease of {label} was revoked from {principal}, who may not hold it for {left_text(until - now)}",
                f"wait, or ask an admin for `shardd lease grant {label} {principal}`",
            )


def _ttl(ttl: int) -> int:
    if not 1_000 <= ttl <= MAX_TTL_MS:
        raise Misuse(f"a lease lasts from 1 s to {MAX_TTL_MS // 86_400_000} days, not {ttl / 1000:g} s")
    return ttl
