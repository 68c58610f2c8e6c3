"""`whoami` and `principal`: who one is, who there is, and the end of somebody's time here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from shardd.commands.caller import Context
from shardd.commands.grammar import Words
from shardd.commands.result import Answer, Done, Facts, Table, say
from shardd.core.canonical import Json
from shardd.core.lease import BAR_MS, Revoke
from shardd.core.names import check_principal
from shardd.core.plural import many
from shardd.core.refs import locks_besides_spaces
from shardd.core.roles import Access
from shardd.errors import Rejected
from shardd.files.access import Snapshot, no_such_principal


@dataclass(frozen=True, slots=True)
class WhoAmI:
    def run(self, context: Context) -> Answer[Me]:
        me = context.me()
        return Answer([Me(me, _roles(context.granted().access, me), context.fingerprint)], _ME)


@dataclass(frozen=True, slots=True)
class Me:
    """key: fingerprint of the one that was used, if any was"""

    principal: str
    roles: list[str]
    key: str | None

    def facts(self) -> list[tuple[str, str]]:
        said = [("principal", self.principal), ("roles", ", ".join(self.roles) or "none")]
        return said if self.key is None else [*said, ("key", self.key)]

    def value(self) -> Json:
        return {"principal": self.principal, "roles": list[Json](self.roles), "key": self.key}


_ME = Facts(Me.facts, Me.value)


def _roles(access: Access, principal: str) -> list[str]:
    return sorted(f"{g.role} {g.scope}" for g in access.grants if g.principal == principal)


@dataclass(frozen=True, slots=True)
class PrincipalList:
    def run(self, context: Context) -> Answer[Known]:
        context.require_admin()
        snapshot = context.granted()
        names = sorted(snapshot.principals | snapshot.access.retired)
        return Answer([Known.of(snapshot, name) for name in names], _PRINCIPALS)


@dataclass(frozen=True, slots=True)
class PrincipalShow:
    name: str

    def run(self, context: Context) -> Answer[Known]:
        if self.name != context.principal:
            context.require_admin()
        snapshot = context.granted()
        if self.name not in snapshot.principals | snapshot.access.retired:
            raise no_such_principal(self.name, snapshot)
        held = [f"{repo}/{space}" for repo, space in _held(context, self.name)]
        return Answer([replace(Known.of(snapshot, self.name), holds=held)], _PRINCIPAL)


@dataclass(frozen=True, slots=True)
class Retire:
    """Takes keys, roles and leases away, and the name out of use. Fit to be run again if it was cut short."""

    name: str
    yes: bool

    def run(self, context: Context) -> Answer[Done]:
        context.require_admin()
        if self.name == context.principal:
            raise Rejected("not-permitted", "you cannot retire yourself", "ask another admin")
        self._ask(context)
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
        return say(lines, value)

    def _ask(self, context: Context) -> None:
        """Rejected unless it is meant: there is no way back. What was begun before is only brought to its end."""
        snapshot = context.granted()
        if self.yes or self.name in snapshot.access.retired or self.name not in snapshot.principals:
            return
        known = Known.of(snapshot, self.name)
        lost = f"{many(len(known.keys), 'key')}, roles ({', '.join(known.roles) or 'none'}) and leases go"
        what = f"retiring {self.name} is for good: {lost}, and the name is never given again"
        if not context.confirmed(what):
            raise Rejected("unconfirmed", what, f"if you mean it: `shardd principal retire {self.name} --yes`")


@dataclass(frozen=True, slots=True)
class Known:
    """users: OS users mapped to the principal, for pushes by local path; holds: spaces, None where nobody looked"""

    name: str
    retired: bool
    keys: list[str]
    roles: list[str]
    users: list[str]
    holds: list[str] | None = None

    @classmethod
    def of(cls, snapshot: Snapshot, name: str) -> Known:
        access = snapshot.access
        return cls(
            name,
            name in access.retired,
            sorted(print_ for print_, owner in snapshot.keys.items() if owner == name),
            _roles(access, name),
            sorted(user for user, principal in access.local.items() if principal == name),
        )

    @property
    def state(self) -> str:
        return "retired" if self.retired else "active"

    def row(self) -> list[str]:
        return [self.name, str(len(self.keys)), ", ".join(self.roles) or "none", self.state]

    def facts(self) -> list[tuple[str, str]]:
        return [
            ("principal", self.name),
            ("state", self.state),
            ("roles", ", ".join(self.roles) or "none"),
            *(("key", print_) for print_ in self.keys),
            *(("os user", user) for user in self.users),
            *(("holds", address) for address in self.holds or ()),
        ]

    def value(self) -> Json:
        said: dict[str, Json] = {
            "principal": self.name,
            "state": self.state,
            "keys": list[Json](self.keys),
            "roles": list[Json](self.roles),
            "local": list[Json](self.users),
        }
        return said if self.holds is None else {**said, "holds": list[Json](self.holds)}


_PRINCIPAL = Facts(Known.facts, Known.value)
_PRINCIPALS = Table(["PRINCIPAL", "KEYS", "ROLES", "STATE"], Known.row, Known.value, empty="nobody")


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
        made = principal.command(name, make, help)
        made.add_argument("name", metavar="NAME", type=check_principal)
        if name == "retire":
            made.add_argument("--yes", action="store_true", help="do not ask")
