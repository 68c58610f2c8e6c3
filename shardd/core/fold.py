"""The fold: from events to a state, purely. Whatever a log holds, it answers; what it cannot use it counts.

Folding is incremental by nature: `fold(later, fold(earlier))` is `fold(earlier + later)`. A fold of your own is a
`Reducer`; it gets snapshots, time travel and InformationSpace.reduce() like the one that shardd brings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from shardd.core.canonical import Json
from shardd.core.event import Event
from shardd.core.kinds.default import DEFAULT_KINDS
from shardd.core.kinds.kind import NoEffect, Unread
from shardd.core.kinds.registry import Registry
from shardd.core.names import is_id
from shardd.core.stamp import stamp
from shardd.core.state import EMPTY, CoordinationState
from shardd.errors import Misuse

FOLD_VERSION = 2
"""Raised whenever the same events come to another state, or the state to other JSON: older snapshots go unused."""

S = TypeVar("S")


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Reducer(Generic[S]):
    """A fold: where it starts, and one step.

    name: like `edits-per-actor`; version: raise it when the step or the JSON changes. Both are the key of its snapshots
    step: (state, event) -> new state; pure, and never changes the state that it is given
    to_json, from_json: each other's exact inverse; not needed where the state is plain JSON itself
    """

    name: str
    version: int | str
    initial: S
    step: Callable[[S, Event], S]
    to_json: Callable[[S], Json] = _same
    from_json: Callable[[Json], S] = _same

    def __post_init__(self) -> None:
        if not is_id(self.name):
            raise Misuse(f"{self.name!r} is not a name for a fold: a-z, 0-9, '.', '_', '-', up to 63")
        if not re.match(r"[A-Za-z0-9][A-Za-z0-9.]{0,63}\Z", str(self.version)):
            raise Misuse(f"{self.version!r} is not a version of a fold: letters, digits, '.', up to 64")

    def fold(self, events: Iterable[Event], state: S | None = None) -> S:
        """The state after `events`, on top of `state` (None: from the start)."""
        found = self.initial if state is None else state
        for event in events:
            found = self.step(found, event)
        return found


def coordination(kinds: Registry = DEFAULT_KINDS) -> Reducer[CoordinationState]:
    """The fold to CoordinationState as a Reducer, understanding these event types."""

    def step(state: CoordinationState, event: Event) -> CoordinationState:
        return _step(kinds, state, event)

    return Reducer(
        name="coordination",
        version=f"{FOLD_VERSION}.{kinds.fingerprint()}",
        initial=EMPTY,
        step=step,
        to_json=CoordinationState.to_json,
        from_json=CoordinationState.from_json,
    )


def fold(
    events: Iterable[Event], state: CoordinationState = EMPTY, *, kinds: Registry = DEFAULT_KINDS
) -> CoordinationState:
    """The state after `events`, on top of `state`. They must follow its head: Misuse if one does not."""
    for event in events:
        state = _step(kinds, state, event)
    return state


def _step(kinds: Registry, state: CoordinationState, event: Event) -> CoordinationState:
    if state.head is not None and event.seq <= state.head.seq:
        raise Misuse(f"the event {event.seq} does not come after {state.head.seq}", "fold each event once, in order")
    reading = kinds.read(event)
    if isinstance(reading, Unread):
        return state.counted(event, reading.reason, field=reading.field)
    after = reading.kind.effect(state, reading.data, stamp(event))
    if isinstance(after, NoEffect):
        return state.counted(event, "no-effect")
    return after.counted(event, None)
