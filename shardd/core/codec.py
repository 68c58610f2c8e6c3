"""An event is a commit; this is the only place that knows how one becomes the other.

    <type>[: <subject>]
                                    (absent when the data is {})
    <one JSON object>

    Seq: 42
    Event-Id: 0197732c-5a00-7c3e-9b1d-2f6a0c9d1e11
    Actor: alice
    Time: 2026-06-15T10:00:00.123456Z
    Lease-Epoch: 7                  (or Source-Epoch, of an imported event)

Two kinds of bytes exist:

- *Canonical*, what `encode_event` writes: a function of (draft, parent, seq, epoch) alone. So whoever sequences an
  event, and however often, arrives at one oid: a retry after a lost answer is recognised, two imports prove each other.
- *Accepted*, what a person commits: any author, date, zone, signature and JSON layout, and any trailer left out. What
  is left out follows from the commit: Seq from the parent, Event-Id is the oid, Time the author date, Actor the author.

The last paragraph is trailers if its first line looks like one; JSON never does, its lines begin with a brace, a
bracket, a quote or a literal. Trailers are parsed here and not by git-interpret-trailers(1), which trims values and
obeys the user's configuration.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from shardd.core.canonical import Json, decode_data, encode_data
from shardd.core.event import (
    MAX_SEQ,
    Draft,
    Event,
    check_actor,
    check_event_id,
    check_seq,
    check_subject,
    check_type,
    format_time,
    from_unix,
    parse_time,
    unix_seconds,
)
from shardd.core.names import is_id
from shardd.core.objects import (
    EMPTY_TREE,
    Commit,
    algorithm_of,
    build_commit,
    commit_oid,
    empty_tree_for,
    parse_commit,
)
from shardd.errors import BadEvent

_TRAILER = re.compile(r"([A-Za-z][A-Za-z0-9-]*): ?(.*)\Z", re.DOTALL)
_IDENTITY = re.compile(r"[^<>\n]+ <[^<>\n]*>\Z")
_OURS = ("Seq", "Event-Id", "Actor", "Time", "Lease-Epoch", "Source-Epoch")
_IGNORED = ("signed-off-by", "co-authored-by")
_BELOW_A_PATCH = re.compile(r"\n-- ?\n")
"""Between a patch and its signature, both by git-format-patch(1); where no file changes, git-am(1) keeps the two."""

# The layout that encode_event writes, and no other. It is matched first: one pass takes such a commit apart.
_CANONICAL = re.compile(
    r"tree ([0-9a-f]{40}|[0-9a-f]{64})\nparent ([0-9a-f]{40}|[0-9a-f]{64})\n"
    r"author ([^<>\n]*?) ?<[^<>\n]*> [0-9]{1,12} \+0000\ncommitter [^<>\n]*<[^<>\n]*> [0-9]{1,12} \+0000\n\n"
    r"([A-Za-z0-9][A-Za-z0-9._/-]{0,99})(?:: ([^\n]+))?\n\n(?:(\{[^\n]*\})\n\n)?"
    r"Seq: (0|[1-9][0-9]{0,15})\nEvent-Id: ([\x21-\x7e]{1,128})\nActor: ([^\n]+)\n"
    r"Time: ((?:19[7-9]|[2-9][0-9]{2})[0-9]-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}\.[0-9]{6}Z)\n"
    r"(?:Lease-Epoch: (0|[1-9][0-9]{0,15})\n)?(?:Source-Epoch: (0|[1-9][0-9]{0,15})\n)?\Z"
)

GENESIS_IDENTITY = "shardd <shardd@shardd>"


def genesis(space: str, *, seq: int = 0, tree: str = EMPTY_TREE) -> bytes:
    """A space's first commit: the same bytes everywhere. seq: 0, or one before the first number of an import."""
    return build_commit(
        tree=tree,
        parent=None,
        author=GENESIS_IDENTITY,
        seconds=0,
        message=f"space.created: {space}\n\nSeq: {seq}\n",
    )


def genesis_oid(space: str, *, seq: int = 0, like: str = "0" * 40) -> str:
    """The object id of a space's first commit, in the object format of the id `like`."""
    return commit_oid(genesis(space, seq=seq, tree=empty_tree_for(like)), algorithm=algorithm_of(like))


def decode_genesis(raw: bytes, space: str) -> int:
    """The seq before the first event's, or BadEvent unless these are exactly a genesis of this space."""
    commit = parse_commit(raw)
    if commit.parents:
        raise BadEvent("parent", "a genesis has none")
    seq = check_seq("Seq", commit.message.rpartition("\n\nSeq: ")[2].removesuffix("\n"), lowest=-1)
    if raw != genesis(space, seq=seq, tree=commit.tree) or commit.tree not in (EMPTY_TREE, empty_tree_for("0" * 64)):
        raise BadEvent("genesis", f"is not the first commit of the space {space}")
    return seq


def identity(actor: str) -> str:
    """`Name <email>` for an actor, such that git-fsck(1) takes it and the same actor always gets the same."""
    if is_id(actor):
        return f"{actor} <{actor}@shardd>"
    if _IDENTITY.match(actor):
        return actor
    name = "actor-" + hashlib.sha256(actor.encode()).hexdigest()[:16]
    return f"{name} <{name}@shardd>"


def encode_event(
    draft: Draft, *, parent: str, seq: int, epoch: int | None = None, source_epoch: int | None = None
) -> bytes:
    """The canonical commit bytes of `draft` as event `seq` on `parent`."""
    subject = draft.type if draft.subject is None else f"{draft.type}: {draft.subject}"
    data = encode_data(draft.data).decode()
    body = "" if data == "{}" else f"{data}\n\n"
    epochs = "" if epoch is None else f"Lease-Epoch: {epoch}\n"
    if source_epoch is not None:
        epochs += f"Source-Epoch: {source_epoch}\n"
    return build_commit(
        tree=empty_tree_for(parent),
        parent=parent,
        author=identity(draft.actor),
        seconds=unix_seconds(draft.time),
        message=f"{subject}\n\n{body}Seq: {seq}\nEvent-Id: {draft.id}\nActor: {draft.actor}\n"
        f"Time: {format_time(draft.time)}\n{epochs}",
    )


@dataclass(frozen=True, slots=True)
class Written:
    """What an event's commit says in so many words: None where the writer left it to be derived.

    `parents` and `signed` are the commit's own; everything else has been checked field by field.
    """

    event: Event
    parents: tuple[str, ...]
    author: str
    signed: bool
    said_seq: int | None
    said_actor: str | None

    def after(self, parent_seq: int) -> Event:
        """The event as the one after `parent_seq`, whatever it was read as."""
        return self.event if self.said_seq is not None else replace(self.event, seq=parent_seq + 1)


def decode_event(raw: bytes, *, oid: str, parent_seq: int) -> Event:
    """The event that these commit bytes hold, as the one after `parent_seq`; BadEvent if they hold none."""
    return read_event(raw, oid=oid, parent_seq=parent_seq).event


def read_event(raw: bytes, *, oid: str, parent_seq: int) -> Written:
    """Like decode_event, and what was said as against derived: the rules of a push need to know."""
    if b"\r" in raw:
        raise BadEvent("message", "holds a carriage return", "write it with LF line ends")
    return _read_canonical(raw, oid) or _read_accepted(raw, oid, parent_seq)


class Skimmed(NamedTuple):
    """What says where an event stands and which one it is; the rest was checked as well, and dropped."""

    parents: tuple[str, ...]
    seq: int
    id: str
    epoch: int | None
    signed: bool


def skim(raw: bytes, *, oid: str, parent_seq: int) -> Skimmed:
    """Accepts what read_event accepts, in half the time."""
    found = _fields(raw, oid) if b"\r" not in raw else None
    if found is not None:
        return Skimmed((found.parent,), found.seq, found.id, found.epoch, False)
    written = read_event(raw, oid=oid, parent_seq=parent_seq)
    return Skimmed(written.parents, written.event.seq, written.event.id, written.event.epoch, written.signed)


class _Fields(NamedTuple):
    parent: str
    author: str
    kind: str
    subject: str | None
    data: dict[str, Json]
    seq: int
    id: str
    actor: str
    time: datetime
    epoch: int | None
    source_epoch: int | None


def _fields(raw: bytes, oid: str) -> _Fields | None:
    """What a commit in canonical layout says; None where it is in another, or breaks a rule.

    Then _read_accepted reads it in its own time, and it alone says what is wrong.
    """
    try:
        match = _CANONICAL.match(raw.decode())
        if match is None:
            return None
        tree, parent, author, kind, about, body, seq, id, actor, when, epoch, source_epoch = match.groups()
        found = _Fields(
            parent,
            author,
            kind,
            None if about is None else check_subject(about),
            {} if body is None else decode_data(body),
            int(seq),
            id,
            check_actor(actor),
            datetime.fromisoformat(when),
            None if epoch is None else int(epoch),
            None if source_epoch is None else int(source_epoch),
        )
    except (ValueError, BadEvent):  # not UTF-8, no such day, or a field that breaks its rule
        return None
    if tree != empty_tree_for(oid) or (epoch is not None and source_epoch is not None):
        return None
    return found if max(found.seq, found.epoch or 0, found.source_epoch or 0) <= MAX_SEQ else None


def _read_canonical(raw: bytes, oid: str) -> Written | None:
    """Like _read_accepted; None where _fields is."""
    found = _fields(raw, oid)
    if found is None:
        return None
    event = Event(
        seq=found.seq,
        oid=oid,
        id=found.id,
        type=found.kind,
        subject=found.subject,
        actor=found.actor,
        time=found.time,
        data=found.data,
        epoch=found.epoch,
        source_epoch=found.source_epoch,
    )
    return Written(event, (found.parent,), found.author, False, found.seq, found.actor)


def _read_accepted(raw: bytes, oid: str, parent_seq: int) -> Written:
    commit = parse_commit(raw)
    if commit.tree not in (EMPTY_TREE, empty_tree_for(oid)):
        raise BadEvent(
            "tree",
            "an event has no files",
            "take them out: `git rm -rq --cached .`, then `git commit --amend --allow-empty`",
        )
    if _BELOW_A_PATCH.search(commit.message):
        raise BadEvent(
            "patch",
            "the signature of a patch stands below the event",
            "make patches with `git format-patch --always --no-signature`",
        )
    subject_line, body, trailers = _split(commit.message)
    kind, colon, about = subject_line.partition(": ")
    said_seq = check_seq("Seq", trailers["Seq"]) if "Seq" in trailers else None
    said_actor = check_actor(trailers["Actor"]) if "Actor" in trailers else None
    epoch = _epoch("Lease-Epoch", trailers)
    source_epoch = _epoch("Source-Epoch", trailers)
    if epoch is not None and source_epoch is not None:
        raise BadEvent("Source-Epoch", "an imported event carries no Lease-Epoch beside it")
    event = Event(
        seq=parent_seq + 1 if said_seq is None else said_seq,
        oid=oid,
        id=check_event_id(trailers["Event-Id"]) if "Event-Id" in trailers else oid,
        type=check_type(kind),
        subject=check_subject(about) if colon else None,
        actor=said_actor if said_actor is not None else _author(commit),
        time=parse_time(trailers["Time"]) if "Time" in trailers else from_unix(commit.author_time),
        data=decode_data(body) if body else {},
        epoch=epoch,
        source_epoch=source_epoch,
    )
    return Written(event, commit.parents, commit.author, commit.signed, said_seq, said_actor)


def is_canonical(raw: bytes, event: Event, parent: str) -> bool:
    """Whether these are the bytes that shardd itself would have written for the event."""
    return raw == encode_event(
        event.draft(), parent=parent, seq=event.seq, epoch=event.epoch, source_epoch=event.source_epoch
    )


def _author(commit: Commit) -> str:
    try:
        return check_actor(commit.author)
    except BadEvent as error:
        raise BadEvent(
            "author", error.message.removeprefix("Actor: "), "run `git config user.name NAME` and amend the commit"
        ) from None


def _epoch(name: str, trailers: dict[str, str]) -> int | None:
    return check_seq(name, trailers[name]) if name in trailers else None


def _split(message: str) -> tuple[str, str, dict[str, str]]:
    """Subject line, body (perhaps empty) and our trailers."""
    subject, _, rest = message.partition("\n")
    rest = rest.rstrip("\n")
    if not rest:
        return subject, "", {}
    if not rest.startswith("\n"):
        raise BadEvent("subject", "is longer than one line", "leave an empty line between subject and data")
    body, _, last = rest.rpartition("\n\n")
    if not _TRAILER.match(last.lstrip("\n").partition("\n")[0]):
        return subject, rest.strip("\n"), {}
    return subject, body.strip("\n"), _trailers(last.lstrip("\n"))


def _trailers(paragraph: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in paragraph.split("\n"):
        match = _TRAILER.match(line)
        if match is None:
            raise BadEvent("trailers", f"{line[:60]!r} is not `Name: value`")
        name, value = match[1], match[2]
        if name in _OURS:
            if name in found:
                raise BadEvent(name, "stands twice")
            found[name] = value
        elif name.lower() not in _IGNORED:
            raise BadEvent("trailers", f"{name!r} is not one of {', '.join(_OURS)}, Signed-off-by, Co-authored-by")
    return found
