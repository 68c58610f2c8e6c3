"""Reading a space's log out of any repository, bare or clone, without writing a thing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from shardd.core.codec import decode_event, decode_genesis
from shardd.core.event import Event, Head
from shardd.errors import BadEvent, Corrupt
from shardd.storage.repository import NEAR, Repository, first_parent

_SEQ = re.compile(rb"\n\nSeq: (-?\d{1,16})(?:\n|\Z)|\nSeq: (\d{1,16})(?:\n|\Z)")


def head_at(repository: Repository, oid: str) -> Head:
    """The head that the commit `oid` is: its number counted from the last commit that names one.

    Corrupt if the history ends before one does (a shallow clone, or no log at all).
    """
    steps = 0
    at: str | None = oid
    while at is not None and steps < NEAR:
        raw = repository.commit(at)
        said = _said_seq(raw)
        if said is not None:
            return Head(said + steps, oid)
        at = first_parent(raw)
        steps += 1
    # A long stretch of commits without numbers: git finds the last numbered one faster.
    found = repository.git.run("log", "-1", "--first-parent", "--format=%H", "--grep=^Seq: ", oid).decode().strip()
    said = _said_seq(repository.commit(found)) if found else None
    if said is None:
        raise Corrupt(
            f"no commit behind {oid[:12]} is numbered", "run `git fetch --unshallow` if this is a shallow clone"
        )
    return Head(said + int(repository.git.run("rev-list", "--count", "--first-parent", f"{found}..{oid}")), oid)


def events(repository: Repository, space: str, oid: str, *, after: int | None = None) -> Iterator[Event]:
    """The events up to the commit `oid`, those with seq up to `after` left out. Corrupt where one does not read."""
    if after is None:
        return _decoded(repository.history(oid), space, None)
    head = head_at(repository, oid)
    missing = head.seq - after
    if missing <= 0:
        return iter(())
    # Numbers are dense but for the gaps of an import, so the events wanted are among the last `missing` commits.
    if missing <= NEAR:
        commits, _ = repository.chain(oid, None, at_most=missing)
        source: Iterator[tuple[str, bytes]] = iter(commits)
    else:
        source = repository.git.commits(oid, newest=missing)
    return (event for event in _decoded(source, space, head.seq - missing) if event.seq > after)


def _decoded(commits: Iterator[tuple[str, bytes]], space: str, seq: int | None) -> Iterator[Event]:
    for oid, raw in commits:
        try:
            if first_parent(raw) is None:
                seq = decode_genesis(raw, space)
                continue
            if seq is None:
                raise BadEvent("history", "does not begin with a genesis; run `git fetch --unshallow` if it is shallow")
            event = decode_event(raw, oid=oid, parent_seq=seq)
        except BadEvent as error:
            raise Corrupt(
                f"the commit {oid[:12]} of {space} is no event: {error.message}", "run `shardd verify`"
            ) from None
        seq = event.seq
        yield event


def _said_seq(raw: bytes) -> int | None:
    """The number that a commit names. Only in its last paragraph: a body may hold such a line within its JSON."""
    last = raw.rstrip(b"\n").rpartition(b"\n\n")
    match = _SEQ.search(b"\n\n" + last[2] + b"\n")
    return int(match[1] or match[2]) if match else None
