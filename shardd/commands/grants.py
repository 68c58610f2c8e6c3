"""`role`: what principals may do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shardd.commands.caller import Context
from shardd.commands.grammar import Words
from shardd.commands.result import Answer, Done, Table, say
from shardd.core.canonical import Json
from shardd.core.names import check_principal
from shardd.core.nearest import did_you_mean
from shardd.core.roles import ALL, GRANTABLE, Grant, check_scope
from shardd.errors import Rejected


@dataclass(frozen=True, slots=True)
class RoleGrant:
    name: str
    role: str
    scope: str

    def run(self, context: Context) -> Answer[Done]:
        context.require_admin()
        grant = Grant(self.name, self.role, self.scope)
        warnings = [*self._nobody(context), *self._nothing(context)]
        new = context.server.access.grant(grant, allowed=context.require_admin)
        done = "has" if new else "already had"
        value: Json = {
            "principal": self.name,
            "role": self.role,
            "scope": self.scope,
            "changed": new,
            "warnings": list[Json](warnings),
        }
        lines = [f"{self.name} {done} {self.role} on {self.scope}", *(f"warning: {each}" for each in warnings)]
        return say(lines, value)

    def _nobody(self, context: Context) -> Iterator[str]:
        """Nobody comes by this name so far: it may be before its time, or a slip."""
        snapshot = context.granted()
        known = {*snapshot.keys.values(), *snapshot.access.local.values(), *snapshot.access.admins}
        hint = did_you_mean(self.name, known)
        if self.name not in known and (hint or not snapshot.authorities):
            yield f"nobody is called {self.name} yet, by key or [local]{hint}"

    def _nothing(self, context: Context) -> Iterator[str]:
        """The scope reaches nothing so far."""
        repo, slash, pattern = self.scope.partition("/")
        repos = context.server.repo_names()
        if self.scope != ALL and repo not in repos:
            yield f"there is no repo {repo} yet{did_you_mean(repo, repos)}"
        elif slash and "*" not in pattern:
            with context.authority(repo) as authority:
                spaces = authority.spaces()
            if pattern not in spaces:
                yield f"there is no space {self.scope} yet{did_you_mean(pattern, spaces)}"


@dataclass(frozen=True, slots=True)
class RoleRevoke:
    name: str
    role: str
    scope: str

    def run(self, context: Context) -> Answer[Done]:
        context.require_admin()
        grant = Grant(self.name, self.role, self.scope)
        if not context.server.access.revoke(grant, allowed=context.require_admin):
            held = [f"{g.role} {g.scope}" for g in context.granted().access.grants if g.principal == self.name]
            near = did_you_mean(f"{self.role} {self.scope}", held)
            raise Rejected(
                "not-found", f"{self.name} has no role {self.role} on {self.scope}{near}", "see `shardd role list`"
            )
        return say(
            f"{self.name} no longer has {self.role} on {self.scope}",
            {"principal": self.name, "role": self.role, "scope": self.scope, "changed": True},
        )


@dataclass(frozen=True, slots=True)
class RoleList:
    def run(self, context: Context) -> Answer[Grant]:
        context.require_admin()
        return Answer(sorted(context.granted().access.grants), _GRANTS)


_GRANTS: Table[Grant] = Table(
    ["PRINCIPAL", "ROLE", "SCOPE"],
    lambda grant: [grant.principal, grant.role, grant.scope],
    lambda grant: {"principal": grant.principal, "role": grant.role, "scope": grant.scope},
    empty="no roles",
)


def add(words: Words) -> None:
    role = words.group("role", "what principals may do")
    for name, make, help in (
        ("grant", RoleGrant, "give a role on a scope"),
        ("revoke", RoleRevoke, "take a role away"),
    ):
        made = role.command(name, make, help)
        made.add_argument("name", metavar="NAME", type=check_principal)
        made.add_argument("role", metavar="ROLE", help=", ".join(GRANTABLE))
        made.add_argument("scope", metavar="SCOPE", type=check_scope, help="@all, REPO or REPO/PATTERN")
    role.command("list", RoleList, "list all roles")
