"""Gathering what the rules of a push need to know. Nothing is refused here; what cannot be found out is raised.

Gathered twice for each push: without locks in pre-receive, where a refusal is cheap and the objects are still in
quarantine, and again under the locks in proc-receive, where the answer counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from shardd.authority.ledger import Incoming, Kept
from shardd.core.codec import genesis_oid
from shardd.core.event import Head
from shardd.core.lease import Transitioned, observe
from shardd.core.limits import Limits, TooLarge
from shardd.core.push_facts import Candidate, ChangeFacts, PushFacts, Relation, SpaceFacts, claimed_ids
from shardd.core.refs import NOTES, Change, Mover, Ref, family_of, space_ref
from shardd.core.roles import Rights, Role
from shardd.core.taken_types import Takes
from shardd.core.tenancy import Lease, Tenancy
from shardd.errors import Misuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for a repo. label: its name in messages and in the scopes of roles; rights: who may do what there."""

    label: str
    rights: Rights
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a space stands at `now`, in milliseconds of the lease clock. head: None if it does not exist."""

    space: str
    head: Head | None
    tenancy: Tenancy
    frozen: str | None
    now: int
    takes: Takes | None = None

    @classmethod
    def of(cls, space: str, kept: Kept, head: Head | None) -> Standing:
        return cls(space, head, observe(kept.tenancy, kept.now), kept.frozen, kept.now, kept.takes)


@dataclass(frozen=True, slots=True)
class Changed:
    """The answer to a lease change, at `now` of the lease clock.

    waiting: how many stand before the asker, if it was put in line instead; they and the holder are in `line`, in turn
    """

    epoch: int
    head: Head
    lease: Lease | None
    now: int
    waiting: int | None = None
    line: tuple[str, ...] = ()

    @classmethod
    def of(cls, made: Transitioned, head: Head, now: int) -> Changed:
        before = tuple(waiter.principal for waiter in made.after.waiters[: made.waiting or 0])
        return cls(made.after.epoch, head, made.after.lease, now, made.waiting, before)


class Ground(Protocol):
    """Where one stands who asks about spaces: under their locks, where answers hold, or without, for a first look."""

    def standing(self, space: str) -> Standing: ...

    def find(self, space: str, head: Head, ids: Sequence[str]) -> Mapping[str, Head]:
        """Those of `ids` that the space has up to `head`, and where. Without the lock some may be left out."""
        ...

    def ref(self, name: str) -> str | None: ...

    def takes(self, refs: Sequence[Ref]) -> Collection[Ref]: ...


LOCAL = "local"
"""Who appends without a name, because writing the files is right enough."""


@dataclass(frozen=True, slots=True)
class Pusher:
    """Who pushes. principal: None if nobody was authenticated; unleased: see PushFacts."""

    principal: str | None
    unleased: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """What `git push -o` said to us. malformed: see PushFacts"""

    epoch: int | None = None
    take_lease: bool = False
    malformed: str | None = None


def parse_options(options: Sequence[str]) -> Options:
    """`epoch=N` and `lease=acquire`; options of other names are somebody else's."""
    epoch: int | None = None
    take_lease = False
    malformed: str | None = None
    for option in options:
        name, _, value = option.partition("=")
        if name == "epoch" and value.isascii() and value.isdigit() and len(value) <= 16:
            epoch = int(value)
        elif name == "lease" and value == "acquire":
            take_lease = True
        elif name in ("epoch", "lease"):
            malformed = malformed or option
    return Options(epoch, take_lease, malformed)


def gather(
    terms: Terms,
    pusher: Pusher,
    changes: Sequence[Change],
    options: Options,
    ground: Ground,
    incoming: Incoming,
) -> PushFacts:
    """The facts of a push, as things stand on `ground`."""
    beside = [change.parsed for change in changes if family_of(change.parsed).mover in (Mover.OWNER, Mover.ROLE)]
    push = _Push(terms, pusher.principal or "", ground, incoming, ground.takes(beside), alone=len(changes) == 1)
    gathered: dict[str, ChangeFacts] = {}
    repeated: list[ChangeFacts] = []
    for change in changes:
        if change.ref in gathered:
            # Refused for that, so nothing is looked up for it: a push has room for thousands.
            repeated.append(ChangeFacts(change=change, role=Role.NONE))
        else:
            gathered[change.ref] = push.change(change)
    return _of_push(terms, pusher, [*gathered.values(), *repeated], options)


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
    drafted: bool = False,
) -> PushFacts:
    """The facts of an append to one space whose commits are at hand, oldest first, and need not be stored yet.

    known: finds those of some Event-Ids that the space has, None if it has none; Misuse if there is no commit
    create: a space that does not exist may be begun by it; drafted: the commits were made here
    """
    if not commits:
        raise Misuse("an append without events")
    begins = standing.head is None and create
    if begins:
        standing = replace(standing, head=Head(0, genesis_oid(standing.space)))
    relation = Relation.EXTENDS if standing.head == expected else Relation.FORKS
    found = known(claimed_ids(commits)) if known and relation is Relation.EXTENDS else {}
    change = Change(space_ref(standing.space), expected.oid, commits[-1].oid)
    space = replace(space_facts(standing, relation, commits, found), begins=begins, drafted=drafted)
    return _one_space(terms, pusher, standing, change, space, options)


def import_facts(
    terms: Terms,
    pusher: Pusher,
    standing: Standing,
    beginning: Head | None,
    tip: str | None,
    options: Options,
    *,
    create: bool,
    checked: Takes | None,
) -> PushFacts:
    """The facts of an import of a whole log. create: a space that does not exist may be begun by it

    checked: what its events were held against, one by one

    beginning, tip: the genesis and the newest commit of its chain; None before that is known
    """
    begins = standing.head is None and create
    if begins:
        standing = replace(standing, head=beginning or Head(0, genesis_oid(standing.space)))
    old = beginning or standing.head
    change = Change(space_ref(standing.space), old.oid if old else None, tip or "")
    space = replace(space_facts(standing, Relation.EXTENDS, (), {}), importing=True, begins=begins, checked=checked)
    return _one_space(terms, pusher, standing, change, space, options)


def _one_space(
    terms: Terms, pusher: Pusher, standing: Standing, change: Change, space: SpaceFacts, options: Options
) -> PushFacts:
    who = pusher.principal or ""
    facts = ChangeFacts(
        change=change,
        role=terms.rights.role(who, terms.label, standing.space),
        may_import=terms.rights.may_import(who, terms.label, standing.space),
        owner=terms.rights.owner,
        current=standing.head.oid if standing.head else None,
        space=space,
    )
    return _of_push(terms, pusher, [facts], options)


def _of_push(terms: Terms, pusher: Pusher, changes: Sequence[ChangeFacts], options: Options) -> PushFacts:
    return PushFacts(
        repo=terms.label,
        principal=pusher.principal,
        changes=changes,
        epoch=options.epoch,
        take_lease=options.take_lease,
        malformed=options.malformed,
        unleased=pusher.unleased,
        limits=terms.limits,
    )


@dataclass(frozen=True, slots=True)
class _Push:
    """One push. who: the pusher; taken: the refs beside logs that the ledger has a place for

    alone: it moves one ref alone, as each push of a mere reader does; only then is all that it brings for this one
    """

    terms: Terms
    who: str
    ground: Ground
    incoming: Incoming
    taken: Collection[Ref]
    alone: bool

    def change(self, change: Change) -> ChangeFacts:
        ref, rights, repo = change.parsed, self.terms.rights, self.terms.label
        family = family_of(ref)
        kept = ref in self.taken
        # Of a ref that has no place here nothing is looked up: it is refused by its name.
        known = kept or family.mover is Mover.HOLDER
        current = self.ground.ref(change.ref) if known else None
        symbolic = current is not None and current.startswith("ref: ")
        role = rights.role(self.who, repo, ref.space)
        facts = notes = None
        commit = fast_forward = False
        if family.mover is Mover.HOLDER and ref.space is not None and not symbolic:
            # Who may not append is told so whatever was pushed: nothing of it is read.
            facts = self._space(ref.space, change, look=role >= family.role)
        elif family.mover is Mover.OWNER and kept and change.new is not None and not symbolic:
            commit = self.incoming.is_commit(change.new)
            fast_forward = commit and current is not None and self.incoming.descends(change.new, current)
            onwards = commit and (fast_forward or current is None)
            if family is NOTES and onwards and ref.principal == self.who and role >= family.role:
                notes = self.incoming.notes(change.new, current, self.terms.limits, alone=self.alone)
        return ChangeFacts(
            change=change,
            role=role,
            may_import=ref.space is not None and rights.may_import(self.who, repo, ref.space),
            owner=rights.owner,
            current=current,
            symbolic=symbolic,
            kept=kept,
            commit=commit,
            fast_forward=fast_forward,
            space=facts,
            notes=notes,
        )

    def _space(self, space: str, change: Change, *, look: bool) -> SpaceFacts:
        standing = self.ground.standing(space)
        relation = Relation.EXTENDS
        commits: Sequence[Candidate] = ()
        known: Mapping[str, Head] = {}
        head = standing.head
        if look and head is not None and change.new is not None:
            try:
                relation, commits = self.incoming.relate(head, change.new, self.terms.limits)
            except TooLarge as error:
                return replace(space_facts(standing, Relation.TOO_LARGE, (), {}), oversized=error)
            if relation is Relation.EXTENDS:
                known = self.ground.find(space, head, claimed_ids(commits))
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
        takes=standing.takes,
        relation=relation,
        commits=commits,
        known_ids=known,
    )
