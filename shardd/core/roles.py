"""Who may do what, as a value: roles are granted to principals on scopes.

    read < propose < append < admin        and `import`, which stands apart
    scope:  @all  |  REPO  |  REPO/PATTERN     (in a pattern `*` stands for any characters)

A role on a pattern implies `read` on its repo, because git serves whole repos. Whatever was not granted is denied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from shardd.core.names import check_principal, check_repo
from shardd.errors import Misuse, Rejected

ALL = "@all"
IMPORT = "import"


class Role(IntEnum):
    NONE = 0
    READ = 1
    PROPOSE = 2
    APPEND = 3
    ADMIN = 4

    def __str__(self) -> str:
        return self.name.lower()


GRANTABLE = ("read", "propose", "append", "admin", IMPORT)


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """role: one of GRANTABLE; scope: as above"""

    principal: str
    role: str
    scope: str

    def __post_init__(self) -> None:
        check_principal(self.principal)
        if self.role not in GRANTABLE:
            raise Misuse(f"{self.role!r} is not a role: {', '.join(GRANTABLE)}")
        check_scope(self.scope)

    def covers(self, repo: str, space: str | None) -> bool:
        """Whether the scope reaches the space, or, with no space, the repo as a whole."""
        if self.scope == ALL:
            return True
        name, slash, pattern = self.scope.partition("/")
        if name != repo:
            return False
        return not slash or (space is not None and matches(pattern, space))

    def touches(self, repo: str) -> bool:
        return self.scope == ALL or self.scope.partition("/")[0] == repo


@dataclass(frozen=True, slots=True)
class Access:
    """Everything that grants anything.

    local: principals by the name of an operating-system user; retired: names that were given once and never again
    """

    grants: frozenset[Grant] = frozenset()
    retired: frozenset[str] = frozenset()
    local: Mapping[str, str] = field(default_factory=dict)

    def role(self, principal: str, repo: str, space: str | None = None) -> Role:
        """The highest role that `principal` has on the space, or on the repo as a whole."""
        best = Role.NONE
        for grant in self._granted(principal):
            if grant.role == IMPORT:
                continue
            if grant.covers(repo, space):
                best = max(best, Role[grant.role.upper()])
            elif grant.touches(repo):
                best = max(best, Role.READ)
        return best

    def may_import(self, principal: str, repo: str, space: str) -> bool:
        return any(g.role == IMPORT and g.covers(repo, space) for g in self._granted(principal))

    def has_role(self, principal: str) -> bool:
        """Whether anything at all was granted."""
        return bool(self._granted(principal))

    def is_admin(self, principal: str) -> bool:
        return Grant(principal, "admin", ALL) in self.grants and principal not in self.retired

    @property
    def admins(self) -> set[str]:
        """All of them."""
        return {grant.principal for grant in self.grants if self.is_admin(grant.principal)}

    def given(self, principal: str, repo: str, space: str | None = None) -> Role:
        return self.role(principal, repo, space)

    @property
    def owner(self) -> bool:
        return False

    def _granted(self, principal: str) -> list[Grant]:
        if principal in self.retired:
            return []
        return [g for g in self.grants if g.principal == principal]


def not_permitted(principal: str, have: Role | None, need: Role, scope: str) -> Rejected:
    has = f", and has {have}" if have else ""
    return Rejected(
        "not-permitted",
        f"{principal} needs the role {need} on {scope}{has}",
        f"ask an admin for `shardd role grant {principal} {need} {scope}`",
    )


def check_scope(scope: str) -> str:
    """`scope` itself if well formed, else Misuse."""
    if scope == ALL:
        return scope
    repo, slash, pattern = scope.partition("/")
    check_repo(repo)
    if slash and not re.match(r"[a-z0-9*][a-z0-9._*-]{0,62}\Z", pattern):
        raise Misuse(f"{scope!r} is not a scope: write @all, REPO or REPO/PATTERN, where * stands for any characters")
    return scope


def matches(pattern: str, name: str) -> bool:
    """Whether the name is the pattern's, where `*` stands for any characters: each part is looked for once."""
    first, *rest = pattern.split("*")
    if not rest:
        return name == first
    *middle, last = rest
    at, end = len(first), len(name) - len(last)
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for part in middle:
        # The earliest place leaves the most room for what follows.
        at = name.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


class Rights(Protocol):
    """Where the rules look up what whoever asks may do. `Access` is one; `FileAccess` the other."""

    @property
    def owner(self) -> bool:
        """Whether it is whoever may write the files."""
        ...

    def role(self, principal: str, repo: str, space: str | None = None) -> Role: ...

    def may_import(self, principal: str, repo: str, space: str) -> bool: ...

    def is_admin(self, principal: str) -> bool:
        """Admin of everything."""
        ...

    def given(self, principal: str, repo: str, space: str | None = None) -> Role:
        """The role of somebody who need not be who asks."""
        ...


@dataclass(frozen=True, slots=True)
class FileAccess:
    """The rights of whoever may write the files: everything, under any name.

    others: what others were given; None outside any server, where everybody who comes may write the files
    """

    others: Rights | None = None

    @property
    def owner(self) -> bool:
        return True

    def role(self, principal: str, repo: str, space: str | None = None) -> Role:
        return Role.ADMIN

    def may_import(self, principal: str, repo: str, space: str) -> bool:
        return True

    def is_admin(self, principal: str) -> bool:
        return True

    def given(self, principal: str, repo: str, space: str | None = None) -> Role:
        return Role.ADMIN if self.others is None else self.others.role(principal, repo, space)


def require(rights: Rights, principal: str | None, role: Role, repo: str, space: str | None = None) -> None:
    """Nothing if `principal`, who asks, has the role, else Rejected `not-permitted`."""
    have = rights.role(principal or "", repo, space)
    if have < role:
        raise not_permitted(principal or "nobody", have, role, repo if space is None else f"{repo}/{space}")


def require_admin(rights: Rights, principal: str | None) -> None:
    if not rights.is_admin(principal or ""):
        raise not_permitted(principal or "nobody", None, Role.ADMIN, ALL)
