"""Ledger: where an authority keeps what it decides. All storage, and no rule; the rules are in authority.py.

A ledger promises:

- What is asked of it without a transaction takes no lock, writes nothing and may be a moment old.
- A transaction holds its spaces against every other one, in this process and in others, until its block ends; what it
  says of them is exact.
- `commit` is all or none, and on disk when it returns. What a crash leaves half done, the next transaction on the same
  space finishes or drops before its block begins: which of the two follows from what was written, never from a rule.
- `moved` is set after each commit, of each space in which anything but a quiet effect came about. It is a hint:
  whoever waits for it also looks again by himself now and then.

A new ledger is one class with these methods, and one line in tests/authorities.py: the contract suite does the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from shardd.authority.moved import Moved
from shardd.core.event import Event, Head
from shardd.core.import_chain import Placed
from shardd.core.limits import Limits
from shardd.core.notes import NotesFacts
from shardd.core.part import Part
from shardd.core.push_facts import Candidate, Relation
from shardd.core.refs import Change, Ref
from shardd.core.taken_types import Takes
from shardd.core.tenancy import Tenancy

Commits: TypeAlias = Iterator[tuple[str, bytes]]
"""(oid, bytes), oldest first."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is remembered of one space, as of `now` by its clock, in milliseconds: that never goes back.

    frozen: the operator's message, if it is read-only; journal: oid of its newest published entry
    takes: the event types that it takes, None for any
    lost: the epoch of that entry (0: there is none), where what is remembered and what is published are not of one
    piece, as after the loss of either; else None
    """

    tenancy: Tenancy
    now: int
    frozen: str | None = None
    journal: str | None = None
    lost: int | None = None
    takes: Takes | None = None


class Stage(Protocol):
    """A whole log on its way in: written where nobody sees it, shown by the commit that names it, else gone."""

    def __enter__(self) -> Stage: ...

    def __exit__(self, *_: object) -> None: ...

    def add(self, commit: Placed) -> None: ...

    def ready(self, head: Head, ids: Iterable[tuple[str, int, str]]) -> None:
        """All is there: what takes long is done now, before there is a lock. ids: each with the seq and oid it is at"""
        ...


@dataclass(frozen=True, slots=True)
class Growth:
    """How a log moves from `old` (None: it begins) to `new`.

    genesis: where it begins, and with which bytes; events: what is appended, oldest first
    stage: in place of both, a whole log that was written before
    """

    old: Head | None
    new: Head
    genesis: Candidate | None = None
    events: Sequence[Candidate] = ()
    stage: Stage | None = None


@dataclass(frozen=True, slots=True)
class Frozen:
    """message: what a pusher is shown; None lifts it"""

    message: str | None


@dataclass(frozen=True, slots=True)
class Taking:
    """takes: the event types that are taken from now on, None for any"""

    takes: Takes | None


@dataclass(frozen=True, slots=True)
class Effect:
    """What changes in one space; None where nothing does. entry: a commit for its journal, after the newest

    quiet: nobody waits for this, such as that who stands in line is still there
    """

    space: str
    tenancy: Tenancy | None = None
    entry: bytes | None = None
    growth: Growth | None = None
    frozen: Frozen | None = None
    taking: Taking | None = None
    quiet: bool = False


class Incoming(Protocol):
    """What a push brings, seen together with what the ledger has already; git's quarantine is one source of it.

    Unavailable where something that was pushed is gone
    """

    def is_commit(self, oid: str) -> bool: ...

    def descends(self, new: str, old: str) -> bool:
        """Whether the commit `new` is `old` or comes after it."""
        ...

    def relate(self, head: Head, new: str, limits: Limits) -> tuple[Relation, Sequence[Candidate]]:
        """How `new` stands to the head, and the commits between, oldest first, if it extends it.

        TooLarge where one of them, or what else is read on the way, is over the limit
        """
        ...

    def notes(self, new: str, old: str | None, limits: Limits, *, alone: bool) -> NotesFacts:
        """What a ref of notes would hold if it moved from `old` to `new`. alone: nothing else is to need the objects"""
        ...


@dataclass(frozen=True, slots=True)
class Effects:
    """What one transaction changes, all or none.

    refs: those that are no log; incoming: the push that brings what they will name, and the events
    """

    spaces: Sequence[Effect] = ()
    refs: Sequence[Change] = ()
    incoming: Incoming | None = None


class Transaction(Protocol):
    """Locked spaces."""

    def kept(self, space: str) -> Kept: ...

    def head(self, space: str) -> Head | None:
        """Where the space stands; None if it does not exist."""
        ...

    def find(self, space: str, head: Head, ids: Sequence[str]) -> Mapping[str, Head]:
        """Those of `ids` that the log has up to its head, and where."""
        ...

    def raw(self, space: str, at: Head) -> bytes:
        """The bytes of a commit of the log."""
        ...

    def ref(self, name: str) -> str | None: ...

    def commit(self, effects: Effects) -> None: ...


class Ledger(Protocol):
    """Fit for several threads, or made anew for each."""

    @property
    def moved(self) -> Moved: ...

    def head(self, space: str) -> Head | None: ...

    def kept(self, space: str) -> Kept: ...

    def events(self, space: str, part: Part) -> Iterator[Event]:
        """That part of the events, up to the head at the time of the call.

        An unknown space has none; Corrupt where one does not read. Every read of a log comes through here: a ledger
        that is elsewhere is caught up first.
        """
        ...

    def spaces(self) -> Sequence[str]:
        """All that exist, by name."""
        ...

    def leased(self) -> Sequence[str]:
        """Those that anything is remembered of, by name."""
        ...

    def find(self, space: str, head: Head, ids: Sequence[str]) -> Mapping[str, Head]:
        """Some of `ids` that the log has, and where: for a first look at a push."""
        ...

    def ref(self, name: str) -> str | None:
        """What a ref names, None if it does not exist. One that points at another reads as `ref: TARGET`."""
        ...

    def takes(self, refs: Sequence[Ref]) -> Collection[Ref]:
        """Those of these refs that a push may put beside the logs: a ledger need not keep any."""
        ...

    def journal(self, space: str) -> Commits:
        """What is published of the space's leases."""
        ...

    def stage(self, space: str) -> Stage: ...

    def transaction(
        self, spaces: Iterable[str], *, also: Iterable[str] = (), creating: bool = False
    ) -> AbstractContextManager[Transaction]:
        """also: further locks to take, for refs that belong to no space; creating: a space may begin meanwhile"""
        ...
