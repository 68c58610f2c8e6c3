"""The error tree. Whoever embeds shardd need catch nothing else.

    SharddError
    ├── Rejected       the answer is no and nothing changed: code, message, remedy
    │   ├── BadEvent   bytes or values that the event format cannot hold: names the field
    │   ├── NotHolder  it is not the caller's turn: carries the lease (this one and the next two: core/refusals.py)
    │   ├── HeadMoved  the log has moved on since the caller looked: carries the current head
    │   ├── StaleEpoch another epoch has begun, or none was named: carries the current one
    │   ├── TooLarge   a commit is over the limit: carries its size (core/limits.py)
    │   └── Misuse     a word, name or file that a person gave is not one: exit status 2
    ├── Unavailable    nobody could answer just now; trying again may help: carries ids
    └── Corrupt        what is stored breaks a rule; needs an operator
        └── Damaged    a log, at one commit: names the commit and the rule

Every error has a `message` (what is wrong) and a `remedy` (what mends it, perhaps empty). A remedy names our own
commands as `shardd …` in backquotes; `seen_from` rewrites them for whoever reads the text over another way in.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


# Those that the server takes from nobody over ssh, and those that are for the user's side alone.
HOST_COMMANDS = frozenset({"serve", "backup", "restore", "doctor"})
CLIENT_COMMANDS = frozenset({"setup", "init", "demo", "completion"})
_COMMAND = re.compile("`shardd (?P<command>[a-z-]+)(?P<rest>[^`]*)`")


class SharddError(Exception):
    """Root of the tree; never raised itself."""

    exit_status: ClassVar[int] = 1
    code = "error"

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self._words = message, remedy

    @property
    def message(self) -> str:
        return self.words()[0]

    @property
    def remedy(self) -> str:
        return self.words()[1]

    def words(self) -> tuple[str, str]:
        """Message and remedy. What carries data makes them from these."""
        return self._words

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message

    def seen_from(self, reach: str) -> str:
        """The remedy, with `shardd …` replaced by the command prefix that works for this reader.

        A command that works in one place only is left as it is, with the place.
        """

        def called(found: re.Match[str]) -> str:
            command, rest = found["command"], found["rest"]
            if command in HOST_COMMANDS and reach.startswith("ssh"):
                return f"`shardd {command}{rest}` on the server's host"
            return f"`{'shardd' if command in CLIENT_COMMANDS else reach} {command}{rest}`"

        return _COMMAND.sub(called, self.remedy)

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions rebuild from `args` by default, which drops every field but the message.
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(kind: type[SharddError], args: tuple[object, ...], fields: dict[str, object]) -> SharddError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class Rejected(SharddError):
    """A clear no. `code` is stable and is meant for programs."""

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.code = code


class BadEvent(Rejected):
    """The event format cannot hold this. `field` names the part: `subject`, `data`, `Seq`, …

    where: which of many events it is, such as `line 7`; empty where there is but one
    """

    def __init__(self, field: str, message: str, remedy: str = "", *, code: str = "bad-event", where: str = "") -> None:
        super().__init__(code, f"{where}: {field}: {message}" if where else f"{field}: {message}", remedy)
        self.field = field
        self.where = where
        self.detail = message

    def at(self, where: str, *, field: str = "") -> BadEvent:
        """The same about the event `where`. field: how the part is called there"""
        return BadEvent(field or self.field, self.detail, self.remedy, code=self.code, where=where)


class Misuse(Rejected):
    """What was asked is not well formed: a bad name, an unknown word, an unreadable file."""

    exit_status = 2

    def __init__(self, message: str, remedy: str = "", *, code: str = "usage") -> None:
        super().__init__(code, message, remedy)


class Unavailable(SharddError):
    """No answer could be had. It is unknown whether anything changed; retry with the same ids.

    ids: of the events that may or may not have been appended, where the caller may not know them
    """

    exit_status = 3
    code = "unavailable"

    def __init__(self, message: str, remedy: str = "", *, ids: Sequence[str] = ()) -> None:
        super().__init__(message, remedy)
        self.ids = tuple(ids)


class Corrupt(SharddError):
    """Stored bytes break a rule. Nothing was changed by finding out."""

    exit_status = 4
    code = "corrupt"


class Damaged(Corrupt):
    """A log is broken at the commit `oid`, which stands at or after `seq`. rule: see core/log_check.py"""

    def __init__(self, rule: str, seq: int | None, oid: str, message: str, remedy: str = "") -> None:
        super().__init__(f"{rule}: commit {oid[:12]}: {message}", remedy)
        self.rule = rule
        self.seq = seq
        self.oid = oid
        self.detail = message
