"""Authorities to test, and the events to feed them: alike for whatever keeps the leases."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from shardd.authority.authorities import EmbeddedAuthority, embedded_authority
from shardd.authority.authority import Authority
from shardd.authority.embedded_ledger import EmbeddedLedger
from shardd.authority.facts import Pusher, parse_options
from shardd.authority.lease_clock import TimeSource
from shardd.authority.ledger import Incoming, Ledger
from shardd.authority.memory_ledger import MemoryLedger
from shardd.core.append import encode_batch
from shardd.core.event import Draft, Head
from shardd.core.limits import Limits
from shardd.core.policy import Decision
from shardd.core.push_facts import Candidate
from shardd.core.refs import Change
from shardd.core.roles import Access, Grant, Rights
from shardd.git.kept_packs import KeptPacks
from shardd.git.pushed_objects import PushedObjects
from shardd.git.repository import Repository, create_bare

PEOPLE = ("alice", "bob", "carol", "dave")
RIGHTS = Access(frozenset({Grant(name, "append", "garden") for name in PEOPLE} | {Grant("mallory", "read", "garden")}))


Kept: TypeAlias = Authority[Ledger]


@dataclass(frozen=True, slots=True)
class Backend:
    """One ledger. `handle` gives another authority over it, as another thread or process would have."""

    name: str
    handle: Callable[[Rights], Kept]

    def opened(self, rights: Rights = RIGHTS) -> Kept:
        return self.handle(rights)


LEDGERS = ("memory", "embedded")
"""All that the contract suite runs over."""


def backend_of(name: str, folder: Path, source: TimeSource, stack: ExitStack) -> Backend:
    """The ledger of that name. stack: closes what is opened"""
    if name == "memory":
        ledger = MemoryLedger(source=source)
        return Backend(name, lambda rights: Authority(ledger, label="garden", rights=lambda: rights))
    path = make_repo(folder / "garden.git")
    return Backend(name, lambda rights: stack.enter_context(embedded(path, source=source, rights=rights)))


def make_repo(path: Path) -> Path:
    assert create_bare(path, hooks="shardd/hooks", limits=Limits())
    return path


@contextmanager
def embedded(path: Path, *, source: TimeSource | None = None, rights: Rights = RIGHTS) -> Iterator[EmbeddedAuthority]:
    with Repository(path) as repository:
        yield embedded_authority(repository, label="garden", rights=lambda: rights, source=source)


_serial = iter(range(10**9))


def drafts(actor: str, count: int = 1) -> list[Draft]:
    when = datetime(2026, 6, 15, 10, tzinfo=UTC)
    return [Draft(type="page.bound", actor=actor, id=f"{actor}-{next(_serial)}", time=when) for _ in range(count)]


def commits(
    head: Head, actor: str, *, epoch: int | None = None, count: int = 1, events: Sequence[Draft] | None = None
) -> list[Candidate]:
    """Events of `actor` chained onto `head`, as a pusher would bring them."""
    batch = encode_batch(events or drafts(actor, count), head, epoch=epoch)
    return [Candidate(oid, raw) for oid, raw in batch]


def bring(authority: Kept, brought: Sequence[Candidate]) -> Incoming:
    """A push of these commits; in git as it leaves them to proc-receive: there, and no ref names them yet."""
    ledger = authority.ledger
    if isinstance(ledger, MemoryLedger):
        return ledger.incoming(brought)
    assert isinstance(ledger, EmbeddedLedger)
    with KeptPacks(ledger.repository.path, ["@pushed"]) as kept:
        kept.write(each.raw for each in brought)
    return PushedObjects(ledger.repository)


def push(
    authority: Kept, who: str, moves: Sequence[Change], brought: Sequence[Candidate] = (), *words: str
) -> Decision:
    """`git push -o WORD`."""
    return authority.push(moves, parse_options(words), lambda: Pusher(who), bring(authority, brought))


def loosen(path: Path) -> Path:
    """Unpack all objects of a bare repo, for tests that damage one of them; its path."""
    packs = list((path / "objects" / "pack").glob("pack-*.pack"))
    for pack in packs:
        for part in pack.parent.glob(f"{pack.stem}.*"):
            part.rename(path / part.name)
        with (path / pack.name).open("rb") as file:
            subprocess.run(["git", "-C", str(path), "unpack-objects", "-q"], stdin=file, check=True)
        for part in path.glob(f"{pack.stem}.*"):
            part.unlink()
    return path
