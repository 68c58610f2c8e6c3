"""Who may append, and since when: every change to the leases of one space, as a function from value to value.

The rules:

- At most one lease is live. It is live from `granted` until the clock reaches `expires`, or until it is ended.
- Every new tenure takes the next epoch, and so does a revocation, whose epoch nobody holds: whatever was sent under an
  earlier epoch is then recognisably stale. An epoch is never used twice and never goes back.
- An expiry that was once seen is stored (`observe`), so no clock can bring that lease back.
- `acquire` is refused while anybody holds the lease, the asker included: two sessions of one principal must not both
  believe that they hold it. Renewing and releasing are for the holder; a fenced lease asks for its epoch as well.
- Who waits is served in the order of asking. While somebody waits, a free lease goes to the first in line.
- A revoked holder is barred for a while, so that a stuck program does not take the lease right back.

Times are integer milliseconds of the lease clock (see authority/lease_clock.py), never of the caller.

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
from typing import TypeAlias

from shardd.core.durations import left_text
from shardd.core.refusals import Asked, NotHolder, Stale, StaleEpoch, Turn
from shardd.core.tenancy import Ended, Lease, Reason, Tenancy, Tenure, Waiter
from shardd.errors import Misuse

PERSON_TTL_MS = 15 * 60_000
PROGRAM_TTL_MS = 60_000
MAX_TTL_MS = 30 * 24 * 3_600_000
BAR_MS = 60_000
WAITER_SILENCE_MS = 5_000
"""A waiter that has not asked again for this long has gone away and loses its place."""
WAITER_FRESH_MS = 1_000
"""A waiter that asks again within this time changes nothing that would have to be stored."""


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
class OneShot:
    """A lease for one push alone: begun and released in one step, under one epoch."""

    principal: str


@dataclass(frozen=True, slots=True)
class Restored:
    """The repo came back from a backup: nothing from before holds, and epochs go on from at least `floor`."""

    floor: int


Transition: TypeAlias = Acquire | GiveUp | Renew | Release | Transfer | Grant | Revoke | OneShot | Restored


@dataclass(frozen=True, slots=True)
class Transitioned:
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


def change(tenancy: Tenancy, transition: Transition, now: int, *, label: str) -> Transitioned:
    """What becomes of `tenancy`, or Rejected. Total over every state and transition.

    label: how to call the space in messages, `repo/space`
    """
    tenancy = observe(tenancy, now)
    match transition:
        case Acquire():
            return _acquire(tenancy, transition, now, label)
        case GiveUp(ticket):
            return Transitioned(_without(tenancy, ticket))
        case Renew(principal, ttl, epoch):
            lease = _own(tenancy, principal, epoch, now, label)
            return Transitioned(replace(tenancy, lease=replace(lease, expires=now + _ttl(ttl))))
        case Release(principal, epoch):
            _own(tenancy, principal, epoch, now, label)
            return Transitioned(replace(tenancy, lease=None, ended=Ended.RELEASED))
        case Transfer(principal, to, ttl, epoch, text):
            lease = _own(tenancy, principal, epoch, now, label)
            _not_barred(tenancy, to, now, label)
            return _begin(tenancy, to, ttl, lease.fenced, Reason.TRANSFER, Ended.TRANSFERRED, now, text)
        case Grant(to, ttl, force, fenced, text):
            held = tenancy.lease
            if held is not None and not force:
                raise NotHolder(Turn(space=label, principal=to, now=now, lease=held, asked=Asked.GRANT))
            ended = tenancy.ended if held is None else Ended.REVOKED
            tenancy = replace(tenancy, bars=tuple(b for b in tenancy.bars if b[0] != to))
            return _begin(tenancy, to, ttl, fenced, Reason.GRANT, ended, now, text)
        case Revoke(bar, text):
            return _revoke(tenancy, bar, text, now)
        case OneShot(principal):
            made = _acquire(tenancy, Acquire(principal), now, label)
            return replace(made, after=replace(made.after, lease=None, ended=Ended.RELEASED))
        case Restored(floor):
            epoch = max(tenancy.epoch, floor) + 1
            return Transitioned(
                Tenancy(tenancy.space, epoch=epoch, ended=Ended.RESTORED),
                Tenure(epoch, None, now, Reason.RESTORE, Ended.RESTORED),
            )


def _acquire(tenancy: Tenancy, ask: Acquire, now: int, label: str) -> Transitioned:
    _ttl(ask.ttl)
    _not_barred(tenancy, ask.principal, now, label)
    held = tenancy.lease
    line = tenancy.waiters
    if ask.ticket is not None:
        place = next((i for i, w in enumerate(line) if w.ticket == ask.ticket), len(line))
        if place == len(line) or line[place].seen + WAITER_FRESH_MS <= now:
            line = (*line[:place], Waiter(ask.ticket, ask.principal, now), *line[place + 1 :])
        if held is not None or place > 0:
            return Transitioned(replace(tenancy, waiters=line), waiting=place)
        return _begin(_without(tenancy, ask.ticket), ask.principal, ask.ttl, ask.fenced, Reason.ACQUIRE, None, now)
    if held is not None or line:
        waiting = tuple(waiter.principal for waiter in line)
        raise NotHolder(
            Turn(space=label, principal=ask.principal, now=now, lease=held, ended=tenancy.ended, waiting=waiting)
        )
    return _begin(tenancy, ask.principal, ask.ttl, ask.fenced, Reason.ACQUIRE, None, now)


def _revoke(tenancy: Tenancy, bar: int, text: str, now: int) -> Transitioned:
    held = tenancy.lease
    if held is None:
        return Transitioned(tenancy)
    epoch = tenancy.epoch + 1
    if bar > 0:
        # Its other sessions leave the line too: they could not be served, and would only hold it up.
        bars = (*(b for b in tenancy.bars if b[0] != held.holder), (held.holder, now + bar))
        waiters = tuple(w for w in tenancy.waiters if w.principal != held.holder)
        tenancy = replace(tenancy, bars=bars, waiters=waiters)
    return Transitioned(
        replace(tenancy, epoch=epoch, lease=None, ended=Ended.REVOKED),
        Tenure(epoch, None, now, Reason.REVOKE, Ended.REVOKED, text),
    )


def _begin(
    tenancy: Tenancy, holder: str, ttl: int, fenced: bool, reason: Reason, ended: Ended | None, now: int, text: str = ""
) -> Transitioned:
    epoch = tenancy.epoch + 1
    previous = tenancy.ended if ended is None else ended
    lease = Lease(tenancy.space, holder, epoch, now, now + _ttl(ttl), fenced)
    return Transitioned(replace(tenancy, epoch=epoch, lease=lease), Tenure(epoch, holder, now, reason, previous, text))


def _own(tenancy: Tenancy, principal: str, epoch: int | None, now: int, label: str) -> Lease:
    lease = tenancy.lease
    if lease is None or lease.holder != principal:
        turn = Turn(space=label, principal=principal, now=now, lease=lease, asked=Asked.KEEP, ended=tenancy.ended)
        raise NotHolder(turn)
    if epoch is None and lease.fenced:
        raise StaleEpoch(Stale.UNNAMED_LEASE_CALL, label, lease.epoch, None)
    if epoch is not None and epoch != lease.epoch:
        raise StaleEpoch(Stale.LEASE_CALL, label, lease.epoch, epoch)
    return lease


def _without(tenancy: Tenancy, ticket: str) -> Tenancy:
    return replace(tenancy, waiters=tuple(w for w in tenancy.waiters if w.ticket != ticket))


def _not_barred(tenancy: Tenancy, principal: str, now: int, label: str) -> None:
    for name, until in tenancy.bars:
        if name == principal:
            raise NotHolder(Turn(space=label, principal=principal, now=now, lease=tenancy.lease, barred_until=until))


def _ttl(ttl: int) -> int:
    if not 1_000 <= ttl <= MAX_TTL_MS:
        raise Misuse(f"a lease lasts from 1 s to {left_text(MAX_TTL_MS)}, not {left_text(ttl)}")
    return ttl
