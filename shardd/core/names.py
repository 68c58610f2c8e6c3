"""Names of spaces, repos, principals and intents, object ids, and `REPO/SPACE` addresses.

One shape serves spaces, repos and principals: `[a-z0-9][a-z0-9._-]{0,62}`, no `..`, not ending in `.` or `.lock`.
It is a subset of what git-check-ref-format(1) allows for one component, is its own lower case (so it cannot collide
on a case-folding file system), and never looks like an option.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from shardd.errors import Misuse

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_INTENT = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")

ID_RULE = "lower-case letters, digits, '.', '_', '-', at most 63, no '..', not ending in '.' or '.lock'"


def is_id(text: str) -> bool:
    return _ID.match(text) is not None and ".." not in text and not text.endswith((".", ".lock"))


def is_intent(text: str) -> bool:
    """Whether it may be the name of an intent."""
    return _INTENT.match(text) is not None


def is_oid(text: str) -> bool:
    return _OID.match(text) is not None


def check_id(kind: str, text: str) -> str:
    """`text` itself if it is a well-formed id, else Misuse. `kind` is the word for the message."""
    if not is_id(text):
        raise Misuse(f"{text!r} is not a {kind} name: {ID_RULE}")
    return text


_DEVICES = frozenset(
    ("aux", "con", "nul", "prn", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10)))
)
"""What Windows takes for a device in any folder, whatever extension follows."""


def check_new(kind: str, text: str) -> str:
    """Like check_id, of a name that is given for the first time: also where a clone is made on Windows it must be one.

    What has such a name already goes on.
    """
    if check_id(kind, text).partition(".")[0] in _DEVICES:
        device = text.partition(".")[0]
        raise Misuse(
            f"{text!r} cannot be the name of a {kind}: on Windows {device} is a device, and no clone could hold it",
            "choose another name",
        )
    return text


def check_space(text: str) -> str:
    return check_id("space", text)


def check_principal(text: str) -> str:
    return check_id("principal", text)


def check_repo(text: str) -> str:
    """A repo name; `.git` is what the address adds, so the name itself may not end in it."""
    if text.endswith(".git"):
        raise Misuse(f"{text!r} is not a repo name: leave out the '.git'")
    return check_id("repo", text)


@dataclass(frozen=True, slots=True)
class Address:
    """A space in a repo, written `REPO/SPACE`."""

    repo: str
    space: str

    def __str__(self) -> str:
        return f"{self.repo}/{self.space}"

    @classmethod
    def parse(cls, text: str) -> Address:
        repo, slash, space = text.partition("/")
        if not slash:
            raise Misuse(f"{text!r} does not name a space: write REPO/SPACE, like garden/whynot")
        return cls(check_repo(repo), check_space(space))
