"""Appending drafts through an authority: retry answered, head checked, encoded, decided, moved; one lock."""

from __future__ import annotations

from collections.abc import Sequence

from shardd.authority.authority import Authority
from shardd.authority.facts import Pusher
from shardd.authority.ledger import Ledger
from shardd.core.append import Expected, check_expected, earlier, encode_batch
from shardd.core.codec import decode_event, genesis_oid
from shardd.core.event import Draft, Event, Head
from shardd.core.policy import Reject
from shardd.core.push_facts import Candidate
from shardd.core.refs import space_ref


def append_drafts(
    authority: Authority[Ledger],
    space: str,
    drafts: Sequence[Draft],
    pusher: Pusher,
    *,
    expected: Expected = None,
    epoch: int | None = None,
    create: bool = False,
    take_lease: bool = False,
) -> list[Event]:
    """The events as they stand in the log, durable; Rejected, HeadMoved or Unavailable, and nothing appended.

    epoch: the one the pusher believes in; create: begin the space if nobody has, as an admin of it
    take_lease: take the lease for this append alone, if it is free
    """
    began = authority.head(space) if create else authority.existing(space)
    begins = began is None
    with authority.hold([space], creating=begins) as held:
        standing = held.standing(space)
        head = standing.head
        if head is not None:
            places = held.find(space, head, [draft.id for draft in drafts])
            known = {
                id: decode_event(held.raw(space, at), oid=at.oid, parent_seq=at.seq - 1) for id, at in places.items()
            }
            answered = earlier(drafts, known)
            if answered is not None:
                return answered
        check_expected(expected, head)
        if not drafts:
            return []
        if head is None:
            # A space begins by the same move of its ref as its first events: a refused append begins none.
            head = Head(0, genesis_oid(space))
        lease = standing.tenancy.lease
        mine = None
        if lease is not None and lease.holder == pusher.principal and (epoch is not None or not lease.fenced):
            # What a fenced lease takes, its holder must have meant for it: the epoch is not put into its mouth.
            mine = lease.epoch
        elif lease is None and take_lease:
            mine = held.next_epoch(space)
        batch = encode_batch(drafts, head, epoch=mine, limits=authority.limits)
        commits = [Candidate(oid, raw) for oid, raw in batch]
        decision = held.append(space, head, commits, pusher, epoch, take_lease=take_lease, create=create, drafted=True)
        if isinstance(decision, Reject):
            raise decision.error()
        return list(decision.events[space_ref(space)])
