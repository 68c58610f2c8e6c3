"""The published journal of a space's leases: `refs/leases/<space>`, one commit per epoch.

    lease: bob                      (`lease: -` where nobody holds the epoch: after a revocation or a restore)

    by carol: no answer since 01:40 (only where somebody gave a reason)

    Lease-Epoch: 8
    Holder: bob
    Granted: 2026-06-15T02:00:00.000Z
    Resumed-At: 41 82efd41a72d59e94810f85eed4b20fca5b607fc5
    Reason: grant
    Previous-Ended: revoked

It says who could write from which head on, never whether a lease is live. The bytes follow from their content alone,
so an entry that a crash kept from being published is written again, identically, from what the authority remembers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from shardd.core.codec import GENESIS_IDENTITY
from shardd.core.event import Head, check_seq, has_control
from shardd.core.names import is_id, is_oid
from shardd.core.objects import build_commit, empty_tree_for, parse_commit
from shardd.core.tenancy import Ended, Reason, Tenure, milliseconds, stamp
from shardd.errors import BadEvent, Corrupt

NOBODY = "-"
_TRAILERS = ("Lease-Epoch", "Holder", "Granted", "Resumed-At", "Reason", "Previous-Ended")


@dataclass(frozen=True, slots=True)
class Entry:
    """One published tenure and the head from which its holder resumed."""

    tenure: Tenure
    resumed_at: Head


def entry_of(tenure: Tenure, head: Head) -> Entry:
    """The entry to publish: the text as one line of at most 200 characters, none of them a control character."""
    text = " ".join("".join(" " if has_control(c) else c for c in tenure.text).split())
    return Entry(replace(tenure, text=text[:200].rstrip()), head)


def encode_entry(entry: Entry, *, parent: str | None) -> bytes:
    """The commit bytes of `entry` after the journal's newest commit `parent`."""
    tenure = entry.tenure
    holder = tenure.holder or NOBODY
    text = f"{tenure.text}\n\n" if tenure.text else ""
    return build_commit(
        tree=empty_tree_for(entry.resumed_at.oid),
        parent=parent,
        author=GENESIS_IDENTITY,
        seconds=tenure.granted // 1000,
        message=f"lease: {holder}\n\n{text}Lease-Epoch: {tenure.epoch}\nHolder: {holder}\n"
        f"Granted: {stamp(tenure.granted)}\n"
        f"Resumed-At: {entry.resumed_at.seq} {entry.resumed_at.oid}\nReason: {tenure.reason}\n"
        f"Previous-Ended: {tenure.previous}\n",
    )


def entry_at(where: str, oid: str, raw: bytes) -> Entry:
    """What a commit of the journal says, or Corrupt. where: whose"""
    try:
        return decode_entry(raw)
    except BadEvent as error:
        raise Corrupt(f"{where}, commit {oid[:12]}: {error.message}") from None


def decode_entry(raw: bytes) -> Entry:
    """What one journal commit says; BadEvent unless these are exactly the bytes we would have written."""
    commit = parse_commit(raw)
    paragraphs = commit.message.removesuffix("\n").split("\n\n")
    lines = [line.partition(": ") for line in paragraphs[-1].split("\n")]
    if tuple(name for name, _, _ in lines) != _TRAILERS or not 2 <= len(paragraphs) <= 3:
        raise BadEvent("journal", f"has not exactly the trailers {', '.join(_TRAILERS)}")
    said = {name: value for name, _, value in lines}
    seq, _, oid = said["Resumed-At"].partition(" ")
    try:
        entry = Entry(
            Tenure(
                epoch=check_seq("Lease-Epoch", said["Lease-Epoch"]),
                holder=said["Holder"] if is_id(said["Holder"]) else None,
                granted=milliseconds(said["Granted"]),
                reason=Reason(said["Reason"]),
                previous=Ended(said["Previous-Ended"]),
                text=paragraphs[1] if len(paragraphs) == 3 else "",
            ),
            Head(check_seq("Resumed-At", seq, lowest=-1), oid),
        )
    except ValueError as error:
        raise BadEvent("journal", str(error)) from None
    parent = commit.parents[0] if commit.parents else None
    ours = entry_of(entry.tenure, entry.resumed_at)
    if not is_oid(oid) or entry != ours or raw != encode_entry(entry, parent=parent):
        raise BadEvent("journal", "is not in the form in which the authority writes it")
    return entry
