"""The one place where a server's files become what answers for them: access, settings, and an authority for each repo.

A process opens it once: the daemon for as long as it serves, anything else for one command or push.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TypeAlias

from shardd.authority.authority import Authority
from shardd.authority.embedded_ledger import EmbeddedLedger
from shardd.authority.lease_clock import TimeSource
from shardd.authority.moved import Moved
from shardd.core.limits import Limits
from shardd.core.names import check_repo
from shardd.core.roles import Access, FileAccess, Rights
from shardd.errors import Rejected, SharddError
from shardd.files.access import Snapshot
from shardd.files.last_good import LastGood
from shardd.files.server_dir import ServerDir
from shardd.files.settings import Settings, SettingsFile
from shardd.git.repository import Repository, create_bare

EmbeddedAuthority: TypeAlias = Authority[EmbeddedLedger]


def embedded_authority(
    repository: Repository,
    *,
    label: str,
    rights: Callable[[], Rights],
    by: str | None = None,
    limits: Limits | None = None,
    source: TimeSource | None = None,
    moved: Moved | None = None,
    waited: Callable[[float], None] = lambda seconds: None,
) -> EmbeddedAuthority:
    """The authority over a bare repo. by, waited: see Authority; source: the machine's clocks; moved: that of the repo
    in this process
    """
    ledger = EmbeddedLedger(repository, source=source, moved=moved)
    return Authority(ledger, label=label, rights=rights, by=by, limits=limits, waited=waited)


class Authorities:
    """The repos of a server's directory. Fit for any thread.

    access, settings: read when they are first asked for, which raises if they do not read; from then on the last good
    ones are in force. A look at the files alone, such as that of doctor, needs neither.
    """

    def __init__(self, server: ServerDir) -> None:
        self.server = server
        self._moved: dict[str, Moved] = {}

    @classmethod
    def open(cls, server: ServerDir) -> Authorities:
        return cls(server)

    @cached_property
    def access(self) -> LastGood[Snapshot]:
        files = self.server.access
        return LastGood("access files", files.paths, files.load)

    @cached_property
    def settings(self) -> LastGood[Settings]:
        return SettingsFile(self.server.root).watched()

    def granted(self) -> Access:
        """What is granted at this moment."""
        return self.access.now().access

    def operator(self) -> FileAccess:
        """The rights at this moment of whoever may write the server's files."""
        return FileAccess(self.granted())

    def moved(self, repo: str) -> Moved:
        """What tells, in this process, of each change in the repo."""
        return self._moved.setdefault(repo, Moved())

    def reload(self) -> list[SharddError]:
        """Read access and settings anew, whatever their files' dates say; why the last good ones stay in force."""
        return [fault for fault in (self.access.reload(), self.settings.reload()) if fault is not None]

    @contextmanager
    def repo(
        self,
        name: str,
        rights: Callable[[], Rights],
        *,
        by: str | None = None,
        waited: Callable[[float], None] = lambda seconds: None,
    ) -> Iterator[EmbeddedAuthority]:
        """The authority over a repo, until the block ends; Rejected if there is none of that name.

        by, waited: see Authority
        """
        with Repository(self.server.repo_path(name)) as repository:
            yield embedded_authority(
                repository,
                label=name,
                rights=rights,
                by=by,
                limits=self.settings.now().limits,
                moved=self.moved(name),
                waited=waited,
            )

    def create(self, repo: str) -> None:
        """An empty repo; Rejected if there is one of that name."""
        server = self.server
        server.ensure_hooks()
        path = server.repos / f"{check_repo(repo)}.git"
        if not create_bare(path, hooks=server.hooks_path, limits=self.settings.now().limits):
            raise Rejected("exists", f"the repo {repo} exists already")
