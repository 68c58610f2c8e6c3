"""Outcome: what became of one push, command, login or job. Logs, audit and metrics all read it; nobody else tells them.

One is made where the work ends, however it ends, and never changes. It says who asked for what, from where and with
which key, what the verdict was, and how long it took; never what an event holds.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from shardd.errors import SharddError

OK = "ok"
LONGEST = 400
"""Characters of `what` and of `why`: a line of the audit is small, whatever was asked."""


class Kind(StrEnum):
    LOGIN = "login"
    PUSH = "push"
    FETCH = "fetch"
    COMMAND = "command"
    JOB = "job"


class Outcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that was asked for, and what came of it.

    at: when it ended, in milliseconds since 1970 by the wall clock; waited, took: milliseconds, the waiting for locks
    and for one's turn being part of what it took
    who: the principal; None for the operator, and for whoever did not get in; origin: `ssh 192.0.2.7`, `openssh …`,
    `local`, `host`; key: the fingerprint that was proven, or that was offered in vain
    what: in a few words, such as the refs of a push; verdict: `ok`, or the code of the refusal; why: its message
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
    """At most LONGEST characters of it."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def verdict_of(error: BaseException | None) -> tuple[str, str]:
    """Code and message of what ended the work: `("ok", "")` for None, and `internal` for what is no error of ours."""
    if error is None:
        return OK, ""
    if isinstance(error, SharddError):
        return error.code, shortened(error.message)
    return "internal", shortened(f"{type(error).__name__}: {error}")
