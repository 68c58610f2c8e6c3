"""Moving refs under their locks together with what is stored about leases: all of it, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shardd.core.lease import Tenancy
from shardd.core.names import SpaceRef, classify, lease_ref, space_ref
from shardd.errors import Unavailable
from shardd.storage import intents
from shardd.storage.clock import Mark
from shardd.storage.git import RefMove
from shardd.storage.leases import LeaseStore, Record
from shardd.storage.locks import Lock
from shardd.storage.repository import Repository


@dataclass(frozen=True, slots=True)
class Step:
    """An epoch that begins: what is to be remembered, how its journal moves, and where the log stands meanwhile."""

    record: Record
    mark: Mark
    journal: RefMove
    head: str

    @property
    def space(self) -> str:
        return self.record.tenancy.space


def carry_out(
    repository: Repository,
    store: LeaseStore,
    locks: Sequence[Lock],
    moves: Sequence[RefMove],
    steps: Sequence[Step],
    *,
    journals: Mapping[str, str | None],
) -> None:
    """Store and publish the epochs that begin, and move the refs. journals: where that of each space stands"""
    # Git moves them in this order: no event is ever seen without the epoch that it belongs to.
    moving = [*(step.journal for step in steps), *moves]
    if not moving:
        return
    if not all(lock.is_named() for lock in locks):
        raise Unavailable("a lock file was replaced while it was held", "leave `shardd/locks` in the repo alone")
    before = [(step, store.load(step.space) or Record(Tenancy(step.space))) for step in steps]

    def decided() -> None:
        for step in steps:
            store.save(step.record, step.mark)

    with intents.noted(locks, moving):
        try:
            repository.move_refs(moving, locks=locks, verified=_fence(moves, steps, journals), decided=decided)
        except Unavailable:
            if all(repository.read_ref(move.ref) == move.old for move in moving):
                for step, record in before:
                    store.save(record, step.mark)
                intents.withdraw(locks)
            raise


def _fence(
    moves: Sequence[RefMove], steps: Sequence[Step], journals: Mapping[str, str | None]
) -> dict[str, str | None]:
    """What must stay where it is: the log where an epoch begins, the journal where a log grows."""
    still: dict[str, str | None] = {space_ref(step.space): step.head for step in steps}
    for move in moves:
        if isinstance(ref := classify(move.ref), SpaceRef):
            still[lease_ref(ref.space)] = journals[ref.space]
    for move in [*(step.journal for step in steps), *moves]:
        still.pop(move.ref, None)
    return still
