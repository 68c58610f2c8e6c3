"""The repos of a server's directory: making one, and the authority over one."""

from __future__ import annotations

from shardd.authority.authority import EmbeddedAuthority
from shardd.core.names import check_repo
from shardd.core.roles import Rights
from shardd.errors import Rejected
from shardd.files.server_dir import ServerDir
from shardd.git.repository import Repository, create_bare


def create_repo(server: ServerDir, repo: str) -> None:
    """An empty repo; Rejected if there is one of that name."""
    server.install_hooks()
    path = server.repos / f"{check_repo(repo)}.git"
    if not create_bare(path, hooks=server.hooks_path, limits=server.settings().limits):
        raise Rejected("exists", f"the repo {repo} exists already")


def authority_over(server: ServerDir, repo: str, rights: Rights) -> EmbeddedAuthority:
    """The authority over a repo; Rejected if there is none of that name. The caller closes its repository."""
    path = server.repo_path(repo)
    return EmbeddedAuthority(Repository(path), label=repo, rights=rights, limits=server.settings().limits)
