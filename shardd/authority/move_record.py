"""What a holder of locks is about to move, written into the lock files while it does, and empty at all other times.

Whoever takes a lock next and finds something there knows that its last holder did not come to the end: it was killed,
or its disk failed. Before it does or answers anything, `settle` puts on disk what may have been moved and not synced,
so that no answer is given from what a power failure could still take away.

Git moves several refs one after the other, and a killed git some of them. Where that may not be, the record is synced
before the first ref moves; it counts while every lock of the move holds it, and is taken away, on disk as well, when
all refs have moved. A move that was begun is finished, under all of its locks; one of which nothing has happened yet
is dropped: nobody was told that it had.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from shardd.core.names import is_id
from shardd.core.refs import Change, LeaseRef, lease_ref, lock_of, space_ref
from shardd.errors import Unavailable
from shardd.files.durable import sync_directories
from shardd.files.space_locks import Lock, locked

if TYPE_CHECKING:
    from shardd.git.repository import Repository


log = logging.getLogger("shardd.push")


class Intent(msgspec.Struct, frozen=True):
    """id: no two have the same; whole: several refs, all or none"""

    id: str
    whole: bool
    locks: list[str]
    moves: list[Change]


@contextmanager
def noted(locks: Sequence[Lock], moves: Sequence[Change]) -> Iterator[None]:
    """Move them, and sync what they need, in this block."""
    # An epoch that has begun and no event of it is no half push: a journal moves first and needs no record.
    whole = sum(not isinstance(move.parsed, LeaseRef) for move in moves) > 1
    # Names are bytes, and JSON is text: each byte as the character of that number.
    named = [replace(move, ref=move.ref.encode("utf-8", "surrogateescape").decode("latin-1")) for move in moves]
    intent = Intent(os.urandom(8).hex(), whole, [lock.name for lock in locks], named)
    raw = msgspec.json.encode(intent)
    for lock in locks:
        lock.write(raw, durable=whole)
    if whole:
        sync_directories({lock.path.parent for lock in locks})
    yield
    try:
        for lock in locks:
            lock.write(b"", durable=whole)
    except Unavailable as error:
        # All has moved and is on disk: a no would be untrue. Whoever takes the lock next finds that, and clears it.
        log.warning("a record of what has moved stays until the next call: %s", error.message)


def withdraw(locks: Sequence[Lock]) -> None:
    """Of what these locks say was to move, nothing has, and nothing is to."""
    for lock in locks:
        lock.write(b"", durable=True)


@contextmanager
def settled(repository: Repository, names: set[str]) -> Iterator[list[Lock]]:
    """These locks, and those of the moves that their last holders left half done; which then are finished."""
    while True:
        with locked(repository.locks, names) as locks:
            more = others(locks)
            if not more:
                settle(repository, locks)
                yield locks
                return
        names = names | more


def others(locks: Sequence[Lock]) -> set[str]:
    """The names of the further locks that it takes to settle what was left in these."""
    return {name for lock in locks if (intent := _read(lock)) and intent.whole for name in intent.locks} - {
        lock.name for lock in locks
    }


def settle(repository: Repository, locks: Sequence[Lock]) -> None:
    """Bring to its end what the last holders of these locks have left, all that `others` names being held as well."""
    found = {lock.name: intent for lock in locks if (intent := _read(lock)) is not None}
    for intent in {intent.id: intent for intent in found.values()}.values():
        if intent.whole and all(name in found and found[name].id == intent.id for name in intent.locks):
            left = _left(repository, intent)
            if left:
                repository.move_refs(left, locks=locks)
        repository.sync_refs(intent.moves)
    if found:
        spaces = [lock.name for lock in locks if is_id(lock.name)]
        moved = {move.ref for intent in found.values() for move in intent.moves if lock_of(move.parsed) in found}
        repository.clear_locks({*moved, *map(space_ref, spaces), *map(lease_ref, spaces)})
    for lock in locks:
        if lock.name in found or lock.read():
            lock.write(b"", durable=True)


def _left(repository: Repository, intent: Intent) -> list[Change]:
    """The moves that are still to be made; none where none was made.

    One that others have moved elsewhere does not count: it is what refused this move, and not a part of it. Nor is made
    what some git has cleaned away in the meantime: that would stop its space for ever.
    """
    at = {move: repository.read_ref(move.ref) for move in intent.moves}
    if all(oid != move.new for move, oid in at.items()):
        return []
    left = [move for move, oid in at.items() if oid == move.old]
    gone = [move for move in left if move.new is not None and not repository.has(move.new)]
    for move in gone:
        log.error("a push into %s was cut off, and what it began cannot be finished: %s", repository.path, move)
    return [move for move in left if move not in gone]


def _read(lock: Lock) -> Intent | None:
    return _parsed(lock.read())


def _parsed(raw: bytes) -> Intent | None:
    """None also for half of a record: a power failure tore it before it was synced, and so before any ref moved."""
    try:
        intent = msgspec.json.decode(raw, type=Intent) if raw else None
    except msgspec.DecodeError:
        return None
    if intent is None:
        return None
    moves = [replace(move, ref=move.ref.encode("latin-1").decode("utf-8", "surrogateescape")) for move in intent.moves]
    return msgspec.structs.replace(intent, moves=moves)
