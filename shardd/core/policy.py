"""The rules of a push: `decide(facts)`, one pure function that hooks, server and logs all call. Nothing else decides.

Facts are gathered before (authority/facts.py), where nothing is refused, and are complete: a fact that could not be had
is an error there, so a missing fact can never read as a yes here. The first rule that is broken names the refusal; one
refused ref refuses the whole push. The order is chosen so that the answer is the one that helps: who you are, where you
push, what you may do there, whether the space takes events at all, whether it is your turn, whether you stand on the
head, and only then what the events say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from shardd.core import mending
from shardd.core.codec import Written, genesis_oid
from shardd.core.event import Event, Head
from shardd.core.lease import OneShot, change
from shardd.core.limits import TooLarge
from shardd.core.notes import check_notes
from shardd.core.objects import parents
from shardd.core.push_facts import ChangeFacts, PushFacts, Relation, SpaceFacts
from shardd.core.refs import LOG, NOTES, Family, Mover, family_at, family_of
from shardd.core.refusals import HeadMoved, Met, NotHolder, Stale, StaleEpoch, Turn
from shardd.core.roles import Role, not_permitted
from shardd.core.taken_types import NOT_ALLOWED
from shardd.errors import BadEvent, Rejected


@dataclass(frozen=True, slots=True)
class Accept:
    """The push may go through. principal: whose it is; events: per ref, in order

    momentary: spaces whose lease is to be taken for it
    """

    principal: str = ""
    momentary: tuple[str, ...] = ()
    events: Mapping[str, Sequence[Event]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reject:
    """It may not. reason: why, with all that it carries; ref: the first one at fault, the others fall with it."""

    reason: Rejected
    ref: str

    @property
    def code(self) -> str:
        return self.reason.code

    @property
    def message(self) -> str:
        return self.reason.message

    @property
    def remedy(self) -> str:
        return self.reason.remedy

    def error(self) -> Rejected:
        return self.reason


Decision: TypeAlias = Accept | Reject


def decide(facts: PushFacts) -> Decision:
    """Whether the push may go through, and if not, the first reason. Total, and nothing but a function of the facts."""
    momentary: list[str] = []
    events: dict[str, Sequence[Event]] = {}
    seen: set[str] = set()
    for each in facts.changes:
        ref = each.change.ref
        try:
            principal = _who(facts)
            _check_options(facts)
            if ref in seen:
                raise Rejected("ref-not-allowed", "a ref stands twice in one push", "push each once")
            seen.add(ref)
            family = family_of(each.change.parsed)
            space = each.change.parsed.space
            match family.mover:
                case Mover.HOLDER if space is not None:
                    _not_symbolic(each)
                    if each.space is None:
                        raise Rejected("no-such-space", f"nothing is known about {facts.repo}/{space}")
                    events[ref] = _space_change(facts, each, each.space, principal, space)
                    moves = each.change.old != each.change.new
                    if moves and each.space.tenancy.lease is None and facts.take_lease:
                        momentary.append(space)
                case Mover.OWNER:
                    _owners_change(facts, each, principal, family)
                case Mover.ROLE if each.kept and not each.symbolic and family_at(ref) is None:
                    _require(facts, each, principal, family.role)
                case _:
                    raise _refusal("ref-not-allowed", f"{ref} {family.refused}", facts, each, family)
        except Rejected as error:
            return Reject(error, ref)
    return Accept(facts.principal or "", tuple(momentary), events)


def _check_options(facts: PushFacts) -> None:
    if facts.malformed is None:
        return
    name, _, said = facts.malformed.partition("=")
    if name == "epoch":
        raise Rejected("stale-epoch", f"-o epoch={said[:40]} names no epoch", "write `-o epoch=N`")
    raise Rejected("not-holder", f"-o {name}={said[:40]} is not known", "write `-o lease=acquire`")


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
    _require(facts, each, principal, Role.ADMIN if space.begins else LOG.role)
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
        if space.checked != space.takes:
            raise Rejected(NOT_ALLOWED, f"what {label} takes has changed meanwhile", "import it again")
        return _whole_log(facts, each, space, space.head, name, label)
    _on_the_head(facts, each, space, space.head, label)
    return _events(facts, each, space, space.head, principal, label, epoch)


def _turn(facts: PushFacts, space: SpaceFacts, principal: str, label: str, role: Role) -> int:
    """The epoch that the push counts under, or Rejected where it is not this principal's turn."""
    lease = space.tenancy.lease
    if lease is None and facts.take_lease:
        if facts.epoch is not None:
            raise StaleEpoch(Stale.OVER, label, space.tenancy.epoch, facts.epoch)
        return change(space.tenancy, OneShot(principal), space.now, label=label).after.epoch
    if lease is None and facts.unleased:
        return space.tenancy.epoch
    if lease is None or lease.holder != principal:
        raise NotHolder(
            Turn(
                space=label,
                principal=principal,
                now=space.now,
                lease=lease,
                ended=space.tenancy.ended,
                may_append=role >= Role.APPEND,
                begins=space.begins,
            )
        )
    if facts.epoch is not None and facts.epoch != lease.epoch:
        raise StaleEpoch(Stale.PUSH, label, lease.epoch, facts.epoch)
    return lease.epoch


def _on_the_head(facts: PushFacts, each: ChangeFacts, space: SpaceFacts, head: Head, label: str) -> None:
    at = f"{label} is at seq {head.seq}, {head.oid[:12]}"
    if each.current != head.oid:
        raise Rejected("non-fast-forward", f"{at}, but its branch is elsewhere", "see `shardd doctor`")
    match space.relation:
        case Relation.TOO_LONG:
            raise Rejected(
                "too-large", f"a push holds at most {facts.limits.events} events", "push them in several steps"
            )
        case Relation.TOO_LARGE if space.oversized is not None:
            raise space.oversized
        case Relation.TOO_LARGE | Relation.NO_COMMIT:
            raise Rejected("bad-event", f"commit: what you push to {label} is not a commit", "push a branch")
        case Relation.BEHIND | Relation.FORKS:
            raise HeadMoved(head, space=label, met=Met.PUSHED)
        case Relation.MERGES:
            raise Rejected("not-linear", f"a log has no merges; {at}", f"run {mending.REBASED}, then push again")
        case Relation.UNRELATED:
            raise Rejected(
                "not-linear",
                f"this history does not begin with the genesis of {label}",
                mending.taken_along(each.change.new or "", each.change.parsed.space or "NAME"),
            )
        case Relation.EXTENDS:
            pass
    if each.change.old != head.oid:
        raise HeadMoved(head, space=label, met=Met.MEANWHILE)


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
        raise StaleEpoch(Stale.UNNAMED_IMPORT, label, space.tenancy.lease.epoch, None)
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
        last = candidate is space.commits[-1]
        if len(candidate.raw) > facts.limits.commit_bytes:
            raise TooLarge(candidate.oid, len(candidate.raw), facts.limits.commit_bytes)
        # Before what it says: git words a merge by itself, and no other words would mend one.
        if parents(candidate.raw) != [at.oid]:
            raise Rejected(
                "not-linear", f"commit {short} does not have the one parent {at.oid[:12]}", f"run {mending.REBASED}"
            )
        written = candidate.read
        if isinstance(written, BadEvent):
            mend = mending.event(written, candidate.raw, short, principal, last=last)
            raise Rejected(written.code, f"commit {short}: {written.message}", mend)
        event = written.after(at.seq)
        if event.seq != at.seq + 1:
            raise Rejected(
                "seq-gap",
                f"commit {short} says Seq: {event.seq}, and stands at {at.seq + 1}",
                f"leave the trailer out (it follows from the parent): {mending.edited(short, last=last)}",
            )
        earlier = ids.get(event.id) or space.known_ids.get(event.id)
        if earlier is not None:
            raise Rejected(
                "duplicate-event",
                f"commit {short}: the event {event.id} is already in {label}, at seq {earlier.seq}, {earlier.oid[:12]}",
                f"it was appended before; drop it: {mending.dropped(short)}",
            )
        _check_epochs(event, epoch, label, mending.edited(short, last=last), short, fenced=fenced)
        _check_actor(candidate.raw, written, each, principal, short, last=last)
        _check_taken(event, space, label, short, last=last)
        at = Head(event.seq, event.oid)
        ids[event.id] = at
        found.append(event)
    return found


def _check_epochs(event: Event, epoch: int, label: str, edit: str, short: str, *, fenced: bool) -> None:
    if event.source_epoch is not None:
        raise Rejected(
            "bad-event",
            f"commit {short}: Source-Epoch belongs to imported events",
            f"leave the trailer out: {edit}",
        )
    if event.epoch is not None and event.epoch != epoch:
        raise StaleEpoch(Stale.COMMIT, label, epoch, event.epoch, commit=short, edit=f": {edit}")
    if fenced and event.epoch is None:
        raise StaleEpoch(Stale.UNNAMED, label, epoch, None)


def _check_actor(raw: bytes, written: Written, each: ChangeFacts, principal: str, short: str, *, last: bool) -> None:
    actor = written.event.actor
    if actor == principal or each.owner:
        return
    mend = mending.renamed(raw, short, principal, said=written.said_actor is not None, last=last)
    raise Rejected("forged-actor", f"commit {short} is by {actor!r}, and you are {principal}", mend)


def _check_taken(event: Event, space: SpaceFacts, label: str, short: str, *, last: bool) -> None:
    error = None if space.takes is None else space.takes.refusal(event.type, event.data, label)
    if error is None:
        return
    if space.drafted:
        raise error.at(f"event {event.id}" if len(space.commits) > 1 else "")
    mend = f"{mending.edited(short, last=last)}; {error.remedy}"
    raise BadEvent(error.field, error.detail, mend, code=error.code, where=f"commit {short}")


def _owners_change(facts: PushFacts, each: ChangeFacts, principal: str, family: Family) -> None:
    """A ref that belongs to a principal, who alone moves it."""
    _not_symbolic(each)
    _require(facts, each, principal, family.role)
    ref, owner = each.change.ref, each.change.parsed.principal
    if owner != principal:
        raise _refusal("not-permitted", f"{ref} belongs to {owner}", facts, each, family)
    if not each.kept:
        raise _refusal("ref-not-allowed", f"{facts.repo} keeps logs alone, and no {family.name}", facts, each, family)
    if each.change.new is None:
        if family.deletes:
            return
        raise _refusal("deletion", f"{ref} is never deleted", facts, each, family)
    if family.commits and not each.commit:
        raise _refusal("bad-event", f"{ref}: {family.name} are commits", facts, each, family)
    if each.current is not None and not family.rewinds and not each.fast_forward:
        raise _refusal("non-fast-forward", f"{ref} has moved on", facts, each, family)
    if family is NOTES:
        if each.notes is None:
            raise Rejected("bad-event", f"nothing is known about what {ref} would hold")
        check_notes(facts.limits, ref, each.notes)


def _refusal(code: str, message: str, facts: PushFacts, each: ChangeFacts, family: Family) -> Rejected:
    """With the remedy that the family has for the code."""
    values = {"ref": each.change.ref, "repo": facts.repo, "space": each.change.parsed.space, "me": facts.principal}
    return Rejected(code, message, family.remedies.get(code, "").format(**values))


def _require(facts: PushFacts, each: ChangeFacts, principal: str, role: Role) -> None:
    if each.role < role:
        space = each.change.parsed.space
        raise not_permitted(principal, each.role, role, facts.repo if space is None else f"{facts.repo}/{space}")


def _not_symbolic(each: ChangeFacts) -> None:
    if each.symbolic:
        raise Rejected("ref-not-allowed", f"{each.change.ref} is a symbolic ref", "see `shardd doctor`")


def _freeze_instead(label: str) -> str:
    return f"to stop it from growing, an admin runs `shardd space freeze {label} MESSAGE`"
