"""Kind: one event type. Its data, its effect on the state, what it is about, and its line in a log.

Data is a msgspec Struct, so it is checked field by field before the effect sees it. Fields that the struct does not
have are left alone: they stay in the event, and a later version may know them.

A type whose data changes shape gets a new version: events say `"v": 2` in their data (no `v` is version 1), and one
function per version lifts older data to the next.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Generic, NamedTuple, TypeAlias, TypeVar, cast

import msgspec

from shardd.core.canonical import Json
from shardd.core.event import Data, check_type
from shardd.core.stamp import Stamp
from shardd.core.state import CoordinationState, SetAsideReason
from shardd.errors import Misuse

D = TypeVar("D", bound=msgspec.Struct)

_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]+\Z"

_MISSING = re.compile(r"Object missing required field `([^`]*)`\Z")

PageKey: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=1000, pattern=_PRINTABLE)]
"""What a shard calls a page: 1 to 1000 characters, no control characters."""

Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=_PRINTABLE)]
"""The id of a shard, overlay or remark: 1 to 200 characters, no control characters."""

Line: TypeAlias = Annotated[str, msgspec.Meta(max_length=1000)]
"""A short text for people."""


class WithReason(msgspec.Struct, frozen=True, kw_only=True):
    """Data that may say why: it ends their line."""

    reason: Line | None = None


class Ref(NamedTuple):
    """What an event is about: a `page`, `shard`, `overlay`, `remark`, or a family of your own, and its id."""

    family: str
    id: str


@dataclass(frozen=True, slots=True)
class NoEffect:
    """An effect's answer where there is nothing to act on; the event is then set aside."""

    why: str


@dataclass(frozen=True, slots=True)
class Unread:
    """Data that could not be read as the type's. field: `data.page`, where one is at fault; missing: it is not there"""

    reason: SetAsideReason
    why: str
    field: str | None = None
    missing: bool = False

    @property
    def told(self) -> str:
        return f"{self.field}: {self.why}" if self.field else self.why


Effect: TypeAlias = Callable[[CoordinationState, D, Stamp], CoordinationState | NoEffect]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[D]):
    """One event type.

    name: the event type, like `page.bound`; data: its struct
    effect: (state, data, stamp) -> the new state, or NoEffect; pure, and never changes what it is given
    about: what these data are about, the chief thing first: it becomes the subject, and `explain` finds events by it
    summary: one line of plain words; it is stripped of control characters and shortened for you, and a reason is added
    version: of the data; upcasts: from version n, a function to version n + 1, for every n below `version`
    lacks: what data name that the state does not have, though the effect does without it, since it may come yet: a verb
    refuses to say so
    revision: raise it when `effect` changes, so that snapshots of the old effect are not used
    """

    name: str
    data: type[D]
    effect: Effect[D]
    about: Callable[[D], tuple[Ref, ...]]
    summary: Callable[[D], str]
    version: int = 1
    upcasts: Mapping[int, Callable[[dict[str, Json]], dict[str, Json]]] = field(default_factory=dict)
    lacks: Callable[[CoordinationState, D], str | None] = lambda state, data: None
    revision: int = 1

    def __repr__(self) -> str:
        return f"<Kind {self.name}>"

    def refused(self, state: CoordinationState, data: D, by: Stamp) -> str | None:
        """Why there is nothing for these data to do, where somebody is about to say them; None if there is."""
        outcome = self.effect(state, data, by)
        return outcome.why if isinstance(outcome, NoEffect) else self.lacks(state, data)

    def __post_init__(self) -> None:
        check_type(self.name)
        if set(self.upcasts) != set(range(1, self.version)):
            raise Misuse(f"{self.name}: version {self.version} needs an upcast from each of 1 to {self.version - 1}")

    def read(self, data: Data) -> D | Unread:
        """Event data of any version as the struct of the newest."""
        version = data.get("v", 1)
        if type(version) is not int or version < 1:
            return Unread("malformed", "`v` is not a version: 1, 2, …", "data.v")
        if version > self.version:
            return Unread("unknown", f"version {version}; {self.version} is the newest known here", "data.v")
        if version < self.version:
            # A deep copy, because an upcast may change what it is given.
            lifted = cast("dict[str, Json]", msgspec.json.decode(msgspec.json.encode(dict(data))))
            try:
                for lower in range(version, self.version):
                    lifted = self.upcasts[lower](lifted)
            except Exception as error:  # nothing has checked the data yet, so an upcast may trip over anything
                return Unread("malformed", f"no version {version}: {type(error).__name__}: {error}")
            data = lifted
        try:
            return msgspec.convert(data, self.data)
        except msgspec.ValidationError as error:
            return _unread(str(error))

    def write(self, data: D) -> dict[str, Json]:
        """The event data that say this; Misuse if they do not fit the type, so would not be read back."""
        plain = cast("dict[str, Json]", msgspec.to_builtins(data))
        plain = {name: value for name, value in plain.items() if value is not None}
        if self.version > 1:
            plain["v"] = self.version
        again = self.read(plain)
        if isinstance(again, Unread):
            raise Misuse(f"{self.name}: {again.told}")
        return plain

    def line(self, data: D) -> str:
        """One line of plain words, with the reason if one is given."""
        reason = data.reason if isinstance(data, WithReason) else None
        return one_line(self.summary(data) + (f": {reason}" if reason else ""))

    def subject(self, data: D) -> str | None:
        """The id of the chief thing that the data are about, where a subject line can hold it."""
        about = self.about(data)
        return about[0].id if about and 1 <= len(about[0].id) <= 200 else None


def _unread(said: str) -> Unread:
    """What msgspec says, with the field taken out of it."""
    why, _, path = said.partition(" - at `$")
    steps = path.rstrip("`")
    missing = _MISSING.match(why)
    field = f"data{steps}" + (f".{missing[1]}" if missing else "")
    return Unread("malformed", "is missing" if missing else why, None if field == "data" else field, bool(missing))


def one_line(text: str, limit: int = 100) -> str:
    """Text on one line of at most `limit` characters, safe for a terminal: no control or direction characters."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text[: limit * 4]).split())
    return plain if len(plain) <= limit and len(text) <= limit * 4 else plain[: limit - 1].rstrip() + "…"
