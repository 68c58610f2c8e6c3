"""`whoami` and `principal`: who one is, who there is, and the end of somebody's time here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shardd.commands.caller import Context
from shardd.commands.grammar import Words
from shardd.commands.result import Answer, record, table
from shardd.core.canonical import Json
from shardd.core.lease import BAR_MS, Revoke
from shardd.core.names import check_principal
from shardd.core.refs import locks_besides_spaces
from shardd.core.roles import Access
from shardd.errors import Rejected
from shardd.files.access import Snapshot


@dataclass(frozen=True, slots=True)
class WhoAmI:
    def run(self, context: Context) -> Answer:
        me = context.me()
        roles = _roles(context.granted().access, me)
        facts = [("principal", me), ("roles", ", ".join(roles) or "none")]
        if context.fingerprint is not None:
            facts.append(("key", context.fingerprint))
        return record(facts, {"principal": me, "roles": list(roles), "key": context.fingerprint})


def _roles(access: Access, principal: str) -> list[str]:
    return sorted(f"{g.role} {g.scope}" for g in access.grants if g.principal == principal)


@dataclass(frozen=True, slots=True)
class PrincipalList:
    def run(self, context: Context) -> Answer:
        context.require_admin()
        snapshot = context.granted()
        known = [_Facts.of(snapshot, name) for name in sorted(snapshot.principals | snapshot.access.retired)]
        rows = [[f.name, str(len(f.keys)), ", ".join(f.roles) or "none", f.state] for f in known]
        return table(["PRINCIPAL", "KEYS", "ROLES", "STATE"], rows, [f.value() for f in known], empty="nobody")


@dataclass(frozen=True, slots=True)
class PrincipalShow:
    name: str

    def run(self, context: Context) -> Answer:
        if self.name != context.principal:
            context.require_admin()
        snapshot = context.granted()
        if self.name not in snapshot.principals | snapshot.access.retired:
            raise Rejected("not-found", f"there is no principal {self.name}", "see `shardd principal list`")
        facts = _Facts.of(snapshot, self.name)
        held = list(_held(context, self.name))
        lines = [
            ("principal", facts.name),
            ("state", facts.state),
            ("roles", ", ".join(facts.roles) or "none"),
            *(("key", print_) for print_ in facts.keys),
            *(("os user", user) for user in facts.users),
            *(("holds", f"{repo}/{space}") for repo, space in held),
        ]
        holds: list[Json] = [f"{repo}/{space}" for repo, space in held]
        return record(lines, {**facts.value(), "holds": holds})


@dataclass(frozen=True, slots=True)
class Retire:
    """Takes keys, roles and leases away, and the name out of use. Fit to be run again if it was cut short."""

    name: str

    def run(self, context: Context) -> Answer:
        context.require_admin()
        if self.name == context.principal:
            raise Rejected("not-permitted", "you cannot retire yourself", "ask another admin")
        new = context.server.access.retire(self.name, allowed=context.require_admin)
        # Rights are asked under a lock: whoever has it from here on grants nothing to the name any more, and what was
        # granted before is seen under it.
        text = f"{self.name} was retired"
        revoked: list[str] = []
        for repo in context.server.repo_names():
            with context.authority(repo) as authority:
                with authority.hold([], also=locks_besides_spaces(self.name)):
                    pass  # a push that had them before has come to its end
                for space in authority.ledger.spaces():
                    with authority.hold([space]) as held:
                        lease = held.standing(space).tenancy.lease
                        if lease is not None and lease.holder == self.name:
                            held.change(space, Revoke(BAR_MS, text))
                            revoked.append(f"{repo}/{space}")
        lines = [f"retired {self.name}" if new else f"{self.name} was retired before"]
        lines += [f"revoked the lease of {address}" for address in revoked]
        value: Json = {"principal": self.name, "changed": new, "revoked": list[Json](revoked)}
        return Answer(lines, [value])


@dataclass(frozen=True, slots=True)
class _Facts:
    """users: OS users mapped to the principal, for pushes by local path"""

    name: str
    retired: bool
    keys: list[str]
    roles: list[str]
    users: list[str]

    @classmethod
    def of(cls, snapshot: Snapshot, name: str) -> _Facts:
        access = snapshot.access
        return cls(
            name,
            name in access.retired,
            sorted(print_ for print_, owner in snapshot.keys.items() if owner == name),
            sorted(f"{g.role} {g.scope}" for g in access.grants if g.principal == name),
            sorted(user for user, principal in access.local.items() if principal == name),
        )

    @property
    def state(self) -> str:
        return "retired" if self.retired else "active"

    def value(self) -> dict[str, Json]:
        return {
            "principal": self.name,
            "state": self.state,
            "keys": list[Json](self.keys),
            "roles": list[Json](self.roles),
            "local": list[Json](self.users),
        }


def _held(context: Context, name: str) -> Iterator[tuple[str, str]]:
    """Repo and space of each live lease of a principal."""
    for repo in context.readable():
        with context.authority(repo) as authority:
            yield from ((repo, space) for space in authority.held_by(name))


def add(words: Words) -> None:
    words.command("whoami", WhoAmI, "show who you are here, and what you may do")
    principal = words.group("principal", "who there is")
    principal.command("list", PrincipalList, "list principals, the retired ones too")
    for name, make, help in (
        ("show", PrincipalShow, "show one's keys, roles and leases"),
        ("retire", Retire, "take everything away, for good: the name is not given again"),
    ):
        principal.command(name, make, help).add_argument("name", metavar="NAME", type=check_principal)
