"""Who asks, and of what: handed to every command. There is no other way to reach the server's files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, runtime_checkable

from shardd.authority.authorities import EmbeddedAuthority, authority_over
from shardd.authority.facts import LOCAL, Pusher
from shardd.authority.moved import Moved
from shardd.commands.result import Answer, Steps
from shardd.core.names import Address
from shardd.core.roles import Access, FileAccess, Rights, Role
from shardd.errors import Misuse, Rejected
from shardd.files.server_dir import ServerDir
from shardd.files.work import Work

_SMALL = 64 * 1024


@dataclass(frozen=True, slots=True)
class Context:
    """server: whose directory; principal: on whose behalf, if anybody's

    operator: the caller may write the server's files, so nothing is denied
    opened: gives the bytes of a FILE argument; a remote caller's is always standard input
    target: the path of a FILE to be written; None for standard output, which a remote caller's always is
    gone: whether the caller has left meanwhile; what waits gives up then
    granted: what is granted at this moment, looked up anew each time; raises if the caller is let in no more
    fingerprint: of the key, or of the certificate's key, with which the caller came
    work: what is done for the caller; moved: of each repo, in this process
    """

    server: ServerDir
    principal: str | None
    operator: bool
    opened: Callable[[str], IO[bytes]]
    gone: Callable[[], bool] = lambda: False
    target: Callable[[str], Path | None] = lambda file: None
    granted: Callable[[], Access] | None = None
    fingerprint: str | None = None
    work: Work = field(default_factory=Work)
    moved: Callable[[str], Moved] = lambda repo: Moved()

    def access(self) -> Access:
        return self.granted() if self.granted is not None else self.server.access.load().access

    def me(self) -> str:
        """The principal that acts, or Rejected."""
        if self.principal is None:
            raise Rejected(
                "no-principal",
                "this command acts in the name of a principal, and you are none here",
                "name one with `--as NAME`, or map your OS user under [local] in access.toml",
            )
        return self.principal

    def require(self, role: Role, repo: str, space: str | None = None) -> None:
        """Nothing if the caller has the role, else Rejected. Comes before any look at what exists."""
        if not self.operator:
            self.access().require(self.me(), role, repo, space)

    def require_operator(self) -> None:
        """Nothing if the caller may write the server's files, else Rejected."""
        if not self.operator:
            raise Rejected("not-permitted", "this is for whoever runs the server", "run it on its host, without `--as`")

    def require_admin(self) -> None:
        if not self.operator:
            self.access().require_admin(self.me())

    def readable(self) -> Iterator[str]:
        """The repos that the caller may read."""
        access = self.access()
        for repo in self.server.repo_names():
            if self.operator or access.role(self.me(), repo) >= Role.READ:
                yield repo

    @contextmanager
    def authority(self, repo: str) -> Iterator[EmbeddedAuthority]:
        authority = self._over(repo, self.access)
        with authority.ledger.repository:
            yield authority

    @contextmanager
    def owned(self, repo: str) -> Iterator[EmbeddedAuthority]:
        """Like authority; to the operator, who may write its files, the rules grant everything."""
        authority = self._over(repo, FileAccess if self.operator else self.access)
        with authority.ledger.repository:
            yield authority

    def _over(self, repo: str, rights: Callable[[], Rights]) -> EmbeddedAuthority:
        return authority_over(self.server, repo, rights, moved=self.moved, waited=self.work.waited)

    def owner(self) -> Pusher:
        """Like pusher; the operator needs no lease while nobody holds one."""
        return Pusher(self.principal or LOCAL, unleased=True) if self.operator else self.pusher()

    @contextmanager
    def space(self, address: Address, role: Role) -> Iterator[EmbeddedAuthority]:
        """The authority over an existing space on which the caller has the role."""
        self.require(role, address.repo, address.space)
        with self.authority(address.repo) as authority:
            authority.existing(address.space)
            yield authority

    def pusher(self) -> Pusher:
        return Pusher(self.me())

    def small_input(self, file: str) -> str:
        """The whole of a small text FILE."""
        with self.opened(file) as stream:
            raw = stream.read(_SMALL + 1)
        if len(raw) > _SMALL:
            raise Misuse(f"the input is longer than {_SMALL} bytes")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise Misuse("the input is not UTF-8 text") from None


class Command(Protocol):
    """One thing to ask for, with its arguments; each is a frozen dataclass made by the grammar."""

    def run(self, context: Context) -> Answer: ...


@runtime_checkable
class Waiting(Protocol):
    """A command that may have to wait for others, and holds nothing meanwhile: in the server not even a thread."""

    def steps(self, context: Context) -> Steps: ...
