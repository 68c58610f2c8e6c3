"""The rules of a push: `decide(facts)`, one pure function that hooks, server and logs all call. Nothing else decides.

Facts are gathered before (storage/facts.py) and are complete: a fact that could not be had is an error there, so a
missing fact can never read as a yes here. The first rule that is broken names the refusal; one refused ref refuses the
whole push. The order is chosen so that the answer is the one that helps: who you are, where you push, what you may do
there, whether the space takes events at all, whether it is your turn, whether you stand on the head, and only then
what the events say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from shardd.core.codec import Written, genesis_oid, read_event
from shardd.core.event import Event, Head
from shardd.core.lease import Momentary, Tenancy, change, not_holder
from shardd.core.limits import Limits, commit_too_large
from shardd.core.names import IntentRef, LeaseRef, NotesRef, Ref, SpaceRef
from shardd.core.notes import NotesFacts, check_notes
from shardd.core.roles import Role, not_permitted
from shardd.errors import BadEvent, Rejected


class Relation(StrEnum):
    """How the pushed commit stands to the head."""

    EXTENDS = "extends"  # the head is reached from it through first parents
    BEHIND = "behind"  # it is an ancestor of the head
    MERGES = "merges"  # the head is reached from it, but not through first parents
    FORKS = "forks"  # they have an ancestor in common
    UNRELATED = "unrelated"  # they have none
    NO_COMMIT = "no commit"  # it is a tag, a tree or a blob
    TOO_LONG = "too long"  # more commits than one push may hold


@dataclass(frozen=True, slots=True)
class Candidate:
    """One pushed commit: its oid and its bytes."""

    oid: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """One ref to be moved from `old` to `new`; None where it is to be created, or deleted."""

    ref: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class SpaceFacts:
    """What is known of the space that a change is for.

    head: None if nobody created the space; tenancy: as observed at `now`, in milliseconds of the space's lease clock
    relation, commits: of the pushed commit, oldest first, the head excluded
    known_ids: those of the pushed Event-Ids that the space already has, and where
    importing: a whole log is to be taken over, which core/importing.py has checked event by event
    """

    head: Head | None
    tenancy: Tenancy
    now: int
    frozen: str | None = None
    relation: Relation = Relation.EXTENDS
    commits: Sequence[Candidate] = ()
    known_ids: Mapping[str, Head] = field(default_factory=dict)
    importing: bool = False


@dataclass(frozen=True, slots=True)
class ChangeFacts:
    """One change and what is known about it.

    current: where the ref stands now; symbolic: it points at another ref; plain: the repo's configuration leaves it
    to git; fast_forward: whether `new` descends from `current`; notes: None if it is not to one's own, or deletes them
    """

    change: Change
    ref: Ref
    role: Role
    may_import: bool = False
    current: str | None = None
    symbolic: bool = False
    plain: bool = False
    fast_forward: bool = False
    space: SpaceFacts | None = None
    notes: NotesFacts | None = None


@dataclass(frozen=True, slots=True)
class PushFacts:
    """A whole push. epoch, take_lease: what its push options ask for.

    unleased: the pusher may write the repo's files anyway, and needs no lease while nobody holds one
    """

    repo: str
    principal: str | None
    changes: Sequence[ChangeFacts]
    epoch: int | None = None
    take_lease: bool = False
    unleased: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Accept:
    """The push may go through. momentary: spaces whose lease is to be taken for it; events: per ref, in order."""

    momentary: tuple[str, ...] = ()
    events: Mapping[str, Sequence[Event]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reject:
    """It may not. ref: the first one at fault; the others fall with it."""

    code: str
    message: str
    remedy: str
    ref: str

    @classmethod
    def of(cls, error: Rejected, ref: str) -> Reject:
        return cls(error.code, error.message, error.remedy, ref)

    def error(self) -> Rejected:
        return Rejected(self.code, self.message, self.remedy)


Decision: TypeAlias = Accept | Reject


def decide(facts: PushFacts) -> Decision:
    """Whether the push may go through, and if not, the first reason. Total, and nothing but a function of the facts."""
    momentary: list[str] = []
    events: dict[str, Sequence[Event]] = {}
    for each in facts.changes:
        try:
            principal = _who(facts)
            match each.ref:
                case SpaceRef(space):
                    _not_symbolic(each)
                    if each.space is None:
                        raise Rejected("no-such-space", f"nothing is known about {facts.repo}/{space}")
                    events[each.change.ref] = _space_change(facts, each, each.space, principal, space)
                    moves = each.change.old != each.change.new
                    if moves and each.space.tenancy.lease is None and facts.take_lease:
                        momentary.append(space)
                case NotesRef(owner):
                    _notes_change(facts, each, principal, owner)
                case _:
                    _other_change(facts, each, principal)
        except Rejected as error:
            return Reject.of(error, each.change.ref)
    return Accept(tuple(momentary), events)


def _who(facts: PushFacts) -> str:
    if facts.principal is None:
        raise Rejected(
            "no-principal",
            "this push names no authenticated principal",
            "push over ssh with a registered key, or have an admin map your OS user under [local] in access.toml",
        )
    return facts.principal


def _space_change(facts: PushFacts, each: ChangeFacts, space: SpaceFacts, principal: str, name: str) -> Sequence[Event]:
    label = f"{facts.repo}/{name}"
    if space.head is None:
        raise Rejected(
            "no-such-space", f"there is no space {label}", f"an admin creates it: `shardd space create {label}`"
        )
    if each.role < Role.APPEND:
        raise not_permitted(principal, each.role, Role.APPEND, label)
    if each.change.new is None:
        raise Rejected("deletion", f"{label} is append-only: its branch is never deleted", _freeze_instead(label))
    if space.frozen is not None:
        raise Rejected(
            "frozen", f"{label} is read-only: {space.frozen}", f"an admin lifts it: `shardd space thaw {label}`"
        )
    if space.importing and not each.may_import:
        raise Rejected(
            "not-permitted",
            f"{principal} needs the role import on {label}",
            f"ask an admin for `shardd role grant {principal} import {label}`",
        )
    epoch = _turn(facts, space, principal, label, each.role)
    if space.importing:
        return _whole_log(facts, each, space, space.head, name, label)
    _on_the_head(facts, each, space, space.head, label)
    return _events(facts, each, space, space.head, principal, label, epoch)


def _turn(facts: PushFacts, space: SpaceFacts, principal: str, label: str, role: Role) -> int:
    """The epoch that the push counts under, or Rejected where it is not this principal's turn."""
    lease = space.tenancy.lease
    if lease is None and facts.take_lease:
        if facts.epoch is not None:
            raise Rejected(
                "stale-epoch",
                f"epoch {facts.epoch} of {label} is over and lease=acquire would begin another",
                "push without `-o epoch`",
            )
        return change(space.tenancy, Momentary(principal), space.now, label=label).after.epoch
    if lease is None and facts.unleased:
        return space.tenancy.epoch
    if lease is None or lease.holder != principal:
        ended = space.tenancy.ended
        raise not_holder(label, principal, lease, space.now, ended=ended, may_append=role >= Role.APPEND)
    if facts.epoch is not None and facts.epoch != lease.epoch:
        raise Rejected(
            "stale-epoch",
            f"the epoch of {label} is {lease.epoch}, and this push was made for {facts.epoch}",
            f"look before you push again: `shardd lease history {label}`",
        )
    return lease.epoch


def _on_the_head(facts: PushFacts, each: ChangeFacts, space: SpaceFacts, head: Head, label: str) -> None:
    at = f"{label} is at seq {head.seq}, {head.oid[:12]}"
    if each.current != head.oid:
        raise Rejected("non-fast-forward", f"{at}, but its branch is elsewhere", "see `shardd doctor`")
    rebase = "run `git pull --rebase`, then push again"
    match space.relation:
        case Relation.TOO_LONG:
            raise Rejected(
                "too-large", f"a push holds at most {facts.limits.events} events", "push them in several steps"
            )
        case Relation.NO_COMMIT:
            raise Rejected("bad-event", f"commit: what you push to {label} is not a commit", "push a branch")
        case Relation.BEHIND | Relation.FORKS:
            raise Rejected("non-fast-forward", f"{at}, which what you push does not contain", rebase)
        case Relation.MERGES:
            raise Rejected(
                "not-linear",
                f"a log has no merges; {at}",
                f"undo the merge with `git reset --hard ORIG_HEAD`, then {rebase}",
            )
        case Relation.UNRELATED:
            raise Rejected(
                "not-linear", f"this history does not begin with the genesis of {label}", "commit on a fetched branch"
            )
        case Relation.EXTENDS:
            pass
    if each.change.old != head.oid:
        raise Rejected("non-fast-forward", f"{at}; it moved while you pushed", rebase)


def _whole_log(
    facts: PushFacts, each: ChangeFacts, space: SpaceFacts, head: Head, name: str, label: str
) -> Sequence[Event]:
    """No events, if a log may be taken over here: the space has none yet, and the log begins where the space does."""
    if head.oid != genesis_oid(name, seq=head.seq, like=head.oid):
        raise Rejected(
            "exists",
            f"{label} has events already, up to seq {head.seq}",
            f"import into a space without events: `shardd space create {facts.repo}/NAME`",
        )
    if each.current != head.oid:
        raise Rejected("non-fast-forward", f"the branch of {label} is elsewhere", "see `shardd doctor`")
    if each.change.old != head.oid:
        raise Rejected(
            "exists",
            f"{label} begins after seq {head.seq}, and the log to be imported does not begin there",
            f"import into a space that is made for it: `shardd space create {facts.repo}/NAME --first SEQ`",
        )
    if space.tenancy.lease is not None and space.tenancy.lease.fenced and facts.epoch is None:
        raise Rejected(
            "stale-epoch", f"the lease of {label} is fenced: an import names its epoch", "run it with `--epoch N`"
        )
    return ()


def _events(
    facts: PushFacts,
    each: ChangeFacts,
    space: SpaceFacts,
    head: Head,
    principal: str,
    label: str,
    epoch: int,
) -> Sequence[Event]:
    found: list[Event] = []
    at = head
    ids: dict[str, Head] = {}
    lease = space.tenancy.lease
    fenced = lease is not None and lease.fenced and facts.epoch is None
    for candidate in space.commits:
        short = candidate.oid[:12]
        if len(candidate.raw) > facts.limits.commit_bytes:
            raise commit_too_large(candidate.oid, len(candidate.raw), facts.limits.commit_bytes)
        try:
            written = read_event(candidate.raw, oid=candidate.oid, parent_seq=at.seq)
        except BadEvent as error:
            raise Rejected(
                error.code,
                f"commit {short}: {error.message}",
                error.remedy or "amend the commit: `git commit --amend --allow-empty`",
            ) from None
        event = written.event
        if written.parents != (at.oid,):
            raise Rejected(
                "not-linear", f"commit {short} does not have the one parent {at.oid[:12]}", "run `git pull --rebase`"
            )
        if event.seq != at.seq + 1:
            raise Rejected(
                "seq-gap",
                f"commit {short} says Seq: {event.seq}, and stands at {at.seq + 1}",
                "leave the trailer out with `git commit --amend --allow-empty`; it follows from the parent",
            )
        earlier = ids.get(event.id) or space.known_ids.get(event.id)
        if earlier is not None:
            raise Rejected(
                "duplicate-event",
                f"commit {short}: the event {event.id} is already in {label}, at seq {earlier.seq}, {earlier.oid[:12]}",
                f"it was appended before; drop it: `git rebase --onto {short}~1 {short}`",
            )
        _check_epochs(event, each, epoch, short, label, fenced=fenced)
        _check_actor(written, each, principal, short)
        at = Head(event.seq, event.oid)
        ids[event.id] = at
        found.append(event)
    return found


def _check_epochs(event: Event, each: ChangeFacts, epoch: int, short: str, label: str, *, fenced: bool) -> None:
    if event.source_epoch is not None and not each.may_import:
        raise Rejected("bad-event", f"commit {short}: Source-Epoch belongs to imported events", "leave the trailer out")
    if event.epoch is not None and event.epoch != epoch:
        raise Rejected(
            "stale-epoch",
            f"commit {short} says Lease-Epoch: {event.epoch}, and the epoch of {label} is {epoch}",
            f"look before you append again: `shardd lease history {label}`",
        )
    if fenced and event.epoch is None:
        raise Rejected(
            "stale-epoch",
            f"the lease of {label} is fenced: a push names its epoch",
            f"push with `-o epoch={epoch}` if it is yours",
        )


def _check_actor(written: Written, each: ChangeFacts, principal: str, short: str) -> None:
    actor = written.event.actor
    if actor == principal or each.may_import:
        return
    if written.said_actor is None:
        mend = (
            f"run `git config user.name {principal}`, then `git commit --amend --allow-empty --reset-author --no-edit`"
        )
    else:
        mend = f"run `git commit --amend --allow-empty`, and write `Actor: {principal}`"
    raise Rejected("forged-actor", f"commit {short} is by {actor!r}, and you are {principal}", mend)


def _notes_change(facts: PushFacts, each: ChangeFacts, principal: str, owner: str) -> None:
    _not_symbolic(each)
    if each.role < Role.READ:
        raise not_permitted(principal, each.role, Role.READ, facts.repo)
    if owner != principal:
        raise Rejected(
            "not-permitted", f"{each.change.ref} belongs to {owner}", f"push your own: refs/notes/{principal}"
        )
    if each.change.new is None:
        raise Rejected("deletion", f"{each.change.ref} is never deleted", "remove single notes with `git notes remove`")
    if each.current is not None and not each.fast_forward:
        raise Rejected(
            "non-fast-forward",
            f"{each.change.ref} has moved on",
            f"run `git fetch origin {each.change.ref}` and `git notes merge FETCH_HEAD`",
        )
    if each.notes is None:
        raise Rejected("bad-event", f"nothing is known about what {each.change.ref} would hold")
    check_notes(facts.limits, each.change.ref, each.notes)


def _other_change(facts: PushFacts, each: ChangeFacts, principal: str) -> None:
    ref = each.change.ref
    if each.plain and not each.symbolic:
        if each.role < Role.APPEND:
            raise not_permitted(principal, each.role, Role.APPEND, facts.repo)
        return
    match each.ref:
        case LeaseRef(space):
            why = "is the journal of leases, which only the authority writes"
            mend = f"change leases with `shardd lease acquire {facts.repo}/{space}`"
        case IntentRef(space):
            why = "is for forwarded intents, which this server does not take"
            mend = f"append as the lease holder: `shardd lease acquire {facts.repo}/{space}`"
        case _:
            why = "is not a ref that this repo takes"
            mend = "push a space: `git push origin HEAD:spaces/NAME`"
    raise Rejected("ref-not-allowed", f"{ref} {why}", mend)


def _not_symbolic(each: ChangeFacts) -> None:
    if each.symbolic:
        raise Rejected("ref-not-allowed", f"{each.change.ref} is a symbolic ref", "see `shardd doctor`")


def _freeze_instead(label: str) -> str:
    return f"to stop it from growing, an admin runs `shardd space freeze {label} MESSAGE`"
