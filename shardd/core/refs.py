"""The refs of an authoritative repo: one table of their families, a row each, and how a ref is told to be in one.

What is asked about a ref is answered by the row of its family: by the rules of a push and the facts that they judge,
by locks, views of one space, `shardd setup`, backup, verify and the doctor. Whoever adds a family writes a row.
What is in none belongs to PLAIN: it is refused unless the repo's configuration leaves it to git.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum, StrEnum
from functools import cached_property
from hashlib import sha256
from typing import ClassVar, TypeAlias

from shardd.core.names import is_id, is_intent, is_oid
from shardd.core.roles import Role

SPACES = "refs/heads/spaces/"
LEASES = "refs/leases/"


@dataclass(frozen=True, slots=True)
class SpaceRef:
    space: str
    principal: ClassVar[None] = None


@dataclass(frozen=True, slots=True)
class LeaseRef:
    space: str
    principal: ClassVar[None] = None


@dataclass(frozen=True, slots=True)
class NotesRef:
    principal: str
    space: ClassVar[None] = None


@dataclass(frozen=True, slots=True)
class IntentRef:
    space: str
    principal: str
    name: str


@dataclass(frozen=True, slots=True)
class ReplacementRef:
    oid: str
    space: ClassVar[None] = None
    principal: ClassVar[None] = None


@dataclass(frozen=True, slots=True)
class OtherRef:
    """A ref of no family."""

    name: str
    space: ClassVar[None] = None
    principal: ClassVar[None] = None


Ref: TypeAlias = SpaceRef | LeaseRef | NotesRef | IntentRef | ReplacementRef | OtherRef


class Lock(Enum):
    """Whose lock is taken before a ref moves."""

    SPACE = "its space's"
    OWNER = "one for all that its principal has in the family"
    NAME = "one of a few that names are spread over"


class Mover(StrEnum):
    """Who moves a ref by a push."""

    HOLDER = "holder"  # of the lease of its space, event by event: see core/policy.py
    OWNER = "owner"  # the principal that it names
    ROLE = "role"  # whoever has the role, if the repo's configuration leaves the ref to git
    NOBODY = "nobody"  # only what runs beside git: the authority, or an operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One row.

    prefix: what their full names begin with; kind, parts: what the rest is made of, split at each `/`
    mover, role: who moves one, and the least role that it takes on the space it belongs to, or else on the repo
    deletes, rewinds: whether its owner may do that; commits: whether it names commits only
    refused: why a push does not move it; remedies: what mends a refusal, by its code. {ref}, {repo}, {space} and {me}
    stand for the push's
    view: below the prefix, what whoever sees a repo through one {space} is shown, {me} being the reader
    fetched: the refspec by which a clone fetches it from {remote}, once for each space if it names {space}
    grows: it never goes back, and backups read it with the log of its space, under one lock
    harm: why the doctor calls one broken wherever it meets one
    """

    name: str
    prefix: str
    kind: Callable[..., Ref]
    parts: tuple[Callable[[str], bool], ...]
    lock: Lock
    mover: Mover
    role: Role = Role.ADMIN
    deletes: bool = False
    rewinds: bool = False
    commits: bool = False
    refused: str = "is not a ref that this repo takes"
    remedies: Mapping[str, str] = field(default_factory=dict)
    view: str | None = None
    fetched: str | None = None
    grows: bool = False
    harm: str | None = None

    def parse(self, rest: str) -> Ref | None:
        """The ref whose name is the prefix and `rest`; None if that is no name in this family."""
        parts = rest.split("/")
        if len(parts) != len(self.parts) or not all(fits(part) for fits, part in zip(self.parts, parts, strict=True)):
            return None
        return self.kind(*parts)


_PUSH_A_SPACE = {"ref-not-allowed": "push a space: `git push origin HEAD:spaces/NAME`"}

LOG = Family(
    name="log",
    prefix=SPACES,
    kind=SpaceRef,
    parts=(is_id,),
    lock=Lock.SPACE,
    mover=Mover.HOLDER,
    role=Role.APPEND,
    commits=True,
    view="{space}",
    grows=True,
)
JOURNAL = Family(
    name="journal",
    prefix=LEASES,
    kind=LeaseRef,
    parts=(is_id,),
    lock=Lock.SPACE,
    mover=Mover.NOBODY,
    commits=True,
    refused="is the journal of leases, which only the authority writes",
    remedies={"ref-not-allowed": "change leases with `shardd lease acquire {repo}/{space}`"},
    view="{space}",
    fetched="+refs/leases/*:refs/leases/*",
    grows=True,
)
NOTES = Family(
    name="notes",
    prefix="refs/notes/",
    kind=NotesRef,
    parts=(is_id,),
    lock=Lock.OWNER,
    mover=Mover.OWNER,
    role=Role.READ,
    commits=True,
    remedies={
        "ref-not-allowed": "keep them in a clone",
        "not-permitted": "push your own: refs/notes/{me}",
        "deletion": "remove single notes with `git notes remove`",
        "bad-event": "write them with `git notes`",
        "non-fast-forward": "run `git fetch origin {ref}` and `git notes merge FETCH_HEAD`",
    },
    view="{me}",
    # No principal is called so: what is fetched meets nobody's own.
    fetched="+refs/notes/*:refs/notes/@{remote}/*",
)
INTENTS = Family(
    name="intents",
    prefix="refs/intents/",
    kind=IntentRef,
    parts=(is_id, is_id, is_intent),
    lock=Lock.SPACE,
    mover=Mover.NOBODY,
    role=Role.PROPOSE,
    commits=True,
    refused="is for forwarded intents, which this server does not take",
    remedies={"ref-not-allowed": "append as the lease holder: `shardd lease acquire {repo}/{space}`"},
    view="{space}",
    fetched="+refs/intents/{space}/{me}/*:refs/intents/{space}/{me}/*",
)
REPLACEMENTS = Family(
    name="replacements",
    prefix="refs/replace/",
    kind=ReplacementRef,
    parts=(is_oid,),
    lock=Lock.NAME,
    mover=Mover.NOBODY,
    remedies=_PUSH_A_SPACE,
    harm="replaces an object for whoever reads with git's defaults",
)
FAMILIES = (LOG, JOURNAL, NOTES, INTENTS, REPLACEMENTS)
"""Ours: no configuration leaves a ref below these prefixes to git, however it goes on."""

PLAIN = Family(
    name="refs",
    prefix="",
    kind=OtherRef,
    parts=(),
    lock=Lock.NAME,
    mover=Mover.ROLE,
    role=Role.APPEND,
    remedies=_PUSH_A_SPACE,
    deletes=True,
    rewinds=True,
)

_BY_KIND = {family.kind: family for family in (*FAMILIES, PLAIN)}
_SPREAD = 64
"""Locks for all refs of families without an owner: few enough for a push that moves thousands of refs to take them."""


def family_at(name: str) -> Family | None:
    """The family of ours whose folder a full ref name is in, well formed or not."""
    return next((family for family in FAMILIES if name.startswith(family.prefix)), None)


def classify(name: str | bytes) -> Ref:
    """What a full ref name stands for. Total: anything unexpected is an OtherRef."""
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    family = family_at(text)
    return (family and family.parse(text[len(family.prefix) :])) or OtherRef(text)


def family_of(ref: Ref) -> Family:
    return _BY_KIND[type(ref)]


def name_of(ref: Ref) -> str:
    """The full name: the inverse of classify."""
    return family_of(ref).prefix + "/".join(str(getattr(ref, part.name)) for part in fields(ref))


def space_ref(space: str) -> str:
    return SPACES + space


def lease_ref(space: str) -> str:
    return LEASES + space


def lock_of(ref: Ref) -> str:
    """The name of the lock that is held while this ref moves: a space's own, or one that begins with `@`.

    It is the name of a file too, so nothing of a name that anybody may choose is in it.
    """
    family = family_of(ref)
    if family.lock is Lock.SPACE and ref.space is not None:
        return ref.space
    if family.lock is Lock.OWNER and ref.principal is not None:
        return f"@{family.name}-{ref.principal}"
    number = sha256(name_of(ref).encode("utf-8", "surrogatepass")).digest()[0] % _SPREAD
    return _spread(number)


def locks_besides_spaces(principal: str) -> list[str]:
    """The names of all locks that are held while a push of `principal` moves refs of no space."""
    own = [f"@{family.name}-{principal}" for family in FAMILIES if family.lock is Lock.OWNER]
    return own + [_spread(number) for number in range(_SPREAD)]


def _spread(number: int) -> str:
    return f"@{PLAIN.name}-{number:02}"


def shown(space: str, reader: str) -> list[str]:
    """Refs, and folders of refs, that are all that is seen of a repo through one of its spaces."""
    return [each.prefix + each.view.format(space=space, me=reader) for each in FAMILIES if each.view is not None]


def refspecs(spaces: Iterable[str], me: str, remote: str) -> Iterator[str]:
    """By which a clone fetches from `remote` what goes with the logs of these spaces."""
    names = list(spaces)
    for each in FAMILIES:
        if each.fetched is not None:
            for space in names if "{space}" in each.fetched else [""]:
                yield each.fetched.format(space=space, me=me, remote=remote)


@dataclass(frozen=True)
class Change:
    """One ref to be moved from `old` to `new` by compare-and-swap; None where it is to be created, or deleted."""

    ref: str
    old: str | None
    new: str | None

    @cached_property
    def parsed(self) -> Ref:
        """What the ref stands for, told once."""
        return classify(self.ref)

    @classmethod
    def of(cls, ref: Ref, old: str | None, new: str | None) -> Change:
        """The same, where it is known what the ref stands for."""
        change = cls(name_of(ref), old, new)
        change.__dict__["parsed"] = ref
        return change
