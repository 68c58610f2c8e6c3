"""Reading a space's log out of any repository, bare or clone, without writing a thing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from shardd.core.codec import decode_event, decode_genesis, read_event
from shardd.core.event import Event, Head
from shardd.core.objects import first_parent
from shardd.core.part import Part
from shardd.errors import BadEvent, Corrupt
from shardd.git.repository import NEAR, Repository

_MOST = 2**31 - 1  # commits that git can be asked for
_STRETCH = NEAR - 1  # events that are read first, of those that are wanted; in this process
_LONGEST_STRETCH = 16_384
_BEFORE_ALL = -2  # no number is as low
_CANDIDATES = 500  # commits that may name their number, looked at in one go


class Known(Protocol):
    """What somebody has noted of a space. Each may know nothing."""

    def seq(self, id: str, oid: str) -> int | None:
        """The number of the commit `oid`, whose event is `id`."""
        ...

    def stand(self) -> Head | None:
        """Some commit of the log, or of another one."""
        ...


def head_at(repository: Repository, space: str, oid: str, *, known: Known | None = None) -> Head:
    """The head of `space` that the commit `oid` is: its number counted from the last commit whose number is known.

    Corrupt if the history ends before there is one (a shallow clone, or no log at all).
    """
    steps = 0
    at: str | None = oid
    while at is not None and steps < NEAR:
        raw = repository.commit(at)
        seq, id = _named(raw, at, space)
        if seq is None and known is not None:
            seq = known.seq(id, at)
        if seq is not None:
            return Head(seq + steps, oid)
        at = first_parent(raw)
        steps += 1
    return _far_head(repository, space, oid, known.stand() if known is not None else None)


def _far_head(repository: Repository, space: str, oid: str, stand: Head | None) -> Head:
    """The same by git, which is faster where a long stretch of commits has no numbers."""
    if stand is not None and not (repository.has(stand.oid) and repository.git.is_ancestor(stand.oid, oid)):
        stand = None
    bounds = [] if stand is None else [f"^{stand.oid}"]
    at, skip = stand, 0
    # Git finds the word at the beginning of any line; only where the codec reads it does it say the number.
    words = ("--first-parent", "--format=%H", "--basic-regexp", "--grep=^Seq:", oid, *bounds, "--")
    while found := repository.git.run("log", f"--skip={skip}", f"--max-count={_CANDIDATES}", *words).decode().split():
        said = ((_named(repository.commit(each), each, space)[0], each) for each in found)
        at = next((Head(seq, each) for seq, each in said if seq is not None), at)
        if at != stand:
            break
        skip += len(found)
    if at is None:
        if repository.shallow:
            raise repository.broken_off(oid)
        raise Corrupt(f"no commit behind {oid[:12]} is numbered", "run `shardd verify`")
    return Head(at.seq + int(repository.git.run("rev-list", "--count", "--first-parent", f"{at.oid}..{oid}")), oid)


def _named(raw: bytes, oid: str, space: str) -> tuple[int | None, str]:
    """The number that a commit names, if it does, and the id of its event."""
    try:
        if first_parent(raw) is None:
            return decode_genesis(raw, space), ""
        written = read_event(raw, oid=oid, parent_seq=0)
    except BadEvent as error:
        raise _no_event(oid, space, error) from None
    return written.said_seq, written.event.id


def _no_event(oid: str, space: str, error: BadEvent) -> Corrupt:
    return Corrupt(f"the commit {oid[:12]} of {space} is no event: {error.message}", "run `shardd verify`")


class Places(Protocol):
    """Where the events of a log stand that somebody has noted, proven to be of this very log."""

    def after(self, seq: int, count: int) -> Head | None:
        """The event so many places after a number, or the last one noted after it; None if none is."""
        ...

    def up_to(self, seq: int) -> Head | None:
        """The last event that has no higher number, if one after it is noted too; else None."""
        ...


def events(
    repository: Repository, space: str, oid: str, part: Part | None = None, *, places: Places | None = None
) -> Iterator[Event]:
    """Events up to the commit `oid`. Corrupt where one does not read."""
    part = part or Part()
    if part.reverse:
        top = places.up_to(part.until) if places is not None and part.until is not None else None
        top = top or head_at(repository, space, oid)
        return part.of(_back(repository, space, top))
    if places is not None:
        return part.of(_in_stretches(repository, space, oid, part.after, places))
    return part.of(_onwards(repository, space, oid, part.after))


def _onwards(repository: Repository, space: str, oid: str, after: int | None) -> Iterator[Event]:
    """Those after a number, up to the commit: what comes before the first of them is not read."""
    if after is None:
        return _decoded(repository, repository.history(oid), space, None)
    head = head_at(repository, space, oid)
    missing = head.seq - after
    if missing <= 0:
        return iter(())
    # Numbers are dense but for the gaps of an import, so the events wanted are among the last `missing` commits.
    commits = _last(repository, oid, missing)
    return (event for event in _decoded(repository, commits, space, head.seq - missing) if event.seq > after)


def _in_stretches(repository: Repository, space: str, oid: str, after: int | None, places: Places) -> Iterator[Event]:
    """The same: a stretch up to a place that is known, and each twice as long as the one before."""
    at, length = after, _STRETCH
    while (top := places.after(_BEFORE_ALL if at is None else at, length)) is not None:
        found = list(_decoded(repository, _last(repository, top.oid, length + 1), space, top.seq - length - 1))
        yield from (event for event in found if at is None or event.seq > at)
        at, length = top.seq, min(2 * length, _LONGEST_STRETCH)
    yield from _onwards(repository, space, oid, at)


def _back(repository: Repository, space: str, top: Head) -> Iterator[Event]:
    """All up to `top`, the newest first."""
    at: str | None = top.oid
    seq, length = top.seq, _STRETCH
    while at is not None:
        commits = list(_last(repository, at, length))
        found = list(_decoded(repository, iter(commits), space, seq - len(commits)))
        yield from reversed(found)
        at = first_parent(commits[0][1])
        seq = found[0].seq - 1 if found else seq
        length = min(2 * length, _LONGEST_STRETCH)


def _last(repository: Repository, oid: str, count: int) -> Iterator[tuple[str, bytes]]:
    """The last commits up to this one, oldest first."""
    if count <= NEAR:
        commits, _ = repository.chain(oid, None, at_most=count)
        return iter(commits)
    return repository.git.commits(oid, newest=min(count, _MOST))


def _decoded(
    repository: Repository, commits: Iterator[tuple[str, bytes]], space: str, seq: int | None
) -> Iterator[Event]:
    for oid, raw in commits:
        try:
            if first_parent(raw) is None:
                seq = decode_genesis(raw, space)
                continue
            if seq is None and repository.shallow:
                raise repository.broken_off(oid)
            if seq is None:
                raise BadEvent("history", "does not begin with a genesis")
            event = decode_event(raw, oid=oid, parent_seq=seq)
        except BadEvent as error:
            raise _no_event(oid, space, error) from None
        seq = event.seq
        yield event
