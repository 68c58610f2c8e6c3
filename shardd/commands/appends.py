"""`append`: adding to a space by command instead of by git."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, ClassVar, cast

import msgspec

from shardd.authority.appending import append_drafts
from shardd.commands.caller import Context
from shardd.commands.events import value
from shardd.commands.grammar import Words, integer
from shardd.commands.result import Answer, Each
from shardd.commands.run_command import encoded
from shardd.core.append import Expected
from shardd.core.canonical import Json, decode_data
from shardd.core.error_values import error_value
from shardd.core.event import Data, Event, Head, check_seq, parse_time
from shardd.core.jsonl import is_blank
from shardd.core.names import Address, is_oid
from shardd.core.roles import Role
from shardd.core.taken_types import Takes, check_meant
from shardd.errors import BadEvent, Misuse, Rejected, SharddError, Unavailable
from shardd.logs.decision_log import draft

_LONGEST = 1024 * 1024
_MOST = 8 * 1024 * 1024
"""Bytes of lines that are appended as one: they are all held at once."""


@dataclass(frozen=True, slots=True)
class Append:
    """force: whatever the type and the data; expected, epoch, take_lease, create: as for append_drafts"""

    address: Address
    type: str | None
    subject: str | None
    body: str
    id: str | None
    force: bool
    atomic: bool
    expected: Expected
    epoch: int | None
    take_lease: bool
    create: bool

    def run(self, context: Context) -> Answer[Event]:
        how = How(self.address, self.expected, self.epoch, self.take_lease, self.create)
        how.require(context)  # before anything is read
        if self.atomic:
            raise Misuse("--atomic goes with --lines")
        if self.type is None:
            raise Misuse("name the TYPE of the event, or use --lines")
        line = Line(type=self.type, subject=self.subject, data=dict(decode_data(self.body)), id=self.id)
        if not self.force:
            check_meant(line.type, cast("Data", line.data or {}), how.taken(context), "`--force`")
        appended: Each[Event] = Each(lambda event: f"{self.address} {event.seq} {event.oid}", _appended)
        return Answer(how.append(context, [line]), appended)


@dataclass(frozen=True, slots=True)
class AppendLines:
    """One event a line; atomic: all of those lines, or none. The others: as for append_drafts"""

    address: Address
    type: str | None
    force: bool
    atomic: bool
    expected: Expected
    epoch: int | None
    take_lease: bool
    create: bool

    lines: ClassVar[bool] = True

    def converse(self, context: Context, lines: IO[bytes]) -> Answer[Json]:
        how = How(self.address, self.expected, self.epoch, self.take_lease, self.create)
        how.require(context)  # before anything is read
        if self.type is not None:
            raise Misuse("with --lines the events come on standard input, and no TYPE is named")
        if self.force:
            raise Misuse("--force goes with a TYPE: lines are taken as they are")
        answers = self._all(context, how, lines) if self.atomic else self._each(context, how, lines)
        return Answer(answers, _ANSWERS)

    def _all(self, context: Context, how: How, lines: IO[bytes]) -> Iterator[Json]:
        found: list[Line] = []
        limits, size, number = context.authorities.settings.now().limits, 0, 0
        while raw := lines.readline(_LONGEST):
            number += 1
            if is_blank(raw):
                continue
            size += len(raw)
            if len(found) >= limits.events or size > min(limits.pack_bytes, _MOST):
                raise Rejected("too-large", "more events than one push may hold", "append them in several steps")
            try:
                found.append(parse_line(raw))
            except BadEvent as error:
                raise error.at(f"line {number}") from None
            except Misuse as error:
                raise Misuse(f"line {number}: {error.message}", error.remedy) from None
        if context.gone():
            raise Unavailable("whoever sent the events has left before all of them were here", "send them again")
        appended = how.append(context, found)
        context.work.done()  # all of it, whether or not anybody hears so
        yield from map(value, appended)

    def _each(self, context: Context, how: How, lines: IO[bytes]) -> Iterator[Json]:
        number = 0
        while raw := lines.readline(_LONGEST):
            number += 1
            if len(raw) >= _LONGEST and not raw.endswith(b"\n"):
                # Where it ends, and the next one begins, would be a guess.
                raise Misuse(f"line {number} is longer than {_LONGEST} bytes, and ends the stream")
            if is_blank(raw):
                continue
            line = None
            try:
                line = parse_line(raw)
                (event,) = how.append(context, [line])
                yield _appended(event)
            except SharddError as error:
                context.work.failed(error)
                yield {"id": line.id if line else None, "line": number, "error": error_value(error, context.reach)}


@dataclass(frozen=True, slots=True)
class How:
    """Where events go, and on which conditions; see append_drafts."""

    address: Address
    expected: Expected
    epoch: int | None
    take_lease: bool
    create: bool

    @property
    def _role(self) -> Role:
        return Role.ADMIN if self.create else Role.APPEND

    def require(self, context: Context) -> None:
        """Nothing if the caller has the role that it takes, else Rejected."""
        context.require(self._role, self.address.repo, self.address.space)

    def taken(self, context: Context) -> Takes | None:
        """What the space takes, as of now."""
        with context.authority(self.address, self._role, begun=not self.create) as authority:
            return authority.standing(self.address.space).takes

    def append(self, context: Context, lines: Sequence[Line]) -> list[Event]:
        drafts = [
            draft(
                line.type,
                cast("Data", line.data or {}),
                subject=line.subject,
                actor=line.actor or context.me(),
                id=line.id,
                time=parse_time(line.time) if line.time else None,
            )
            for line in lines
        ]
        with context.authority(self.address, self._role, begun=not self.create) as authority:
            return append_drafts(
                authority,
                self.address.space,
                drafts,
                context.pusher(),
                expected=self.expected,
                epoch=self.epoch,
                take_lease=self.take_lease,
                create=self.create,
            )


def parse_expected(text: str) -> Expected:
    """`SEQ:OID`, or `absent`; Misuse if it is neither."""
    if text == "absent":
        return "absent"
    seq, _, oid = text.partition(":")
    if not is_oid(oid):
        raise Misuse(f"{text!r} is no head", "write SEQ:OID, or absent")
    return Head(check_seq("seq", seq, lowest=-1), oid)


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One event to append, as a line of JSON says it: `{"type": …, "id"?, "subject"?, "data"?, "time"?, "actor"?}`."""

    type: str
    subject: str | None = None
    data: dict[str, object] | None = None
    id: str | None = None
    time: str | None = None
    actor: str | None = None


def parse_line(raw: bytes) -> Line:
    """BadEvent or Misuse unless the line is one event."""
    if len(raw) >= _LONGEST:
        raise Misuse(f"a line is longer than {_LONGEST} bytes")
    try:
        said = decode_data(raw.decode())
        return msgspec.convert(said, Line, strict=True)
    except UnicodeDecodeError:
        raise Misuse("a line is not UTF-8") from None
    except msgspec.ValidationError as error:
        raise Misuse(f"a line is not an event: {error}") from None


def _appended(event: Event) -> Json:
    return {"id": event.id, "seq": event.seq, "oid": event.oid}


_ANSWERS: Each[Json] = Each(encoded, lambda answer: answer)


def add(words: Words) -> None:
    append = words.command("append", Append, "append one event; you must hold the lease")
    append.add_space()
    append.add_argument("type", metavar="TYPE", nargs="?", help="like page.bound")
    append.add_argument("subject", metavar="SUBJECT", nargs="?", help="what the event is about")
    append.add_argument(
        "--body", metavar="JSON", default="{}", help="the data: one JSON object; over ssh quoted twice: \"'{…}'\""
    )
    append.add_argument("--id", metavar="ID", help="the event's id; a retry with the same one appends nothing")
    append.add_argument("--force", action="store_true", help="whatever the type and its data; not with --lines")
    append.add_argument(
        "--lines",
        dest="make",
        action="store_const",
        const=AppendLines,
        default=Append,
        help="take one event a line, as JSON, from standard input",
    )
    append.add_argument("--atomic", action="store_true", help="with --lines: append all of them, or none")
    append.add_argument("--expected", metavar="SEQ:OID", type=parse_expected, help="only if the log stands there")
    append.add_argument("--epoch", metavar="N", type=integer, help="the epoch you hold; a fenced lease asks for it")
    append.add_argument("--take-lease", action="store_true", help="take a free lease for this append alone")
    append.add_argument("--create", action="store_true", help="begin the space if nobody has; for its admins")
