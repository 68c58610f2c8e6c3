"""`lease`: who may append to a space, since when, until when."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

from shardd.authority.facts import Changed, Standing
from shardd.authority.moved import POLL_SECONDS, Pause
from shardd.commands.caller import Context
from shardd.commands.grammar import Parser, Words, integer
from shardd.commands.result import Answer, Done, Facts, Steps, Table, say
from shardd.core import lease as leases
from shardd.core.canonical import Json
from shardd.core.durations import left_text, parse_duration
from shardd.core.hook_protocol import printable
from shardd.core.journal import Entry
from shardd.core.lease import BAR_MS, PERSON_TTL_MS
from shardd.core.names import Address, check_principal, check_repo
from shardd.core.outcome import Kind
from shardd.core.refusals import NotHolder, Turn
from shardd.core.roles import Access, Role
from shardd.core.tenancy import stamp
from shardd.errors import Rejected, SharddError


@dataclass(frozen=True, slots=True)
class Acquire:
    """wait: milliseconds to stand in line; ttl: milliseconds"""

    address: Address
    ttl: int
    wait: int
    fenced: bool

    counts_as: ClassVar[Kind] = Kind.LEASE

    def steps(self, context: Context) -> Steps:
        me, space = context.me(), self.address.space
        ticket = secrets.token_hex(8) if self.wait else None
        ask = leases.Acquire(me, self.ttl, self.fenced, ticket)
        began = time.monotonic()
        in_line = False
        told: object = None
        try:
            while True:
                with context.authority(self.address, Role.APPEND) as authority:
                    moved = authority.ledger.moved
                    count = moved.count(space)
                    left = began + self.wait / 1000 - time.monotonic()
                    if in_line and context.gone():
                        # Before it asks again: a lease that nobody hears of, nobody would give back.
                        raise self._refused(authority.standing(space), me)
                    changed = authority.change(space, ask)
                    in_line = changed.waiting is not None
                    if in_line and left <= 0:
                        raise self._refused(authority.standing(space), me)
                if not in_line:
                    return _changed(self.address, changed, f"{me} holds")
                if told != (told := (changed.lease and changed.lease.epoch, changed.line)):
                    context.tell(_waiting(self.address, changed))
                paused = time.monotonic()
                yield Pause(moved, space, count, min(left, POLL_SECONDS))
                context.work.waited(time.monotonic() - paused)
        except (Rejected, BrokenPipeError):
            if in_line:
                self._leave(context, ask)
            raise

    def _leave(self, context: Context, ask: leases.Acquire) -> None:
        """Leave the line, which takes no right: also whoever may wait no more must not hold up those behind him."""
        with suppress(SharddError), context.authorities.repo(self.address.repo, Access) as authority:
            authority.change(self.address.space, leases.GiveUp(ask.ticket or ""))

    def _refused(self, standing: Standing, me: str) -> Rejected:
        tenancy = standing.tenancy
        return NotHolder(
            Turn(
                space=str(self.address),
                principal=me,
                now=standing.now,
                lease=tenancy.lease,
                ended=tenancy.ended,
            )
        )


@dataclass(frozen=True, slots=True)
class Renew:
    address: Address
    ttl: int
    epoch: int | None

    counts_as: ClassVar[Kind] = Kind.LEASE

    def run(self, context: Context) -> Answer[Done]:
        with context.authority(self.address, Role.APPEND) as authority:
            ask = leases.Renew(context.me(), self.ttl, self.epoch)
            changed = authority.change(self.address.space, ask)
        return _changed(self.address, changed, f"{context.me()} holds")


@dataclass(frozen=True, slots=True)
class Release:
    address: Address
    epoch: int | None

    counts_as: ClassVar[Kind] = Kind.LEASE

    def run(self, context: Context) -> Answer[Done]:
        with context.authority(self.address, Role.APPEND) as authority:
            ask = leases.Release(context.me(), self.epoch)
            changed = authority.change(self.address.space, ask)
        return _changed(self.address, changed, f"{context.me()} released")


@dataclass(frozen=True, slots=True)
class Transfer:
    address: Address
    name: str
    ttl: int
    epoch: int | None
    reason: str

    counts_as: ClassVar[Kind] = Kind.LEASE

    def run(self, context: Context) -> Answer[Done]:
        with context.authority(self.address, Role.APPEND) as authority:
            ask = leases.Transfer(context.me(), self.name, self.ttl, self.epoch, _signed(context, self.reason))
            changed = authority.change(self.address.space, ask)
        return _changed(self.address, changed, f"{self.name} holds")


@dataclass(frozen=True, slots=True)
class GrantLease:
    address: Address
    name: str
    ttl: int
    reason: str
    force: bool
    fenced: bool

    counts_as: ClassVar[Kind] = Kind.LEASE

    def run(self, context: Context) -> Answer[Done]:
        with context.authority(self.address, Role.ADMIN) as authority:
            ask = leases.Grant(self.name, self.ttl, self.force, self.fenced, _signed(context, self.reason))
            changed = authority.change(self.address.space, ask)
        return _changed(self.address, changed, f"{self.name} holds")


@dataclass(frozen=True, slots=True)
class RevokeLease:
    address: Address
    reason: str
    bar: int

    counts_as: ClassVar[Kind] = Kind.LEASE

    def run(self, context: Context) -> Answer[Done]:
        with context.authority(self.address, Role.ADMIN) as authority:
            ask = leases.Revoke(self.bar, _signed(context, self.reason))
            changed = authority.change(self.address.space, ask)
        return _changed(self.address, changed, "nobody holds")


Held: TypeAlias = tuple[Address, Standing]
"""A space, and how its lease stands."""


@dataclass(frozen=True, slots=True)
class Show:
    address: Address

    def run(self, context: Context) -> Answer[Held]:
        with context.authority(self.address, Role.READ) as authority:
            return Answer([(self.address, authority.standing(self.address.space))], _LEASE)


@dataclass(frozen=True, slots=True)
class ListLeases:
    repo: str | None

    def run(self, context: Context) -> Answer[Held]:
        return Answer(self._live(context), _LEASES)

    def _live(self, context: Context) -> Iterator[Held]:
        for repo in [self.repo] if self.repo else context.readable():
            with context.authority(repo) as authority:
                for space in authority.spaces():
                    standing = authority.standing(space)
                    if standing.tenancy.lease is not None:
                        yield Address(repo, space), standing


@dataclass(frozen=True, slots=True)
class History:
    address: Address

    def run(self, context: Context) -> Answer[Entry]:
        return Answer(self._entries(context), replace(_TENURES, empty=f"{self.address} was never leased"))

    def _entries(self, context: Context) -> Iterator[Entry]:
        with context.authority(self.address, Role.READ) as authority:
            yield from authority.history(self.address.space)


def _lease_facts(held: Held) -> list[tuple[str, str]]:
    address, standing = held
    lease = standing.tenancy.lease
    facts = [("space", str(address)), ("holder", lease.holder if lease else "nobody")]
    facts.append(("epoch", str(standing.tenancy.epoch)))
    if lease:
        facts += [
            ("granted", stamp(lease.granted)),
            ("expires", f"{stamp(lease.expires)} (in {left_text(lease.left(standing.now))})"),
            ("fenced", "yes" if lease.fenced else "no"),
        ]
    if standing.tenancy.waiters:
        facts.append(("waiting", ", ".join(w.principal for w in standing.tenancy.waiters)))
    if standing.head:
        facts.append(("head", f"{standing.head.seq} {standing.head.oid}"))
    return facts


def _lease_row(held: Held) -> list[str]:
    address, standing = held
    lease = standing.tenancy.lease
    assert lease is not None
    return [str(address), lease.holder, str(lease.epoch), left_text(lease.left(standing.now))]


def _lease_value(held: Held) -> Json:
    address, standing = held
    lease = standing.tenancy.lease
    return {
        "space": str(address),
        "holder": lease.holder if lease else None,
        "epoch": standing.tenancy.epoch,
        "granted": stamp(lease.granted) if lease else None,
        "expires": stamp(lease.expires) if lease else None,
        "left_ms": lease.left(standing.now) if lease else None,
        "fenced": lease.fenced if lease else None,
        "waiting": [w.principal for w in standing.tenancy.waiters],
        "head": {"seq": standing.head.seq, "oid": standing.head.oid} if standing.head else None,
    }


def _tenure_row(entry: Entry) -> list[str]:
    tenure, head = entry.tenure, entry.resumed_at
    return [
        str(tenure.epoch),
        tenure.holder or "-",
        stamp(tenure.granted),
        f"{head.seq} {head.oid[:12]}",
        str(tenure.previous),
        str(tenure.reason),
        tenure.text,
    ]


def _tenure_value(entry: Entry) -> Json:
    tenure, head = entry.tenure, entry.resumed_at
    return {
        "epoch": tenure.epoch,
        "holder": tenure.holder,
        "granted": stamp(tenure.granted),
        "resumed_at": {"seq": head.seq, "oid": head.oid},
        "previous": str(tenure.previous),
        "reason": str(tenure.reason),
        "text": tenure.text,
    }


_LEASE = Facts(_lease_facts, _lease_value)
_LEASES = Table(["SPACE", "HOLDER", "EPOCH", "LEFT"], _lease_row, _lease_value, empty="no live leases")
_TENURES = Table(
    ["EPOCH", "HOLDER", "SINCE", "RESUMED AT", "BEFORE", "BY", "WHY"], _tenure_row, _tenure_value, empty=""
)


def _signed(context: Context, reason: str) -> str:
    return f"by {context.principal or 'the operator'}: {reason}" if reason else ""


def _waiting(address: Address, changed: Changed) -> str:
    """Who is waited for, and who comes before."""
    lease, line = changed.lease, changed.line
    holder = f"{lease.holder} holds {address} ({left_text(lease.left(changed.now))} left)" if lease else ""
    before = f"{len(line)} before you: {', '.join(line)}" if line else "nobody is before you"
    return printable(f"waiting: {holder or f'nobody holds {address}'}, {before}")


def _changed(address: Address, changed: Changed, what: str) -> Answer[Done]:
    lease = changed.lease
    left = f", for {left_text(lease.left(changed.now))}" if lease and lease.epoch == changed.epoch else ""
    line = f"{what} {address} (epoch {changed.epoch}{left}), head {changed.head.seq} {changed.head.oid[:12]}"
    return say(
        line,
        {
            "space": str(address),
            "holder": lease.holder if lease else None,
            "epoch": changed.epoch,
            "expires": stamp(lease.expires) if lease else None,
            "head": {"seq": changed.head.seq, "oid": changed.head.oid},
        },
    )


def add(words: Words) -> None:
    lease = words.group("lease", "who may append to a space")

    def on_space(name: str, make: type, help: str) -> Parser:
        parser = lease.command(name, make, help)
        parser.add_space()
        return parser

    def ttl(parser: Parser) -> None:
        parser.add_argument("--ttl", metavar="TIME", type=parse_duration, default=PERSON_TTL_MS, help="default: 15m")

    def epoch(parser: Parser) -> None:
        parser.add_argument("--epoch", metavar="N", type=integer, help="the epoch you hold; a fenced lease asks for it")

    def fenced(parser: Parser) -> None:
        parser.add_argument("--fenced", action="store_true", help="take only pushes that name the epoch")

    def reason(parser: Parser) -> None:
        parser.add_prose("--reason", help="published in the lease's history")

    made = on_space("acquire", Acquire, "take the lease, if it is free")
    ttl(made)
    made.add_argument("--wait", metavar="TIME", type=parse_duration, default=0, help="stand in line for so long")
    fenced(made)
    made = on_space("renew", Renew, "keep the lease for longer")
    ttl(made)
    epoch(made)
    epoch(on_space("release", Release, "give the lease back"))
    made = on_space("transfer", Transfer, "hand your lease over, without a gap")
    made.add_argument("name", metavar="NAME", type=check_principal)
    ttl(made)
    epoch(made)
    reason(made)
    made = on_space("grant", GrantLease, "give somebody the lease, as an admin")
    made.add_argument("name", metavar="NAME", type=check_principal)
    ttl(made)
    reason(made)
    made.add_argument("--force", action="store_true", help="also over a live lease")
    fenced(made)
    made = on_space("revoke", RevokeLease, "end a lease, as an admin")
    reason(made)
    made.add_argument(
        "--bar", metavar="TIME", type=parse_duration, default=BAR_MS, help="keep its holder out; default: 1m"
    )
    on_space("show", Show, "show the lease of a space")
    on_space("history", History, "show every tenure of a space")
    made = lease.command("list", ListLeases, "list live leases")
    made.add_argument("repo", metavar="REPO", type=check_repo, nargs="?")
