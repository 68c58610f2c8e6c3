"""DecisionLog: the one interface to a log, whatever keeps it. tests/contract/test_decision_log.py is its contract.

Its methods raise, each a SharddError:

    NotHolder    it is another's turn, or nobody's: carries the lease (code `not-holder`)
    StaleEpoch   the epoch is over (`stale-epoch`)
    HeadMoved    the log stands elsewhere than `expected`: carries the head (`non-fast-forward`)
    BadEvent     the event format cannot hold it, or the id is taken with another content: names the field
    Misuse       no name of a space, a principal or a type
    Rejected     any other clear no, by its code: `not-permitted`, `no-such-space`, `frozen`, `too-large` …
    Unavailable  no answer could be had, and it is unknown whether anything was appended: carries the ids, so that the
                 same call with them is safe
    Corrupt      what is stored breaks a rule
"""

from __future__ import annotations

import os
import time as _time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from shardd.core.append import Expected
from shardd.core.event import Data, Event, Head
from shardd.core.event import Draft as Complete
from shardd.core.ids import uuid7


class ReadableLog(Protocol):
    """What reading a log takes: every DecisionLog has it, and the authority of a repo (authority/authority.py)."""

    def events(
        self,
        space: str,
        after: int | None = None,
        *,
        until: int | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Event]:
        """The events with seq greater than `after` (None: all), in order, up to the head at the time of the call.

        until: none with a higher seq; limit: at most so many; reverse: the newest first. What that costs follows what
        is returned, and not how much is before or behind it (in a clone: not before it).
        An unknown space has none. Raises Misuse, Unavailable, Corrupt, the last two while it is read as well.
        """
        ...

    def head(self, space: str) -> Head | None:
        """Where the space stands now; None if it does not exist. An empty space stands at its genesis.

        Raises Misuse, Unavailable, Corrupt.
        """
        ...


class DecisionLog(ReadableLog, Protocol):
    """Totally ordered events per space. Every implementation returns the decoded canonical form of an event."""

    def append(
        self,
        space: str,
        type: str,
        data: Data | None = None,
        *,
        subject: str | None = None,
        actor: str | None = None,
        id: str | None = None,
        time: datetime | None = None,
        expected: Expected = None,
    ) -> Event:
        """Append one event and return it as it stands in the log, durable and visible to every later reader.

        id: the idempotency key; an id that the space has, with the same content, is answered with the original event
        expected: the head the caller has seen, or "absent" where it saw no space
        Raises whatever is named above; nothing was appended unless it is Unavailable.
        """
        ...

    def append_many(self, space: str, events: Iterable[Complete], *, expected: Expected = None) -> list[Event]:
        """Append all of them, contiguous and in order, or none; raises what `append` does."""
        ...


Clock = Callable[[], datetime]
"""Wall-clock time in UTC, for the `Time` of events: it orders nothing."""

Ids = Callable[[], str]


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    return uuid7(_time.time_ns() // 1_000_000, os.urandom(10))


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft(Complete):
    """An event for `append_many`, like `Draft(type="page.bound", data={"page": "Home"})`.

    What is left out is filled in as `append` does: id and time now, so that the same draft may be appended again after
    an Unavailable; actor, whoever the log appends as, when it is appended.
    Raises BadEvent, naming the field, if the event format could not hold it.
    """

    actor: str = ""
    id: str = field(default_factory=lambda: new_id())
    time: datetime = field(default_factory=lambda: utc_now())

    def __post_init__(self) -> None:
        complete = self if self.actor else replace(self, actor=_ANYBODY)
        Complete.__post_init__(complete)


_ANYBODY = "somebody"


def draft(
    type: str,
    data: Data | None,
    *,
    subject: str | None,
    actor: str,
    id: str | None,
    time: datetime | None,
    now: Clock = utc_now,
    ids: Ids = new_id,
) -> Complete:
    """A Draft with what the caller left open filled in."""
    return Complete(
        type=type,
        data={} if data is None else data,
        subject=subject,
        actor=actor,
        id=ids() if id is None else id,
        time=now() if time is None else time.astimezone(UTC),
    )


class DraftingLog(DecisionLog, ABC):
    """What every DecisionLog does alike: one event is drafted, and appended as a batch of one."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        self._clock = clock
        self._ids = ids

    def _whole(self, events: Iterable[Complete]) -> list[Complete]:
        """The drafts of a batch, each with an actor."""
        return [each if each.actor else replace(each, actor=self._me()) for each in events]

    @abstractmethod
    def append_many(self, space: str, events: Iterable[Complete], *, expected: Expected = None) -> list[Event]: ...

    @abstractmethod
    def _me(self) -> str:
        """Who decides, where the caller does not say."""

    def append(
        self,
        space: str,
        type: str,
        data: Data | None = None,
        *,
        subject: str | None = None,
        actor: str | None = None,
        id: str | None = None,
        time: datetime | None = None,
        expected: Expected = None,
    ) -> Event:
        one = draft(
            type,
            data,
            subject=subject,
            actor=self._me() if actor is None else actor,
            id=id,
            time=time,
            now=self._clock,
            ids=self._ids,
        )
        return self.append_many(space, [one], expected=expected)[0]
