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

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from shardd.core.refs import Change, LeaseRef
from shardd.storage.durable import sync_directories
from shardd.storage.locks import Lock

if TYPE_CHECKING:
    from shardd.storage.repository import Repository


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
    intent = Intent(os.urandom(8).hex(), whole, [lock.name for lock in locks], list(moves))
    raw = msgspec.json.encode(intent)
    for lock in locks:
        lock.write(raw, durable=whole)
    if whole:
        sync_directories({lock.path.parent for lock in locks})
    yield
    for lock in locks:
        lock.write(b"", durable=whole)


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
            at = {move: repository.read_ref(move.ref) for move in intent.moves}
            left = [move for move, oid in at.items() if oid == move.old]
            if 0 < len(left) < len(at):
                repository.move_refs(left, locks=locks)
        repository.sync_refs(intent.moves)
    for lock in locks:
        if lock.name in found or lock.read():
            lock.write(b"", durable=True)


def _read(lock: Lock) -> Intent | None:
    """None also for half of a record: a power failure tore it before it was synced, and so before any ref moved."""
    raw = lock.read()
    try:
        return msgspec.json.decode(raw, type=Intent) if raw else None
    except msgspec.DecodeError:
        return None
