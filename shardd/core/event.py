"""The values that everything passes around: Draft (to be appended), Event (appended), Head (where a log stands).

A Draft is validated when it is built, so whatever accepts one need not look again; an Event is only ever made by the
codec, from bytes. Neither changes afterwards.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from shardd.core.canonical import Json, encode_data
from shardd.errors import BadEvent

Data: TypeAlias = Mapping[str, Json]

MAX_SEQ = 2**53 - 1
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}\Z")
_EVENT_ID = re.compile(r"[\x21-\x7e]{1,128}\Z")
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:Z|\+00:00)\Z",
    re.ASCII,
)
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Head:
    """A space's newest commit: its sequence number and object id."""

    seq: int
    oid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An event that somebody wants appended; its place in the log is still open.

    Raises BadEvent, naming the field, if the bytes could not hold it verbatim.
    """

    type: str
    data: Data = field(default_factory=dict, hash=False)
    subject: str | None = None
    actor: str
    id: str
    time: datetime

    def __post_init__(self) -> None:
        check_type(self.type)
        if self.subject is not None:
            check_subject(self.subject)
        check_actor(self.actor)
        check_event_id(self.id)
        check_time(self.time)
        encode_data(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One appended event, as its commit says. `data` is the decoded canonical JSON: `1.0` reads back as `1`.

    epoch: the lease epoch it was appended under, where the commit names it
    source_epoch: of an imported event, the epoch it had where it came from
    """

    seq: int
    oid: str
    id: str
    type: str
    subject: str | None
    actor: str
    time: datetime
    data: Data = field(hash=False)
    epoch: int | None = None
    source_epoch: int | None = None

    def draft(self) -> Draft:
        """The same decision, ready to be appended to another log."""
        return Draft(type=self.type, data=self.data, subject=self.subject, actor=self.actor, id=self.id, time=self.time)


def has_control(text: str) -> bool:
    """Whether any character is a control character (Unicode category Cc) or half of a surrogate pair."""
    if text.isascii():
        return not text.isprintable()
    return any(unicodedata.category(c) in ("Cc", "Cs") for c in text)


def check_type(value: str) -> str:
    if not _TYPE.match(value):
        raise BadEvent("type", f"{_short(value)} is not an event type: letters, digits, '.', '_', '/', '-', 1 to 100")
    return value


def check_subject(value: str) -> str:
    if not 1 <= len(value) <= 200:
        raise BadEvent("subject", f"has {len(value)} characters; 1 to 200 are allowed")
    if has_control(value):
        raise BadEvent("subject", "holds a control character")
    return value


def check_actor(value: str) -> str:
    if not 1 <= len(value) <= 200:
        raise BadEvent("Actor", f"has {len(value)} characters; 1 to 200 are allowed")
    if has_control(value) or value != value.strip():
        raise BadEvent("Actor", f"{_short(value)} has outer spaces or a control character")
    return value


def check_event_id(value: str) -> str:
    if not _EVENT_ID.match(value):
        raise BadEvent("Event-Id", f"{_short(value)} is not 1 to 128 printable ASCII characters without spaces")
    return value


def check_seq(name: str, text: str, *, lowest: int = 0) -> int:
    """A decimal integer without leading zeros, from `lowest` to 2^53 − 1."""
    if not re.match(r"-?(?:0|[1-9]\d{0,15})\Z", text, re.ASCII) or not lowest <= int(text) <= MAX_SEQ or text == "-0":
        raise BadEvent(name, f"{_short(text)} is not an integer from {lowest} to 2^53 - 1")
    return int(text)


def check_time(value: datetime) -> datetime:
    if value.tzinfo is None or value.utcoffset() != timedelta(0):
        raise BadEvent("Time", f"{value.isoformat()} is not in UTC")
    if value.year < 1970:
        raise BadEvent("Time", f"{value.isoformat()} is before 1970")
    return value


def parse_time(text: str) -> datetime:
    """RFC 3339 in UTC, at most microseconds, years 1970 to 9999. A leap second is refused."""
    match = _TIME.match(text)
    if match is None:
        raise BadEvent("Time", f"{_short(text)} is not RFC 3339 in UTC, like 2026-06-15T10:00:00.123456Z")
    year, month, day, hour, minute, second, fraction = match.groups(default="")
    try:
        value = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second), int(fraction.ljust(6, "0")), UTC
        )
    except ValueError as error:
        raise BadEvent("Time", f"{_short(text)}: {error}") from None
    return check_time(value)


def format_time(value: datetime) -> str:
    """Six decimals and `Z`, the canonical form."""
    return value.isoformat(timespec="microseconds")[:26] + "Z"


def unix_seconds(value: datetime) -> int:
    """Whole seconds since 1970, floored."""
    return (value - _UNIX) // timedelta(seconds=1)


def from_unix(seconds: int) -> datetime:
    """The inverse of unix_seconds; BadEvent where it would leave the years 1970 to 9999."""
    if not 0 <= seconds <= 253402300799:
        raise BadEvent("Time", f"{seconds} seconds since 1970 is outside the years 1970 to 9999")
    return _UNIX + timedelta(seconds=seconds)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
