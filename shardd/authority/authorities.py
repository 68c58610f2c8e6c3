"""Authorities over bare repos, and the repos of a server's directory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from shardd.authority.authority import Authority
from shardd.authority.embedded_ledger import EmbeddedLedger
from shardd.authority.lease_clock import TimeSource
from shardd.authority.moved import Moved
from shardd.core.limits import Limits
from shardd.core.names import check_repo
from shardd.core.roles import Rights
from shardd.errors import Rejected
from shardd.files.server_dir import ServerDir
from shardd.git.repository import Repository, create_bare

EmbeddedAuthority: TypeAlias = Authority[EmbeddedLedger]


def embedded_authority(
    repository: Repository,
    *,
    label: str,
    rights: Callable[[], Rights],
    limits: Limits | None = None,
    source: TimeSource | None = None,
    moved: Moved | None = None,
    waited: Callable[[float], None] = lambda seconds: None,
) -> EmbeddedAuthority:
    """The authority over a bare repo. source: the machine's clocks; moved: that of the repo in this process"""
    ledger = EmbeddedLedger(repository, source=source, moved=moved)
    return Authority(ledger, label=label, rights=rights, limits=limits, waited=waited)


def create_repo(server: ServerDir, repo: str) -> None:
    """An empty repo; Rejected if there is one of that name."""
    server.install_hooks()
    path = server.repos / f"{check_repo(repo)}.git"
    if not create_bare(path, hooks=server.hooks_path, limits=server.settings().limits):
        raise Rejected("exists", f"the repo {repo} exists already")


def authority_over(
    server: ServerDir,
    repo: str,
    rights: Callable[[], Rights],
    *,
    moved: Callable[[str], Moved] = lambda repo: Moved(),
    waited: Callable[[float], None] = lambda seconds: None,
) -> EmbeddedAuthority:
    """The authority over a repo; Rejected if there is none of that name. The caller closes its repository."""
    path = server.repo_path(repo)
    limits = server.settings().limits
    return embedded_authority(
        Repository(path), label=repo, rights=rights, limits=limits, moved=moved(repo), waited=waited
    )
