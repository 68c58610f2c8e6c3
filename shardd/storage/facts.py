"""Gathering what the rules of a push need to know. Whatever cannot be found out is raised, never guessed.

Gathered twice for each push: without locks in pre-receive, where a refusal is cheap and the objects are still in
quarantine, and again under the locks in proc-receive, where the answer counts.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol

from shardd.core.codec import genesis_oid, read_event
from shardd.core.event import Head
from shardd.core.lease import Tenancy
from shardd.core.limits import Limits
from shardd.core.names import OURS, IntentRef, NotesRef, OtherRef, SpaceRef, classify, space_ref
from shardd.core.notes import NotesFacts
from shardd.core.objects import first_parent
from shardd.core.policy import Candidate, Change, ChangeFacts, PushFacts, Relation, SpaceFacts
from shardd.core.roles import Rights, Role
from shardd.errors import BadEvent, Misuse, Rejected, Unavailable
from shardd.storage.index import EventIndex
from shardd.storage.repository import NEAR, PLAIN_REFS, Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for a repo. label: its name in messages and in the scopes of roles; rights: who may do what there."""

    label: str
    rights: Rights
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place(Terms):
    """Where facts are looked up."""

    repository: Repository
    index: EventIndex


@dataclass(frozen=True, slots=True)
class Standing:
    """How a space stands at `now`, in milliseconds of the lease clock. head: None if it does not exist."""

    space: str
    head: Head | None
    tenancy: Tenancy
    frozen: str | None
    now: int


class Ground(Protocol):
    """Where one stands who asks about spaces: under their locks, where answers hold, or without, for a first look."""

    def standing(self, space: str) -> Standing: ...

    def find(self, space: str, head: Head, ids: Sequence[str]) -> Mapping[str, Head]:
        """Those of `ids` that the space has up to `head`, and where. Without the lock some may be left out."""
        ...


LOCAL = "local"
"""Who appends without a name, because writing the files is right enough."""


@dataclass(frozen=True, slots=True)
class Pusher:
    """Who pushes. principal: None if nobody was authenticated; unleased: see PushFacts."""

    principal: str | None
    unleased: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """What `git push -o` said to us."""

    epoch: int | None = None
    take_lease: bool = False


def parse_options(options: Sequence[str]) -> Options:
    """`epoch=N` and `lease=acquire`; options of other names are somebody else's. Rejected if ours are malformed."""
    epoch: int | None = None
    take_lease = False
    for option in options:
        name, _, value = option.partition("=")
        if name == "epoch":
            if not (value.isascii() and value.isdigit() and len(value) <= 16):
                raise Rejected("stale-epoch", f"-o epoch={value[:40]} names no epoch", "write `-o epoch=N`")
            epoch = int(value)
        elif name == "lease":
            if value != "acquire":
                raise Rejected("not-holder", f"-o lease={value[:40]} is not known", "write `-o lease=acquire`")
            take_lease = True
    return Options(epoch, take_lease)


def gather(
    place: Place,
    pusher: Pusher,
    changes: Sequence[Change],
    options: Options,
    ground: Ground,
) -> PushFacts:
    """The facts of a push, as things stand on `ground`."""
    if len({change.ref for change in changes}) != len(changes):
        raise Rejected("ref-not-allowed", "a ref stands twice in one push", "push each once")
    unusual = any(isinstance(classify(change.ref), OtherRef) for change in changes)
    plain = plain_patterns(place) if unusual else []
    alone = len(changes) == 1
    gathered = [_change(place, pusher, change, ground, plain, alone=alone) for change in changes]
    return PushFacts(
        repo=place.label,
        principal=pusher.principal,
        changes=gathered,
        epoch=options.epoch,
        take_lease=options.take_lease,
        unleased=pusher.unleased,
        limits=place.limits,
    )


def append_facts(
    terms: Terms,
    pusher: Pusher,
    standing: Standing,
    expected: Head,
    commits: Sequence[Candidate],
    *,
    known: Callable[[list[str]], Mapping[str, Head]] | None,
    options: Options,
    create: bool = False,
) -> PushFacts:
    """The facts of an append to one space whose commits are at hand, oldest first, and need not be stored yet.

    known: finds those of some Event-Ids that the space has, None if it has none; Misuse if there is no commit
    create: a space that does not exist may be begun by it
    """
    if standing.head is None and create:
        standing = replace(standing, head=Head(0, genesis_oid(standing.space)))
    if not commits:
        raise Misuse("an append without events")
    relation = Relation.EXTENDS if standing.head == expected else Relation.FORKS
    found = known(claimed_ids(commits)) if known and relation is Relation.EXTENDS else {}
    change = Change(space_ref(standing.space), expected.oid, commits[-1].oid)
    return _one_space(terms, pusher, standing, change, space_facts(standing, relation, commits, found), options)


def import_facts(
    terms: Terms,
    pusher: Pusher,
    standing: Standing,
    beginning: Head | None,
    tip: str | None,
    options: Options,
    *,
    create: bool,
) -> PushFacts:
    """The facts of an import of a whole log. create: a space that does not exist may be begun by it

    beginning, tip: the genesis and the newest commit of its chain; None before that is known
    """
    if standing.head is None and create:
        standing = replace(standing, head=beginning or Head(0, genesis_oid(standing.space)))
    old = beginning or standing.head
    change = Change(space_ref(standing.space), old.oid if old else None, tip or "")
    space = replace(space_facts(standing, Relation.EXTENDS, (), {}), importing=True)
    return _one_space(terms, pusher, standing, change, space, options)


def _one_space(
    terms: Terms, pusher: Pusher, standing: Standing, change: Change, space: SpaceFacts, options: Options
) -> PushFacts:
    who = pusher.principal or ""
    return PushFacts(
        repo=terms.label,
        principal=pusher.principal,
        changes=[
            ChangeFacts(
                change=change,
                ref=SpaceRef(standing.space),
                role=terms.rights.role(who, terms.label, standing.space),
                may_import=terms.rights.may_import(who, terms.label, standing.space),
                current=standing.head.oid if standing.head else None,
                space=space,
            )
        ],
        epoch=options.epoch,
        take_lease=options.take_lease,
        unleased=pusher.unleased,
        limits=terms.limits,
    )


def _change(
    place: Place,
    pusher: Pusher,
    change: Change,
    ground: Ground,
    plain: Sequence[str],
    *,
    alone: bool,
) -> ChangeFacts:
    ref = classify(change.ref)
    space = ref.space if isinstance(ref, SpaceRef | IntentRef) else None
    left_to_git = isinstance(ref, OtherRef) and plainly(change.ref, plain)
    # Of a ref that is neither ours nor left to git, nothing is looked up: it is refused by its name.
    known = left_to_git or not isinstance(ref, OtherRef)
    current = place.repository.read_ref(change.ref) if known else None
    symbolic = current is not None and current.startswith("ref: ")
    who = pusher.principal
    role = place.rights.role(who or "", place.label, space)
    facts = notes = None
    fast_forward = False
    if isinstance(ref, SpaceRef) and not symbolic:
        # Who may not append is told so whatever was pushed: nothing of it is read.
        facts = _space(place, ground, ref.space, change, look=role >= Role.APPEND)
    elif isinstance(ref, NotesRef) and change.new is not None and not _is_commit(place.repository, change.new):
        raise Rejected("bad-event", f"{change.ref}: notes are commits", "write them with `git notes`")
    elif isinstance(ref, NotesRef) and change.new is not None and not symbolic:
        fast_forward = current is not None and place.repository.git.is_ancestor(current, change.new)
        if ref.principal == who and role >= Role.READ and (fast_forward or current is None):
            notes = _notes(place, change.new, current, alone=alone)
    return ChangeFacts(
        change=change,
        ref=ref,
        role=role,
        may_import=space is not None and place.rights.may_import(who or "", place.label, space),
        current=current,
        symbolic=symbolic,
        plain=left_to_git,
        fast_forward=fast_forward,
        space=facts,
        notes=notes,
    )


def _notes(place: Place, new: str, current: str | None, *, alone: bool) -> NotesFacts:
    """What a ref of notes would hold if it moved from `current` to `new`.

    alone: the push moves no other ref, as no push of a mere reader can; only then is all that it brings for this one
    """
    git, limits = place.repository.git, place.limits
    largest = {True: ("", 0), False: ("", 0)}
    added: set[str] = set()
    for oid, kind, size in git.objects(new, without=current):
        added.add(oid)
        if size > largest[kind == "commit"][1]:
            largest[kind == "commit"] = (oid, size)
    count = total = 0
    for _, _, size in git.objects(new):
        count, total = count + 1, total + size
        if count > limits.notes_objects or total > limits.notes_bytes:
            break
    strays = place.repository.strays(added) if alone else 0
    return NotesFacts(count, total, largest[True], largest[False], strays)


def _space(place: Place, ground: Ground, space: str, change: Change, *, look: bool) -> SpaceFacts:
    standing = ground.standing(space)
    relation = Relation.EXTENDS
    commits: Sequence[Candidate] = ()
    known: Mapping[str, Head] = {}
    head = standing.head
    if look and head is not None and change.new is not None:
        relation, commits = relate(place, head, change.new)
        if relation is Relation.EXTENDS:
            known = ground.find(space, head, claimed_ids(commits))
    return space_facts(standing, relation, commits, known)


def space_facts(
    standing: Standing, relation: Relation, commits: Sequence[Candidate], known: Mapping[str, Head]
) -> SpaceFacts:
    """What the rules want to know of a space, from how it stands and what is pushed to it."""
    return SpaceFacts(
        head=standing.head,
        tenancy=standing.tenancy,
        now=standing.now,
        frozen=standing.frozen,
        relation=relation,
        commits=commits,
        known_ids=known,
    )


def _is_commit(repository: Repository, new: str) -> bool:
    """Whether what is pushed is a commit. Unavailable if it is not here: a `git prune` by hand may have taken it."""
    header = repository.header(new)
    if header is None:
        raise Unavailable(
            f"what was pushed is gone: {new[:12]} is no longer in {repository.path.name}", "push it again"
        )
    return header[0] == "commit"


def relate(place: Place, head: Head, new: str) -> tuple[Relation, Sequence[Candidate]]:
    """How the commit `new` stands to the head, and the commits between, oldest first, if it extends it."""
    repository = place.repository
    if not _is_commit(repository, new):
        return Relation.NO_COMMIT, ()
    limit, largest = place.limits.events, place.limits.commit_bytes
    near, reached = repository.chain(new, head.oid, at_most=NEAR, largest=largest)
    if reached:
        if len(near) > limit:
            return Relation.TOO_LONG, ()
        return Relation.EXTENDS, [Candidate(oid, raw) for oid, raw in near]
    git = repository.git
    if git.is_ancestor(new, head.oid):
        return Relation.BEHIND, ()
    if not git.is_ancestor(head.oid, new):
        return (Relation.FORKS if git.related(new, head.oid) else Relation.UNRELATED), ()
    far = [Candidate(oid, raw) for oid, raw in islice(git.commits(new, after=head.oid, largest=largest), limit + 1)]
    if len(far) > limit:
        return Relation.TOO_LONG, ()
    return (Relation.EXTENDS if first_parent(far[0].raw) == head.oid else Relation.MERGES), far


def claimed_ids(commits: Sequence[Candidate]) -> list[str]:
    """The Event-Ids that these commits claim; what is malformed claims none, and `decide` will say so."""
    found: list[str] = []
    for commit in commits:
        try:
            found.append(read_event(commit.raw, oid=commit.oid, parent_seq=0).event.id)
        except BadEvent:
            continue
    return found


def plain_patterns(place: Place) -> list[str]:
    """Refs that the repo's configuration (`shardd.plainRefs`, repeated) leaves to git."""
    return [word for value in place.repository.git.values(PLAIN_REFS) for word in value.split()]


def plainly(ref: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns leaves this ref to git; none leaves one in a folder of ours."""
    if ref.startswith(OURS) or ".." in ref:
        return False
    return any(fnmatch.fnmatchcase(ref, pattern) for pattern in patterns)
