"""Registry: the event types that one fold understands. An immutable value, passed where it is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic

import msgspec
from immutables import Map

from shardd.core.event import Event
from shardd.core.kinds.kind import D, Kind, Ref, Unread, one_line
from shardd.core.plural import many
from shardd.errors import Misuse

AnyKind = Kind[Any]  # every kind has its own struct


@dataclass(frozen=True, slots=True)
class Known(Generic[D]):
    """An event whose type is known and whose data fit it."""

    kind: Kind[D]
    data: D


@dataclass(frozen=True, slots=True)
class Registry:
    kinds: Map[str, AnyKind] = field(default=Map())

    def __repr__(self) -> str:
        return f"<Registry of {many(len(self.kinds), 'event type')}>"  # it stands in signatures

    @classmethod
    def of(cls, kinds: Iterable[AnyKind]) -> Registry:
        found = cls()
        for kind in kinds:
            found = found.with_kind(kind)
        return found

    def with_kind(self, kind: AnyKind) -> Registry:
        """One type more; Misuse if the type is there already, because then its older meaning would be lost."""
        if kind.name in self.kinds:
            raise Misuse(f"the event type {kind.name} is there already", "choose a type of your own, like `acme.seen`")
        return Registry(self.kinds.set(kind.name, kind))

    def fingerprint(self) -> str:
        """12 hex digits that stand for these types, versions and revisions: part of the key of a snapshot."""
        text = "\n".join(f"{kind.name} {kind.version} {kind.revision}" for _, kind in sorted(self.kinds.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def read(self, event: Event) -> Known[msgspec.Struct] | Unread:
        kind = self.kinds.get(event.type)
        if kind is None:
            return Unread("unknown", "unknown type")
        data = kind.read(event.data)
        return data if isinstance(data, Unread) else Known(kind, data)

    def kind_of(self, data: msgspec.Struct) -> AnyKind:
        """The kind whose data these are; Misuse if none is."""
        for kind in self.kinds.values():
            if kind.data is type(data):
                return kind
        raise Misuse(f"no event type here has {type(data).__name__} as its data", "add it with `registry.with_kind`")

    def summary(self, event: Event) -> str:
        """The event in one line of at most 100 characters, whatever its type and data."""
        reading = self.read(event)
        if isinstance(reading, Known):
            return reading.kind.line(reading.data)
        subject = event.type if event.subject is None else f"{event.type}: {event.subject}"
        return one_line(f"{subject} ({reading.told})")

    def about(self, event: Event) -> tuple[Ref, ...]:
        """What the event is about; one that cannot be read, the page or other thing that its subject names."""
        reading = self.read(event)
        if isinstance(reading, Known):
            return reading.kind.about(reading.data)
        return () if event.subject is None else (Ref("page", event.subject),)
