"""CoordinationState: what the events of a log come to. Made by the fold, event by event; nothing in it ever changes.

Its parts are persistent maps (HAMTs): a new state shares all but a few nodes with the one before, so an event costs the
same whatever the size of the state (tests/bench/fold_cost.py shows it).

The JSON form is one list per part, sorted, and so the same whatever way the state was reached. It holds the classes of
pages too, though they follow from the bindings: equal bytes then prove that the classes agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, TypeVar, cast

import msgspec
import rfc8785
from immutables import Map

from shardd.core.bindings import Binding, Bindings
from shardd.core.canonical import Json
from shardd.core.event import Event, Head
from shardd.core.plural import many
from shardd.core.stamp import Stamp
from shardd.core.table import Table
from shardd.errors import Corrupt

_Row = TypeVar("_Row")

OverlayStatus: TypeAlias = Literal["drafted", "applied", "withdrawn", "superseded"]

SetAsideReason: TypeAlias = Literal["unknown", "malformed", "no-effect"]
"""Why an event changed nothing: nobody knows its type (or so new a version of it), its data do not fit the type, or
there was nothing for it to act on."""


class AttachedShard(msgspec.Struct, frozen=True):
    shard: str
    kind: str | None
    location: str | None
    title: str | None
    by: Stamp


class Overlay(msgspec.Struct, frozen=True):
    """A text that lies on top of a page while its status is `applied`.

    by: the draft that this text is from; changed: what brought it to its status, None while drafted
    """

    overlay: str
    page: str
    text: str
    title: str | None
    status: OverlayStatus
    by: Stamp
    changed: Stamp | None = None
    superseded_by: str | None = None


class Settlement(msgspec.Struct, frozen=True):
    """Of the page's versions, the one in `shard` is canonical; `key` says which, where the shard has several."""

    page: str
    shard: str
    key: str | None
    reason: str | None
    by: Stamp


class Remark(msgspec.Struct, frozen=True):
    """retracted: the event that took it back, else None; the text stays."""

    remark: str
    page: str
    text: str
    by: Stamp
    retracted: Stamp | None = None


class Tally(msgspec.Struct, frozen=True):
    """How many events of one type there were, and how many of those were set aside, by reason."""

    type: str
    events: int = 0
    unknown: int = 0
    malformed: int = 0
    no_effect: int = 0


class SetAside(msgspec.Struct, frozen=True):
    """An event that changed nothing. It stays in the log, with its data. field: `data.page`, if one is at fault"""

    seq: int
    id: str
    type: str
    reason: SetAsideReason
    field: str | None = None


class CoordinationState(msgspec.Struct, frozen=True):
    """What has been decided, as of `head` (None: nothing yet).

    settled: by page key; of the keys of one page the newest settlement counts
    counts: by event type; set_aside: by seq
    extra: for event types of your own, JSON values by a key of your choice; replace a value, never change it in place
    """

    head: Head | None = None
    shards: Map[str, AttachedShard] = Map()
    bindings: Bindings = Bindings()
    overlays: Table[Overlay] = Table()
    settled: Map[str, Settlement] = Map()
    remarks: Table[Remark] = Table()
    counts: Map[str, Tally] = Map()
    set_aside: Map[int, SetAside] = Map()
    extra: Map[str, Json] = Map()

    def __repr__(self) -> str:
        at = "before the first event" if self.head is None else f"at seq {self.head.seq}"
        return f"<CoordinationState {at}, {many(self.events, 'event')}>"

    def page(self, key: str) -> tuple[str, ...]:
        """All keys that are one page with `key`, itself among them, sorted."""
        return self.bindings.page(key)

    def settlement(self, keys: Iterable[str]) -> Settlement | None:
        """The newest settlement of a page, which is all of its keys."""
        found = [self.settled[key] for key in keys if key in self.settled]
        return max(found, key=lambda settlement: settlement.by.seq, default=None)

    def home(self, keys: Iterable[str]) -> Binding | None:
        """The newest binding of a page that names a shard."""
        found = [binding for binding in self.bindings.on(keys) if binding.shard is not None]
        return max(found, key=lambda binding: binding.by.seq, default=None)

    @property
    def events(self) -> int:
        """How many events led here."""
        return sum(tally.events for tally in self.counts.values())

    def counted(self, event: Event, reason: SetAsideReason | None, *, field: str | None = None) -> CoordinationState:
        """The state with `event` as its head and in its counts; reason, field: see SetAside, if it was."""
        old = self.counts.get(event.type) or Tally(event.type)
        tally = Tally(
            event.type,
            old.events + 1,
            old.unknown + (reason == "unknown"),
            old.malformed + (reason == "malformed"),
            old.no_effect + (reason == "no-effect"),
        )
        aside = self.set_aside
        if reason is not None:
            aside = aside.set(event.seq, SetAside(event.seq, event.id, event.type, reason, field))
        return msgspec.structs.replace(
            self, head=Head(event.seq, event.oid), counts=self.counts.set(event.type, tally), set_aside=aside
        )

    def with_extra(self, key: str, value: Json) -> CoordinationState:
        """The state with `value` under `key` in `extra`: how an event type of your own keeps something."""
        return msgspec.structs.replace(self, extra=self.extra.set(key, value))

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values; `from_json` is the exact inverse."""
        return cast("dict[str, Json]", msgspec.to_builtins(_wire(self)))

    @staticmethod
    def from_json(value: Json) -> CoordinationState:
        """The state of a JSON form; Corrupt if it is none."""
        try:
            return _unwire(msgspec.convert(value, _Wire))
        except msgspec.ValidationError as error:
            raise Corrupt(f"not a coordination state: {error}") from None

    def canonical(self) -> bytes:
        """The JSON form by RFC 8785: equal bytes, equal states."""
        wire = _wire(self)
        # Without `extra` no value is a float and no key is beyond ASCII: there msgspec writes the same, much faster.
        return rfc8785.dumps(msgspec.to_builtins(wire)) if wire.extra else _fast.encode(wire)

    def digest(self) -> str:
        """SHA-256 of the canonical bytes, in hex: two people compare it to see that they agree."""
        return hashlib.sha256(self.canonical()).hexdigest()


EMPTY = CoordinationState()

_fast = msgspec.json.Encoder(order="sorted")


class _Wire(msgspec.Struct, frozen=True):
    head: Head | None
    shards: list[AttachedShard]
    bindings: list[Binding]
    pages: list[list[str]]
    overlays: list[Overlay]
    settled: list[Settlement]
    remarks: list[Remark]
    counts: list[Tally]
    set_aside: list[SetAside]
    extra: dict[str, Any]  # Json; msgspec cannot read a recursive alias


def _wire(state: CoordinationState) -> _Wire:
    return _Wire(
        head=state.head,
        shards=_sorted(state.shards),
        bindings=sorted(state.bindings, key=lambda b: (min(b.page, b.same_as), max(b.page, b.same_as))),
        pages=[list(keys) for keys in state.bindings.pages()],
        overlays=state.overlays.in_order(),
        settled=_sorted(state.settled),
        remarks=state.remarks.in_order(),
        counts=_sorted(state.counts),
        set_aside=[state.set_aside[seq] for seq in sorted(state.set_aside)],
        extra=dict(state.extra),
    )


def _unwire(wire: _Wire) -> CoordinationState:
    return CoordinationState(
        head=wire.head,
        shards=Map({row.shard: row for row in wire.shards}),
        bindings=Bindings.of(wire.bindings),
        overlays=Table.of((row.overlay, row) for row in wire.overlays),
        settled=Map({row.page: row for row in wire.settled}),
        remarks=Table.of((row.remark, row) for row in wire.remarks),
        counts=Map({row.type: row for row in wire.counts}),
        set_aside=Map({row.seq: row for row in wire.set_aside}),
        extra=Map(wire.extra),
    )


def _sorted(rows: Map[str, _Row]) -> list[_Row]:
    return [rows[key] for key in sorted(rows)]
