"""Every error as a JSON value, and back: of the same class, with the same data and words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from shardd.core.canonical import Json
from shardd.core.event import Head
from shardd.core.refusals import Asked, HeadMoved, Met, NotHolder, Stale, StaleEpoch, Turn, Words
from shardd.core.tenancy import Ended, Lease, milliseconds, stamp
from shardd.errors import BadEvent, Corrupt, Damaged, Misuse, Rejected, SharddError, Unavailable


def error_value(error: SharddError, reach: str) -> dict[str, Json]:
    """`{"code", "message", "remedy"}`, and beside them what the error carries.

    reach: how the reader calls our commands
    """
    value: dict[str, Json] = {"code": error.code, "message": error.message, "remedy": error.seen_from(reach)}
    match error:
        case NotHolder():
            value |= _turn_value(error.turn)
        case HeadMoved():
            value |= {"head": _place(error.head), "space": error.space, "expected": _place(error.expected)}
            value |= {"met": str(error.met)}
        case StaleEpoch():
            value |= {"how": str(error.how), "space": error.space, "epoch": error.epoch, "named": error.named}
            value |= {"commit": error.commit}
        case BadEvent():
            value |= {"field": error.field, "where": error.where, "detail": error.detail}
        case Damaged():
            value |= {"rule": error.rule, "seq": error.seq, "oid": error.oid, "detail": error.detail}
    return value


def error_from(value: Mapping[str, Json]) -> SharddError:
    """The error that a value of `error_value` stands for: of the same class, with the same data and words.

    What a server of another version says less of becomes the nearest error above.
    """
    try:
        found = msgspec.convert(value, _ErrorValue)
    except msgspec.ValidationError as error:
        return Corrupt(f"the server's answer is no error: {error}", "is it of another version?")
    words = found.message, found.remedy
    try:
        return _typed(found.code, value, words)
    except (msgspec.ValidationError, BadEvent):
        return Rejected(found.code, *words)


def _typed(code: str, value: Mapping[str, Json], words: Words) -> SharddError:
    match code:
        case "unavailable":
            return Unavailable(*words)
        case "corrupt":
            return _damaged(value, words)
        case "usage":
            return Misuse(*words)
        case "not-holder":
            return NotHolder(_turn_from(value), words)
        case "non-fast-forward":
            moved = msgspec.convert(value, _MovedValue)
            return HeadMoved(moved.head, space=moved.space, expected=moved.expected, met=moved.met, words=words)
        case "stale-epoch":
            stale = msgspec.convert(value, _StaleValue)
            return StaleEpoch(stale.how, stale.space, stale.epoch, stale.named, commit=stale.commit, words=words)
        case _ if "field" in value:
            bad = msgspec.convert(value, _BadValue)
            return BadEvent(bad.field, bad.detail, words[1], code=code, where=bad.where)
        case _:
            return Rejected(code, *words)


def _damaged(value: Mapping[str, Json], words: Words) -> Corrupt:
    if "rule" not in value:
        return Corrupt(*words)
    found = msgspec.convert(value, _DamagedValue)
    return Damaged(found.rule, found.seq, found.oid, found.detail, words[1])


class _ErrorValue(msgspec.Struct, frozen=True):
    code: str
    message: str
    remedy: str = ""


class _LeaseValue(msgspec.Struct, frozen=True):
    holder: str
    epoch: int
    granted: str
    expires: str
    left_ms: int
    fenced: bool


class _TurnValue(msgspec.Struct, frozen=True):
    space: str
    principal: str
    asked: Asked
    now: str
    lease: _LeaseValue | None
    ended: Ended
    waiting: tuple[str, ...]
    barred_until: str | None
    may_append: bool
    begins: bool = False


def _turn_value(turn: Turn) -> dict[str, Json]:
    held = turn.lease
    lease: dict[str, Json] | None = None
    if held is not None:
        lease = {"holder": held.holder, "epoch": held.epoch, "granted": stamp(held.granted)}
        lease |= {"expires": stamp(held.expires), "left_ms": turn.left, "fenced": held.fenced}
    return {
        "space": turn.space,
        "principal": turn.principal,
        "asked": str(turn.asked),
        "now": stamp(turn.now),
        "lease": lease,
        "ended": str(turn.ended),
        "waiting": list(turn.waiting),
        "barred_until": None if turn.barred_until is None else stamp(turn.barred_until),
        "may_append": turn.may_append,
        "begins": turn.begins,
    }


def _turn_from(value: Mapping[str, Json]) -> Turn:
    said = msgspec.convert(value, _TurnValue)
    held = None
    if said.lease is not None:
        granted, expires = milliseconds(said.lease.granted), milliseconds(said.lease.expires)
        name = said.space.rpartition("/")[2]
        held = Lease(name, said.lease.holder, said.lease.epoch, granted, expires, said.lease.fenced)
    return Turn(
        space=said.space,
        principal=said.principal,
        asked=said.asked,
        now=milliseconds(said.now),
        lease=held,
        ended=said.ended,
        waiting=said.waiting,
        barred_until=None if said.barred_until is None else milliseconds(said.barred_until),
        may_append=said.may_append,
        begins=said.begins,
    )


class _MovedValue(msgspec.Struct, frozen=True):
    head: Head | None
    space: str
    expected: Head | Literal["absent"] | None
    met: Met


class _StaleValue(msgspec.Struct, frozen=True):
    how: Stale
    space: str
    epoch: int
    named: int | None
    commit: str


class _BadValue(msgspec.Struct, frozen=True):
    field: str
    where: str
    detail: str


class _DamagedValue(msgspec.Struct, frozen=True):
    rule: str
    seq: int | None
    oid: str
    detail: str


def _place(head: Head | Literal["absent"] | None) -> Json:
    return {"seq": head.seq, "oid": head.oid} if isinstance(head, Head) else head
