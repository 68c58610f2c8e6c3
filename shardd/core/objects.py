"""Git commit objects as bytes: reading their headers, and naming them.

The layout is git's own (gitformat-commit): header lines, an empty line, the message. A header may continue on lines
that begin with a space. We read bytes and never re-encode them: the oid is a hash over exactly these.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from shardd.errors import BadEvent

_IDENT = re.compile(rb"([^<>\n]*?) ?<([^<>\n]*)> (-?\d{1,19}) ([+-]\d{4})\Z")
_SIGNATURES = (b"gpgsig", b"gpgsig-sha256")
# Where git looks for a header: it sees no parent that stands after the author, and so no log before such a commit.
_PLACES = {b"tree": 0, b"parent": 1, b"author": 2, b"committer": 3, **dict.fromkeys(_SIGNATURES, 4)}
_PARENTS = re.compile(rb"(?:tree [^\n]*\n)?((?:parent [^\n]*\n)*)")

# The hash of the empty tree, for each object format git knows.
EMPTY_TREES = {
    "sha1": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "sha256": "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}
EMPTY_TREE = EMPTY_TREES["sha1"]


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit object, taken apart.

    author, committer: the name as written; author_time: whole seconds since 1970, may be negative
    signed: whether a signature header is present
    """

    tree: str
    parents: tuple[str, ...]
    author: str
    author_time: int
    committer: str
    signed: bool
    message: str


def parse_commit(raw: bytes) -> Commit:
    """The parts of a commit object, or BadEvent naming the part that is malformed or that the log does not take."""
    head, blank, body = raw.partition(b"\n\n")
    if not blank:
        raise BadEvent("commit", "has no message")
    tree = author = committer = b""
    parents: list[str] = []
    signed = False
    in_signature = False
    place = 0
    for line in head.split(b"\n"):
        if line.startswith(b" "):
            if not in_signature:
                raise BadEvent("commit", "a header continues where none may")
            continue
        name, _, value = line.partition(b" ")
        in_signature = name in _SIGNATURES
        if _PLACES.get(name, place) < place:
            raise BadEvent("commit", f"the header {name.decode()!r} stands where git does not look for it")
        place = _PLACES.get(name, place)
        if in_signature:
            signed = True
        elif name == b"parent":
            parents.append(value.decode("ascii", "replace"))
        elif name == b"tree" and not tree:
            tree = value
        elif name == b"author" and not author:
            author = value
        elif name == b"committer" and not committer:
            committer = value
        elif name == b"encoding":
            raise BadEvent(
                "encoding",
                f"the commit is in {value.decode('ascii', 'replace')}; only UTF-8 is taken",
                "run `git config i18n.commitEncoding UTF-8` and amend the commit",
            )
        else:
            raise BadEvent("commit", f"the header {name.decode('ascii', 'replace')!r} has no place in an event")
    who, when = _ident("author", author)
    return Commit(
        tree=tree.decode("ascii", "replace"),
        parents=tuple(parents),
        author=who,
        author_time=when,
        committer=_ident("committer", committer)[0],
        signed=signed,
        message=_text(body),
    )


def parents(raw: bytes) -> list[str]:
    """The parents that a commit names, as parse_commit and git read them, however odd it is otherwise."""
    match = _PARENTS.match(raw)
    return [] if match is None else [line[7:].decode("ascii", "replace") for line in match[1].split(b"\n")[:-1]]


def first_parent(raw: bytes) -> str | None:
    """The first of them; None for a root."""
    return next(iter(parents(raw)), None)


def build_commit(*, tree: str, parent: str | None, author: str, seconds: int, message: str) -> bytes:
    """The bytes of a commit whose author and committer are one and the same, at UTC.

    author: `Name <email>`; seconds: since 1970; message: ends in one newline
    """
    parent_line = f"parent {parent}\n" if parent else ""
    who = f"{author} {seconds} +0000"
    return f"tree {tree}\n{parent_line}author {who}\ncommitter {who}\n\n{message}".encode()


def commit_oid(raw: bytes, *, algorithm: str = "sha1") -> str:
    """The object id git gives these commit bytes."""
    hash = hashlib.sha1 if algorithm == "sha1" else hashlib.sha256
    return hash(b"commit %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest()


def algorithm_of(oid: str) -> str:
    """The hash by which `oid` was made."""
    return "sha1" if len(oid) == 40 else "sha256"


def empty_tree_for(oid: str) -> str:
    """The empty tree in the object format that `oid` belongs to."""
    return EMPTY_TREES[algorithm_of(oid)]


def _ident(field: str, value: bytes) -> tuple[str, int]:
    match = _IDENT.match(value)
    if match is None:
        raise BadEvent(field, "is not `Name <email> seconds zone`")
    return _text(match[1], field), int(match[3])


def _text(raw: bytes, field: str = "message") -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadEvent(field, f"is not UTF-8 (byte {error.start})") from None
