"""`key`, `role`, `principal` and `whoami`: who may do what, and who one is."""

from __future__ import annotations

from dataclasses import dataclass

from shardd.commands.answer import Answer, record, say, table
from shardd.commands.context import Context
from shardd.commands.grammar import Words
from shardd.core.canonical import Json
from shardd.core.names import check_principal
from shardd.core.roles import GRANTABLE, Access, Grant, check_scope
from shardd.errors import Misuse, Rejected
from shardd.storage.access import PublicKey


@dataclass(frozen=True, slots=True)
class KeyAdd:
    name: str
    file: str

    def run(self, context: Context) -> Answer:
        context.require_admin()
        lines = [line for line in context.small_input(self.file).split("\n") if line.strip()]
        if len(lines) != 1:
            raise Misuse(
                f"one public key is expected, not {len(lines)} lines", "give a file like ~/.ssh/id_ed25519.pub"
            )
        key = PublicKey.parse(lines[0])
        context.server.access.add_key(self.name, key)
        return say(f"added {key.fingerprint} to {self.name}", {"principal": self.name, "fingerprint": key.fingerprint})


@dataclass(frozen=True, slots=True)
class KeyRemove:
    name: str
    fingerprint: str

    def run(self, context: Context) -> Answer:
        context.require_admin()
        context.server.access.remove_key(self.name, self.fingerprint)
        return say(
            f"removed {self.fingerprint} from {self.name}", {"principal": self.name, "fingerprint": self.fingerprint}
        )


@dataclass(frozen=True, slots=True)
class KeyList:
    name: str | None

    def run(self, context: Context) -> Answer:
        if self.name is None or self.name != context.principal:
            context.require_admin()
        found = [
            (principal, key)
            for principal, keys in context.server.access.keys().items()
            for key in keys
            if self.name in (None, principal)
        ]
        rows = [[principal, key.fingerprint, key.algorithm, key.comment] for principal, key in found]
        values: list[Json] = [
            {"principal": principal, "fingerprint": key.fingerprint, "type": key.algorithm, "comment": key.comment}
            for principal, key in found
        ]
        return table(["PRINCIPAL", "FINGERPRINT", "TYPE", "COMMENT"], rows, values, empty="no keys")


@dataclass(frozen=True, slots=True)
class RoleGrant:
    name: str
    role: str
    scope: str

    def run(self, context: Context) -> Answer:
        context.require_admin()
        new = context.server.access.grant(Grant(self.name, self.role, self.scope))
        done = "has" if new else "already had"
        return say(f"{self.name} {done} {self.role} on {self.scope}", self._value(new))

    def _value(self, changed: bool) -> Json:
        return {"principal": self.name, "role": self.role, "scope": self.scope, "changed": changed}


@dataclass(frozen=True, slots=True)
class RoleRevoke:
    name: str
    role: str
    scope: str

    def run(self, context: Context) -> Answer:
        context.require_admin()
        if not context.server.access.revoke(Grant(self.name, self.role, self.scope)):
            raise Rejected(
                "not-found", f"{self.name} has no role {self.role} on {self.scope}", "see `shardd role list`"
            )
        return say(
            f"{self.name} no longer has {self.role} on {self.scope}",
            {"principal": self.name, "role": self.role, "scope": self.scope, "changed": True},
        )


@dataclass(frozen=True, slots=True)
class RoleList:
    def run(self, context: Context) -> Answer:
        context.require_admin()
        grants = sorted(context.access().grants)
        rows = [[g.principal, g.role, g.scope] for g in grants]
        values: list[Json] = [{"principal": g.principal, "role": g.role, "scope": g.scope} for g in grants]
        return table(["PRINCIPAL", "ROLE", "SCOPE"], rows, values, empty="no roles")


@dataclass(frozen=True, slots=True)
class WhoAmI:
    def run(self, context: Context) -> Answer:
        me = context.me()
        roles = _roles(context.access(), me)
        facts = [("principal", me), ("roles", ", ".join(roles) or "none")]
        if context.fingerprint is not None:
            facts.append(("key", context.fingerprint))
        return record(facts, {"principal": me, "roles": list(roles), "key": context.fingerprint})


def _roles(access: Access, principal: str) -> list[str]:
    return sorted(f"{g.role} {g.scope}" for g in access.grants if g.principal == principal)


def add(words: Words) -> None:
    words.command("whoami", WhoAmI, "show who you are here, and what you may do")
    key = words.group("key", "the SSH keys of principals")
    made = key.command("add", KeyAdd, "register a public key")
    made.add_argument("name", metavar="NAME", type=check_principal)
    made.add_argument(
        "file", metavar="FILE.pub", nargs="?", default="-", help="standard input if left out, or over ssh"
    )
    made = key.command("remove", KeyRemove, "take a key away")
    made.add_argument("name", metavar="NAME", type=check_principal)
    made.add_argument("fingerprint", metavar="FINGERPRINT", help="like SHA256:…, as `key list` shows it")
    made = key.command("list", KeyList, "list keys")
    made.add_argument("name", metavar="NAME", type=check_principal, nargs="?")
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
