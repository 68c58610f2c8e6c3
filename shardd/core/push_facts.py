"""What is known of a push when it is judged: gathered elsewhere, complete, and the one argument of `decide`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from shardd.core.codec import Written, read_event
from shardd.core.event import Head
from shardd.core.limits import Limits, TooLarge
from shardd.core.notes import NotesFacts
from shardd.core.refs import Change
from shardd.core.roles import Role
from shardd.core.taken_types import Takes
from shardd.core.tenancy import Tenancy
from shardd.errors import BadEvent


class Relation(StrEnum):
    """How the pushed commit stands to the head."""

    EXTENDS = "extends"  # the head is reached from it through first parents
    BEHIND = "behind"  # it is an ancestor of the head
    MERGES = "merges"  # the head is reached from it, but not through first parents
    FORKS = "forks"  # they have an ancestor in common
    UNRELATED = "unrelated"  # they have none
    NO_COMMIT = "no commit"  # it is a tag, a tree or a blob
    TOO_LONG = "too long"  # more commits than one push may hold
    TOO_LARGE = "too large"  # one of them has more bytes than a commit may have: it was not read


@dataclass(frozen=True)
class Candidate:
    """One pushed commit: its oid and its bytes, and what was read of them, which is done once."""

    oid: str
    raw: bytes

    @cached_property
    def read(self) -> Written | BadEvent:
        """What it says, or why it is no event. Its number counts only where it says so: see Written.after."""
        try:
            return read_event(self.raw, oid=self.oid, parent_seq=0)
        except BadEvent as error:
            return error


def claimed_ids(commits: Iterable[Candidate]) -> list[str]:
    """The Event-Ids that these commits claim; what is malformed claims none, and `decide` will say so."""
    return [commit.read.event.id for commit in commits if not isinstance(commit.read, BadEvent)]


@dataclass(frozen=True, slots=True)
class SpaceFacts:
    """What is known of the space that a change is for.

    head: None if nobody created the space; tenancy: as observed at `now`, in milliseconds of the space's lease clock
    relation, commits: of the pushed commit, oldest first, the head excluded
    oversized: where the relation is TOO_LARGE, the commit that is
    known_ids: those of the pushed Event-Ids that the space already has, and where
    takes: the event types that the space takes, None for any
    drafted: the commits were made here, from events; nobody has them who could amend them
    importing: a whole log is to be taken over, which core/import_chain.py has checked event by event
    checked: with which `takes` it has
    begins: nobody has created the space; it is begun by this, and `head` is its genesis
    """

    head: Head | None
    tenancy: Tenancy
    now: int
    frozen: str | None = None
    relation: Relation = Relation.EXTENDS
    commits: Sequence[Candidate] = ()
    oversized: TooLarge | None = None
    known_ids: Mapping[str, Head] = field(default_factory=dict)
    takes: Takes | None = None
    drafted: bool = False
    importing: bool = False
    checked: Takes | None = None
    begins: bool = False


@dataclass(frozen=True, slots=True)
class ChangeFacts:
    """One change and what is known about it.

    may_import: take over whole logs, with the actors that they name; owner: the pusher may write the files anyway, and
    so append under any name
    current: where the ref stands now; symbolic: it points at another ref
    kept: the ledger has a place for it beside the logs: one of no family, if the repo's configuration leaves it to git
    commit: whether `new` names a commit; fast_forward: whether it descends from `current`
    notes: None where they are another's, or deleted, or would not go on from `current`
    """

    change: Change
    role: Role
    may_import: bool = False
    owner: bool = False
    current: str | None = None
    symbolic: bool = False
    kept: bool = False
    commit: bool = False
    fast_forward: bool = False
    space: SpaceFacts | None = None
    notes: NotesFacts | None = None


@dataclass(frozen=True, slots=True)
class PushFacts:
    """A whole push. epoch, take_lease: what its push options ask for.

    malformed: the first of its options that is ours and says nothing that we know, as it was written
    unleased: the pusher may write the repo's files anyway, and needs no lease while nobody holds one
    """

    repo: str
    principal: str | None
    changes: Sequence[ChangeFacts]
    epoch: int | None = None
    take_lease: bool = False
    malformed: str | None = None
    unleased: bool = False
    limits: Limits = field(default_factory=Limits)
