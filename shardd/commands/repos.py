"""`repo` and `space`: what exists, and whether it takes events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from shardd.authority.facts import Standing
from shardd.commands import space_types
from shardd.commands.caller import Context
from shardd.commands.grammar import Words, integer
from shardd.commands.result import Answer, Done, Facts, Table, say
from shardd.core.canonical import Json
from shardd.core.durations import left_text
from shardd.core.names import Address, check_new, check_repo
from shardd.core.plural import many
from shardd.core.roles import Role
from shardd.errors import Misuse


@dataclass(frozen=True, slots=True)
class RepoCreate:
    repo: str

    def run(self, context: Context) -> Answer[Done]:
        context.require_admin()
        context.authorities.create(check_new("repo", self.repo))
        return say(f"created the repo {self.repo}", {"repo": self.repo})


@dataclass(frozen=True, slots=True)
class RepoList:
    def run(self, context: Context) -> Answer[str]:
        return Answer(context.readable(), _REPOS)


@dataclass(frozen=True, slots=True)
class SpaceCreate:
    """first: the number of its first event"""

    address: Address
    first: int

    def run(self, context: Context) -> Answer[Done]:
        with context.authority(self.address, Role.ADMIN, begun=False) as authority:
            head = authority.create(self.address.space, seq=self.first - 1)
        return say(f"created the space {self.address}", {"space": str(self.address), "seq": head.seq, "oid": head.oid})


@dataclass(frozen=True, slots=True)
class SpaceList:
    repo: str | None

    def run(self, context: Context) -> Answer[Stands]:
        return Answer(self._standings(context), _SPACES)

    def _standings(self, context: Context) -> Iterator[Stands]:
        for repo in [self.repo] if self.repo else context.readable():
            with context.authority(repo) as authority:
                for space in authority.spaces():
                    yield repo, authority.standing(space)


@dataclass(frozen=True, slots=True)
class SpaceShow:
    address: Address

    def run(self, context: Context) -> Answer[Stands]:
        with context.authority(self.address, Role.READ) as authority:
            return Answer([(self.address.repo, authority.standing(self.address.space))], _SPACE)


@dataclass(frozen=True, slots=True)
class SpaceFreeze:
    address: Address
    message: list[str] | None

    def run(self, context: Context) -> Answer[Done]:
        message = None if self.message is None else " ".join(" ".join(self.message).split())[:200]
        if message == "":
            raise Misuse("say why: the message is what a pusher is shown")
        with context.authority(self.address, Role.ADMIN) as authority:
            authority.freeze(self.address.space, message)
        done = f"{self.address} is read-only now: {message}" if message else f"{self.address} takes events again"
        return say(done, {"space": str(self.address), "frozen": message})


Stands: TypeAlias = tuple[str, Standing]
"""A repo, and how a space of it stands."""


def _facts(stands: Stands) -> list[tuple[str, str]]:
    repo, standing = stands
    lease = standing.tenancy.lease
    held = f"{lease.holder} (epoch {lease.epoch}, {left_text(lease.left(standing.now))} left)" if lease else "-"
    listed = "" if standing.takes is None else f", takes {many(len(standing.takes.types), 'type')}"
    return [
        ("space", f"{repo}/{standing.space}"),
        ("seq", str(standing.head.seq) if standing.head else "-"),
        ("head", standing.head.oid[:12] if standing.head else "-"),
        ("lease", held),
        ("state", f"frozen: {standing.frozen}" if standing.frozen else f"open{listed}"),
    ]


def _value(stands: Stands) -> Json:
    repo, standing = stands
    lease = standing.tenancy.lease
    return {
        "space": f"{repo}/{standing.space}",
        "seq": standing.head.seq if standing.head else None,
        "oid": standing.head.oid if standing.head else None,
        "holder": lease.holder if lease else None,
        "epoch": standing.tenancy.epoch,
        "frozen": standing.frozen,
        "types": None if standing.takes is None else list(standing.takes.types),
    }


_REPOS: Table[str] = Table(["REPO"], lambda name: [name], lambda name: {"repo": name}, empty="no repos")
_SPACE = Facts(_facts, _value)
_SPACES: Table[Stands] = Table(
    ["SPACE", "SEQ", "HEAD", "LEASE", "STATE"],
    lambda stands: [text for _, text in _facts(stands)],
    _value,
    empty="no spaces",
)


def add(words: Words) -> None:
    repo = words.group("repo", "the repos of this server")
    repo.command("create", RepoCreate, "create a repo").add_argument("repo", metavar="REPO", type=check_repo)
    repo.command("list", RepoList, "list the repos you may read")
    space = words.group("space", "the spaces of a repo")
    for name, make, help in (
        ("create", SpaceCreate, "create a space"),
        ("show", SpaceShow, "show where a space stands"),
        ("freeze", SpaceFreeze, "make a space read-only"),
        ("thaw", SpaceFreeze, "let a frozen space take events again"),
    ):
        made = space.command(name, make, help)
        made.add_space(new=name == "create")
        if name == "create":
            made.add_argument("--first", metavar="SEQ", type=integer, default=1, help="number of the first event")
        elif name == "freeze":
            made.add_argument("message", metavar="MESSAGE", nargs="+", help="what a pusher is shown")
        elif name == "thaw":
            made.set_defaults(message=None)
    space_types.add(space)
    words.command("status", SpaceShow, "show where a space stands, and whose turn it is").add_space()
    space.command("list", SpaceList, "list spaces").add_argument("repo", metavar="REPO", type=check_repo, nargs="?")
