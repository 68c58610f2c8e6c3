"""Names of spaces, repos, principals and intents; refs; and `REPO/SPACE` addresses.

One shape serves spaces, repos and principals: `[a-z0-9][a-z0-9._-]{0,62}`, no `..`, not ending in `.` or `.lock`.
It is a subset of what git-check-ref-format(1) allows for one component, is its own lower case (so it cannot collide
on a case-folding file system), and never looks like an option.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from shardd.errors import Misuse

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_INTENT = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")

ID_RULE = "lower-case letters, digits, '.', '_', '-', at most 63, no '..', not ending in '.' or '.lock'"

SPACES = "refs/heads/spaces/"
INTENTS = "refs/intents/"
LEASES = "refs/leases/"
NOTES = "refs/notes/"
OURS = (SPACES, INTENTS, LEASES, NOTES, "refs/replace/")
"""Folders whose refs no configuration leaves to git, however they are named."""


def is_id(text: str) -> bool:
    return _ID.match(text) is not None and ".." not in text and not text.endswith((".", ".lock"))


def is_oid(text: str) -> bool:
    return _OID.match(text) is not None


def check_id(kind: str, text: str) -> str:
    """`text` itself if it is a well-formed id, else Misuse. `kind` is the word for the message."""
    if not is_id(text):
        raise Misuse(f"{text!r} is not a {kind} name: {ID_RULE}")
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


@dataclass(frozen=True, slots=True)
class SpaceRef:
    space: str


@dataclass(frozen=True, slots=True)
class IntentRef:
    space: str
    principal: str
    name: str


@dataclass(frozen=True, slots=True)
class LeaseRef:
    space: str


@dataclass(frozen=True, slots=True)
class NotesRef:
    principal: str


@dataclass(frozen=True, slots=True)
class OtherRef:
    """A ref that is none of ours: refused unless a repo's configuration names it."""

    name: str


Ref: TypeAlias = SpaceRef | IntentRef | LeaseRef | NotesRef | OtherRef


def classify(ref: str) -> Ref:
    """What a full ref name stands for. Total: anything unexpected is an OtherRef."""
    if ref.startswith(SPACES) and is_id(ref[len(SPACES) :]):
        return SpaceRef(ref[len(SPACES) :])
    if ref.startswith(LEASES) and is_id(ref[len(LEASES) :]):
        return LeaseRef(ref[len(LEASES) :])
    if ref.startswith(NOTES) and is_id(ref[len(NOTES) :]):
        return NotesRef(ref[len(NOTES) :])
    if ref.startswith(INTENTS):
        parts = ref[len(INTENTS) :].split("/")
        if len(parts) == 3 and is_id(parts[0]) and is_id(parts[1]) and _INTENT.match(parts[2]):
            return IntentRef(*parts)
    return OtherRef(ref)


def space_ref(space: str) -> str:
    return SPACES + space


def lease_ref(space: str) -> str:
    return LEASES + space
