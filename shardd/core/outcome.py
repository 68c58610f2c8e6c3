"""Outcome: what became of one push, fetch, command, lease call, login or job. Log, audit and metrics all read it.

One is made where the work ends, however it ends, and never changes. It says who asked for what, from where and with
which key, what the verdict was, and how long it took; never what an event holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from shardd.core.hook_protocol import printable
from shardd.core.refs import Change
from shardd.errors import BadEvent, Misuse, SharddError

OK = "ok"
INTERNAL = "internal"
"""A fault of ours."""
DECLINED = "declined"
"""A push that the rules let through, and git or a hook of the site did not."""
FAILED = "failed"
"""Git gave up by itself."""
GONE = "gone"
"""Whoever asked left before the end."""

LONGEST = 400
"""Characters of `what` and of `why`: a line of the audit is small, whatever was asked."""

_HEADS = "refs/heads/"
_DIGITS = 12


class Kind(StrEnum):
    LOGIN = "login"
    PUSH = "push"
    FETCH = "fetch"
    COMMAND = "command"
    LEASE = "lease"
    JOB = "job"


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was asked for, and what came of it.

    at: when it ended, in milliseconds since 1970 by the wall clock; waited, took: milliseconds, the waiting for locks
    and for one's turn being part of what it took
    who: the principal; None for the operator, and for whoever did not get in; origin: `ssh 192.0.2.7`, `openssh …`,
    `local`, `host`; key: the fingerprint that was proven, or that was offered in vain
    what: in a few words, such as the refs of a push; verdict: `ok`, the code of the refusal, or one of the words above;
    why: its message
    """

    kind: Kind
    at: int
    who: str | None = None
    origin: str = ""
    key: str | None = None
    repo: str | None = None
    space: str | None = None
    what: str = ""
    verdict: str = OK
    why: str = ""
    waited: int = 0
    took: int = 0

    @property
    def accepted(self) -> bool:
        return self.verdict == OK


def shortened(text: str) -> str:
    """At most LONGEST characters of it, none a control character: the text may be anybody's."""
    said = printable(text[: LONGEST + 1])
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"


def verdict_of(error: BaseException | None) -> tuple[str, str]:
    """Code and message of what ended the work: `("ok", "")` for None, and `internal` for what is no error of ours.

    What was given and is not well formed is not repeated: it may be an event's data.
    """
    if error is None:
        return OK, ""
    if isinstance(error, BadEvent):
        return error.code, shortened(f"{error.where}: {error.field}" if error.where else error.field)
    if isinstance(error, Misuse):
        return error.code, ""
    if isinstance(error, SharddError):
        return error.code, shortened(error.message)
    return INTERNAL, shortened(f"{type(error).__name__}: {error}")


def refs_of(changes: Iterable[Change], options: Iterable[str] = ()) -> str:
    """What a push asks for: each ref, from where to where, and its options as far as they are for us."""
    said = ""
    for change in changes:
        old, new = (oid[:_DIGITS] if oid else "none" for oid in (change.old, change.new))
        said += f"{', ' if said else ''}{change.ref.removeprefix(_HEADS)} {old}..{new}"
        if len(said) > LONGEST:
            return said
    ours = (option for option in options if option.partition("=")[0] in ("lease", "epoch"))
    return "".join((said, *(f" -o {option}" for option in ours)))
