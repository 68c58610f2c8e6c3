"""Authorities to test, and the events to feed them: alike for whatever keeps the leases."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from shardd.core.append import encode_batch
from shardd.core.event import Draft, Head
from shardd.core.journal import Entry
from shardd.core.lease import Transition
from shardd.core.limits import Limits
from shardd.core.policy import Candidate, Decision
from shardd.core.roles import Access, Grant, Rights
from shardd.storage.authority import Changed, EmbeddedAuthority
from shardd.storage.clock import TimeSource
from shardd.storage.memory_authority import MemoryAuthority
from shardd.storage.repository import Repository, create_bare

PEOPLE = ("alice", "bob", "carol", "dave")
RIGHTS = Access(frozenset({Grant(name, "append", "garden") for name in PEOPLE} | {Grant("mallory", "read", "garden")}))


class Authority(Protocol):
    """What every implementation does, each call atomic; held to it by tests/contract/test_authority.py."""

    def change(self, space: str, transition: Transition) -> Changed:
        """Apply a lease transition; Rejected if it may not be, or if nobody created the space."""
        ...

    def append(
        self, space: str, expected: Head, commits: Sequence[Candidate], *, principal: str, epoch: int | None
    ) -> Decision:
        """Move the head from `expected` over `commits`, oldest first, if the rules of a push accept it of `principal`.

        Rejected if nobody created the space; Misuse without commits
        """
        ...

    def head(self, space: str) -> Head | None:
        """Where the space stands; None if it does not exist."""
        ...


class Kept(Authority, Protocol):
    """What both implementations offer beyond the interface."""

    def create(self, space: str) -> Head: ...

    def history(self, space: str) -> Iterator[Entry]: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """One implementation. `opened` gives another handle on the same leases, as another thread or process would have."""

    name: str
    opened: Callable[[], Kept]


def make_repo(path: Path) -> Path:
    assert create_bare(path, hooks="shardd/hooks", limits=Limits())
    return path


@contextmanager
def embedded(path: Path, *, source: TimeSource | None = None, rights: Rights = RIGHTS) -> Iterator[EmbeddedAuthority]:
    with Repository(path) as repository:
        yield EmbeddedAuthority(repository, label="garden", rights=rights, source=source)


def in_memory(source: TimeSource | None = None) -> MemoryAuthority:
    return MemoryAuthority(label="garden", rights=RIGHTS, source=source)


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
