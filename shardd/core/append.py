"""What an append comes to, before anything is written: new events, or a retry that is answered with the original.

An Event-Id is the idempotency key of its space. A batch whose ids the space has, with the same content, was appended
before and its answer got lost: it is answered with the events as they stand, whatever head was expected. The time is
not compared, because a retry may have taken it anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from shardd.core.canonical import encode_data
from shardd.core.codec import encode_event
from shardd.core.event import Draft, Event, Head
from shardd.core.limits import Limits
from shardd.core.nearest import nearest
from shardd.core.objects import algorithm_of, commit_oid
from shardd.core.refusals import HeadMoved
from shardd.errors import Rejected

Expected: TypeAlias = Head | Literal["absent"] | None
"""Where the caller believes the log to stand. `"absent"`: the space does not exist yet. None: wherever it stands."""


def earlier(drafts: Sequence[Draft], known: Mapping[str, Event]) -> list[Event] | None:
    """The events that answer a retry; None if all drafts are new; Rejected `duplicate-event` on anything between.

    known: those of the drafts' ids that the space already has
    """
    twice = {draft.id for draft in drafts}
    if len(twice) != len(drafts):
        raise Rejected("duplicate-event", "an event id stands twice in one batch", "give each event its own id")
    if not known or not drafts:
        return None
    found: list[Event] = []
    for draft in drafts:
        event = known.get(draft.id)
        if event is None or not _same(draft, event):
            at = event or next(iter(known.values()))
            raise Rejected(
                "duplicate-event",
                f"the event {at.id} is already in the log, at seq {at.seq}, with other content"
                if event
                else f"the event {at.id} is already in the log, at seq {at.seq}, and others of this batch are not",
                "use a new id for a new event",
            )
        found.append(event)
    return found


def check_expected(expected: Expected, head: Head | None) -> None:
    """Nothing if the log stands where the caller believes, else HeadMoved with the current head."""
    if expected is None:
        return
    if (expected == "absent") if head is None else (expected == head):
        return
    raise HeadMoved(head, expected=expected)


def encode_batch(
    drafts: Sequence[Draft], head: Head, *, epoch: int | None, limits: Limits | None = None
) -> list[tuple[str, bytes]]:
    """(oid, canonical bytes) of the drafts, chained one by one onto `head`; Rejected where they exceed the limits."""
    limits = limits or Limits()
    if len(drafts) > limits.events:
        raise Rejected(
            "too-large", f"{len(drafts)} events at once; {limits.events} are allowed", "append them in several steps"
        )
    algorithm = algorithm_of(head.oid)
    found: list[tuple[str, bytes]] = []
    parent, seq = head.oid, head.seq
    for draft in drafts:
        seq += 1
        raw = encode_event(draft, parent=parent, seq=seq, epoch=epoch)
        if len(raw) > limits.commit_bytes:
            raise Rejected(
                "too-large",
                f"the event {draft.id} has {len(raw)} bytes; {limits.commit_bytes} are allowed",
                "put the bulk elsewhere and let the event point at it",
            )
        parent = commit_oid(raw, algorithm=algorithm)
        found.append((parent, raw))
    return found


def no_such_space(label: str, known: Iterable[str] = ()) -> Rejected:
    """known: the spaces that there are beside it"""
    repo, _, space = label.rpartition("/")
    meant = nearest(space, known)
    hint = f"; did you mean {repo}/{meant}?" if meant else ""
    return Rejected(
        "no-such-space", f"there is no space {label}{hint}", f"an admin creates it: `shardd space create {label}`"
    )


def exists_already(label: str) -> Rejected:
    return Rejected("exists", f"the space {label} exists already")


def _same(draft: Draft, event: Event) -> bool:
    return (
        draft.type == event.type
        and draft.subject == event.subject
        and draft.actor == event.actor
        and encode_data(draft.data) == encode_data(event.data)
    )
