"""A log taken over whole from elsewhere: its numbers, ids, times and actors stay, and become one chain of commits.

The bytes follow from the events and the space's name alone, so two independent imports of one log arrive at one head.
The chain begins with a genesis that is numbered one before the first event. An imported event carries no Lease-Epoch,
since no lease of the new place covers it; the epoch that it had is kept as Source-Epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shardd.core.codec import encode_event, genesis
from shardd.core.event import Event, Head
from shardd.core.jsonl import Numbered
from shardd.core.limits import Limits
from shardd.core.objects import commit_oid
from shardd.core.taken_types import Takes
from shardd.errors import BadEvent, Misuse


@dataclass(frozen=True, slots=True)
class Placed:
    """One commit of the chain: the genesis, which has no id, or an event. where: see Numbered"""

    seq: int
    id: str | None
    oid: str
    raw: bytes
    where: str = ""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import came to. events: how many; head: where the log stands, or would stand after a dry run"""

    events: int
    head: Head


def chain(
    space: str, events: Iterable[Numbered], *, keep_gaps: bool = False, limits: Limits | None = None
) -> Iterator[Placed]:
    """The genesis and the events, oldest first. BadEvent where they are out of order, or larger than the limits.

    keep_gaps: numbers may be left out, as in a log that was numbered across spaces
    Whether two events have one id is for whoever stores them to notice.
    """
    limits = limits or Limits()
    before: Placed | None = None
    for each in events:
        if before is None:
            raw = genesis(space, seq=each.seq - 1)
            before = Placed(each.seq - 1, None, commit_oid(raw), raw)
            yield before
        if each.seq <= before.seq or (each.seq > before.seq + 1 and not keep_gaps):
            raise _misplaced(each, before.seq)
        raw = encode_event(each.draft, parent=before.oid, seq=each.seq, source_epoch=each.epoch)
        if len(raw) > limits.commit_bytes:
            raise BadEvent(
                "data",
                f"the event has {len(raw)} bytes; {limits.commit_bytes} are allowed",
                "raise max-commit-bytes in config.toml if the server may hold more",
                code="too-large",
                where=each.where,
            )
        before = Placed(each.seq, each.draft.id, commit_oid(raw), raw, each.where)
        yield before
    if before is None:
        raise Misuse("there are no events to import")


def fitting(events: Iterable[Numbered], takes: Takes | None, label: str) -> Iterator[Numbered]:
    """The same; BadEvent at the first one that the space `label` does not take."""
    for each in events:
        if takes is not None and (error := takes.refusal(each.draft.type, each.draft.data, label)) is not None:
            raise error.at(each.where)
        yield each


def of_events(events: Iterable[Event]) -> Iterator[Numbered]:
    """Events of another log, on their way into this one."""
    for count, event in enumerate(events, 1):
        epoch = event.source_epoch if event.epoch is None else event.epoch
        try:
            yield Numbered(event.seq, event.draft(), epoch, f"event {count}")
        except BadEvent as error:
            raise error.at(f"event {count}") from None


def twice(id: str, seq: int, where: str) -> BadEvent:
    """The refusal of an event whose id another one has, at `seq`."""
    return BadEvent("id", f"the event {id} is also at seq {seq}", code="duplicate-event", where=where)


def _misplaced(each: Numbered, before: int) -> BadEvent:
    if each.seq > before:
        lacking = f"{before + 1} is" if each.seq == before + 2 else f"{before + 1} to {each.seq - 1} are"
        why = f"{each.seq} comes after {before}: {lacking} missing"
        mend = "import with `--keep-gaps` if the numbers were shared between logs"
    else:
        why = f"{each.seq} comes after {before}: it stands twice, or out of order"
        mend = "sort the events by number; a number stands for one event"
    return BadEvent("seq", why, mend, code="seq-gap", where=each.where)
