"""`role`: what principals may do."""

from __future__ import annotations

from dataclasses import dataclass

from shardd.commands.caller import Context
from shardd.commands.grammar import Words
from shardd.commands.result import Answer, Done, Table, say
from shardd.core.canonical import Json
from shardd.core.names import check_principal
from shardd.core.roles import GRANTABLE, Grant, check_scope
from shardd.errors import Rejected


@dataclass(frozen=True, slots=True)
class RoleGrant:
    name: str
    role: str
    scope: str

    def run(self, context: Context) -> Answer[Done]:
        context.require_admin()
        new = context.server.access.grant(Grant(self.name, self.role, self.scope), allowed=context.require_admin)
        done = "has" if new else "already had"
        return say(f"{self.name} {done} {self.role} on {self.scope}", self._value(new))

    def _value(self, changed: bool) -> Json:
        return {"principal": self.name, "role": self.role, "scope": self.scope, "changed": changed}


@dataclass(frozen=True, slots=True)
class RoleRevoke:
    name: str
    role: str
    scope: str

    def run(self, context: Context) -> Answer[Done]:
        context.require_admin()
        grant = Grant(self.name, self.role, self.scope)
        if not context.server.access.revoke(grant, allowed=context.require_admin):
            raise Rejected(
                "not-found", f"{self.name} has no role {self.role} on {self.scope}", "see `shardd role list`"
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
