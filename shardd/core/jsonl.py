"""Events as lines of JSON: CloudEvents 1.0, written and read; and the plain lines of older logs, read.

    {"actor":"alice","data":{"page":"Home"},"epoch":"7","id":"0197732c-…","sequence":"0000000000000042",
     "source":"spaces/whynot","specversion":"1.0","subject":"Home","time":"2026-06-15T10:00:00.123456Z",
     "type":"page.bound"}                       (all on one line; `data`, `epoch`, `subject` only where there are any)

    {"seq": 42, "timestamp": "2026-06-15T10:00:00.123456Z", "actor": "alice", "type": "page.bound",
     "payload": {"page": "Home"}}               (`id`, `subject` and `epoch` may be there)

What is written is canonical (RFC 8785) and follows from the space's name and the events alone: the export of an import
is the export of the original, byte for byte. `sequence` has leading zeros and `epoch` is a string, because CloudEvents
wants the one to sort as text and has no integers beyond 32 bits for the other. `epoch` is the lease epoch that an event
had where it was first appended.

What is read is held verbatim or refused, naming line and field: a key that has no place in an event, a zone other than
UTC, a number that no double is equal to. A plain line without `id` gets one that follows from the space and the event.
`source` is not kept; lines of two sources are two logs, and refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from shardd.core.canonical import Json, decode_plain, encode_data, parse_object
from shardd.core.event import MAX_SEQ, Draft, Event, format_time, parse_time
from shardd.core.ids import uuid8
from shardd.errors import BadEvent


@dataclass(frozen=True, slots=True)
class Numbered:
    """An event and its place, as an import takes it.

    epoch: the lease epoch that it had where it comes from; where: what to call it in messages, such as `line 7`
    """

    seq: int
    draft: Draft
    epoch: int | None = None
    where: str = ""


@dataclass(frozen=True, slots=True)
class _Shape:
    """A kind of line: which keys it has, and what it calls the parts of an event."""

    needed: tuple[str, ...]
    optional: tuple[str, ...]
    seq: str
    time: str
    data: str

    def called(self, field: str) -> str:
        return {"Time": self.time, "Event-Id": "id", "Actor": "actor", "data": self.data}.get(field, field)


_CLOUD = _Shape(
    ("specversion", "id", "source", "type", "sequence", "time", "actor"),
    ("subject", "epoch", "datacontenttype"),
    "sequence",
    "time",
    "data",
)
_PLAIN = _Shape(("seq", "timestamp", "actor", "type"), ("id", "subject", "epoch"), "seq", "timestamp", "payload")
_ONLY_CLOUD = frozenset(("specversion", "source", "sequence", "time", "data"))


def encode_line(event: Event, space: str) -> bytes:
    """The canonical line of an event, newline included."""
    return _encode(event, event.seq, event.source_epoch if event.epoch is None else event.epoch, space)


def encode_numbered(numbered: Numbered, space: str) -> bytes:
    """Like encode_line, of an event on its way."""
    return _encode(numbered.draft, numbered.seq, numbered.epoch, space)


def _encode(event: Event | Draft, seq: int, epoch: int | None, space: str) -> bytes:
    line: dict[str, Json] = {
        "actor": event.actor,
        "id": event.id,
        "sequence": f"{seq:016d}",
        "source": f"spaces/{space}",
        "specversion": "1.0",
        "time": format_time(event.time),
        "type": event.type,
    }
    if event.data:
        line["data"] = cast("Json", event.data)
    if epoch is not None:
        line["epoch"] = str(epoch)
    if event.subject is not None:
        line["subject"] = event.subject
    return encode_data(line, level=0) + b"\n"


def decode_lines(lines: Iterable[bytes], space: str) -> Iterator[Numbered]:
    """The events that the lines hold, one each, on their way into `space`. BadEvent names line and field.

    Whether their numbers follow each other is for core/import_chain.py to say.
    """
    source: Json = None
    for number, raw in enumerate(lines, 1):
        if is_blank(raw):
            continue
        shape = _PLAIN
        where = f"line {number}"
        try:
            line = _parse(raw)
            if not _ONLY_CLOUD.isdisjoint(line):
                shape = _CLOUD
                # An attribute that is null is one that is not there (CloudEvents JSON format, 2.2).
                line = {key: value for key, value in line.items() if value is not None}
            _check_keys(line, shape)
            if shape is _CLOUD:
                source = _check_cloud(line, source)
            yield _numbered(line, shape, space, where)
        except BadEvent as error:
            raise error.at(where, field=shape.called(error.field)) from None


def is_blank(line: bytes) -> bool:
    """Whether nothing but white space stands there: to every reader of lines that is no line, and only counted."""
    return not line.strip()


def _parse(raw: bytes) -> dict[str, Json]:
    try:
        text = raw.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise BadEvent("json", f"is not UTF-8 (byte {error.start})") from None
    return decode_plain(text) or parse_object(text, "json", number=_exact)


def _exact(literal: str) -> float:
    """The double that is equal to a decimal number; BadEvent if there is none."""
    value = float(literal)
    try:
        same = Decimal(repr(value)) == Decimal(literal)
    except ArithmeticError:  # an exponent beyond anything
        same = False
    if not same:
        raise BadEvent("data", f"the number {literal[:40]} is not held exactly; write it as a string")
    return value


def _check_keys(line: Mapping[str, Json], shape: _Shape) -> None:
    for key in line:
        if key not in shape.needed and key not in shape.optional and key != shape.data:
            raise BadEvent(key[:60], "has no place in an event")
    for key in shape.needed:
        if line.get(key) is None:
            raise BadEvent(key, "is missing")


def _check_cloud(line: Mapping[str, Json], source: Json) -> Json:
    """The source of the line, which must be that of the lines before it."""
    if line["specversion"] != "1.0":
        raise BadEvent("specversion", f"{line['specversion']!r} is not '1.0'")
    if "datacontenttype" in line and not _is_json(line["datacontenttype"]):
        raise BadEvent("datacontenttype", f"{line['datacontenttype']!r} is not 'application/json' in UTF-8")
    here = _text(line, "source")
    if not here:
        raise BadEvent("source", "is empty")
    if source not in (None, here):
        raise BadEvent("source", f"{here!r}, and before it {source!r}; one file holds one log")
    return here


def _is_json(media_type: Json) -> bool:
    """Whether it is application/json, with any parameters (RFC 6838; names in any case) but another charset."""
    if type(media_type) is not str:
        return False
    kind, *parameters = (part.strip() for part in media_type.lower().split(";"))
    said = dict(part.partition("=")[::2] for part in parameters)
    return kind == "application/json" and said.get("charset", "utf-8").strip('"') in ("utf-8", "us-ascii")


def _numbered(line: Mapping[str, Json], shape: _Shape, space: str, where: str) -> Numbered:
    seq = _number(line, shape.seq)
    time = parse_time(_text(line, shape.time))
    data = line.get(shape.data, {})
    if not isinstance(data, dict):
        raise BadEvent("data", "is not an object; write it as {...}")
    actor, kind = _text(line, "actor"), _text(line, "type")
    subject = None if line.get("subject") is None else _text(line, "subject")
    if line.get("id") is not None:
        id = _text(line, "id")
    else:
        said: dict[str, Json] = {
            "actor": actor,
            "payload": data,
            "seq": seq,
            "timestamp": format_time(time),
            "type": kind,
            **({} if subject is None else {"subject": subject}),
        }
        id = uuid8(space.encode() + b"\n" + encode_data(said, level=0))
    draft = Draft(type=kind, subject=subject, actor=actor, id=id, time=time, data=data)
    return Numbered(seq, draft, None if line.get("epoch") is None else _number(line, "epoch"), where)


def _text(line: Mapping[str, Json], key: str) -> str:
    value = line[key]
    if type(value) is not str:
        raise BadEvent(key, f"{value!r:.60} is not a string")
    return value


def _number(line: Mapping[str, Json], key: str) -> int:
    """A whole number, or its digits as a string, leading zeros allowed."""
    value = line[key]
    if type(value) is str and value.isascii() and value.isdigit() and len(value) <= 32:
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_SEQ:
        raise BadEvent(key, f"{value!r:.60} is not an integer from 0 to 2^53 - 1")
    return value
