"""`repo` and `space`: what exists, and whether it takes events."""

from __future__ import annotations

from dataclasses import dataclass

from shardd.authority.facts import Standing
from shardd.commands.caller import Context
from shardd.commands.grammar import Words, integer
from shardd.commands.result import Answer, record, say, table
from shardd.core.canonical import Json
from shardd.core.names import Address, check_repo
from shardd.core.roles import Role
from shardd.core.tenancy import left_text
from shardd.errors import Misuse


@dataclass(frozen=True, slots=True)
class RepoCreate:
    repo: str

    def run(self, context: Context) -> Answer:
        context.require_admin()
        context.authorities.create(self.repo)
        return say(f"created the repo {self.repo}", {"repo": self.repo})


@dataclass(frozen=True, slots=True)
class RepoList:
    def run(self, context: Context) -> Answer:
        found = list(context.readable())
        return table(["REPO"], [[name] for name in found], [{"repo": name} for name in found], empty="no repos")


@dataclass(frozen=True, slots=True)
class SpaceCreate:
    """first: the number of its first event"""

    address: Address
    first: int

    def run(self, context: Context) -> Answer:
        with context.authority(self.address, Role.ADMIN, begun=False) as authority:
            head = authority.create(self.address.space, seq=self.first - 1)
        return say(f"created the space {self.address}", {"space": str(self.address), "seq": head.seq, "oid": head.oid})


@dataclass(frozen=True, slots=True)
class SpaceList:
    repo: str | None

    def run(self, context: Context) -> Answer:
        rows: list[list[str]] = []
        values: list[Json] = []
        for repo in [self.repo] if self.repo else list(context.readable()):
            with context.authority(repo) as authority:
                for space in authority.spaces():
                    standing = authority.standing(space)
                    facts = _facts(repo, standing)
                    rows.append([text for _, text in facts])
                    values.append(_value(repo, standing))
        return table(["SPACE", "SEQ", "HEAD", "LEASE", "STATE"], rows, values, empty="no spaces")


@dataclass(frozen=True, slots=True)
class SpaceShow:
    address: Address

    def run(self, context: Context) -> Answer:
        with context.authority(self.address, Role.READ) as authority:
            standing = authority.standing(self.address.space)
        return record(_facts(self.address.repo, standing), _value(self.address.repo, standing))


@dataclass(frozen=True, slots=True)
class SpaceFreeze:
    address: Address
    message: str | None

    def run(self, context: Context) -> Answer:
        message = None if self.message is None else " ".join(self.message.split())[:200]
        if message == "":
            raise Misuse("say why: the message is what a pusher is shown")
        with context.authority(self.address, Role.ADMIN) as authority:
            authority.freeze(self.address.space, message)
        done = f"{self.address} is read-only now: {message}" if message else f"{self.address} takes events again"
        return say(done, {"space": str(self.address), "frozen": message})


def _facts(repo: str, standing: Standing) -> list[tuple[str, str]]:
    lease = standing.tenancy.lease
    held = f"{lease.holder} (epoch {lease.epoch}, {left_text(lease.left(standing.now))} left)" if lease else "-"
    return [
        ("space", f"{repo}/{standing.space}"),
        ("seq", str(standing.head.seq) if standing.head else "-"),
        ("head", standing.head.oid[:12] if standing.head else "-"),
        ("lease", held),
        ("state", f"frozen: {standing.frozen}" if standing.frozen else "open"),
    ]


def _value(repo: str, standing: Standing) -> Json:
    lease = standing.tenancy.lease
    return {
        "space": f"{repo}/{standing.space}",
        "seq": standing.head.seq if standing.head else None,
        "oid": standing.head.oid if standing.head else None,
        "holder": lease.holder if lease else None,
        "epoch": standing.tenancy.epoch,
        "frozen": standing.frozen,
    }


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
        made.add_argument("address", metavar="REPO/SPACE", type=Address.parse)
        if name == "create":
            made.add_argument("--first", metavar="SEQ", type=integer, default=1, help="number of the first event")
        elif name == "freeze":
            made.add_argument("message", metavar="MESSAGE", help="what a pusher is shown")
        elif name == "thaw":
            made.set_defaults(message=None)
    space.command("list", SpaceList, "list spaces").add_argument("repo", metavar="REPO", type=check_repo, nargs="?")
