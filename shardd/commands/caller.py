"""Who asks, and of what: handed to every command. There is no other way to reach the server's files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, runtime_checkable

from shardd.authority.authorities import Authorities, EmbeddedAuthority
from shardd.authority.facts import Pusher
from shardd.commands.result import AnyAnswer, Steps
from shardd.core.names import Address
from shardd.core.roles import Rights, Role, require, require_admin
from shardd.errors import Misuse, Rejected
from shardd.files.access import Snapshot
from shardd.files.server_dir import ServerDir
from shardd.files.work import Work

_SMALL = 64 * 1024


@dataclass(frozen=True, slots=True)
class Context:
    """authorities: of which server; principal: on whose behalf, if anybody's

    rights: the caller's at this moment, looked up anew each time; raises if the caller is let in no more. Whoever may
    write the server's files has them all: see FileAccess
    opened: gives the bytes of a FILE argument; a remote caller's is always standard input
    target: the path of a FILE to be written; None for standard output, which a remote caller's always is
    gone: whether the caller has left meanwhile; what waits gives up then
    fingerprint: of the key, or of the certificate's key, with which the caller came
    confirmed: asks whoever sits at a terminal whether something is meant; nobody does where a program, or ssh, calls
    tell: says a line to whoever waits for the answer, beside it
    work: what is done for the caller; reach: how the caller calls our commands, such as `ssh -p 2222 host`
    terminal: people read the answer there, through a pager
    """

    authorities: Authorities
    principal: str | None
    rights: Callable[[], Rights]
    opened: Callable[[str], IO[bytes]]
    gone: Callable[[], bool] = lambda: False
    target: Callable[[str], Path | None] = lambda file: None
    fingerprint: str | None = None
    confirmed: Callable[[str], bool] = lambda what: False
    tell: Callable[[str], None] = lambda line: None
    work: Work = field(default_factory=Work)
    reach: str = "shardd"
    terminal: bool = False

    @property
    def server(self) -> ServerDir:
        return self.authorities.server

    def granted(self) -> Snapshot:
        """Keys and roles of everybody, at this moment."""
        return self.authorities.access.now()

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
        require(self.rights(), self.principal, role, repo, space)

    def require_owner(self) -> None:
        """Nothing if the caller may write the server's files, else Rejected."""
        if not self.rights().owner:
            raise Rejected("not-permitted", "this is for whoever runs the server", "run it on its host, without `--as`")

    def require_admin(self) -> None:
        require_admin(self.rights(), self.principal)

    def readable(self) -> Iterator[str]:
        """The repos that the caller may read."""
        rights = self.rights()
        for repo in self.server.repo_names():
            if rights.role(self.principal or "", repo) >= Role.READ:
                yield repo

    @contextmanager
    def authority(
        self, where: Address | str, role: Role = Role.READ, *, begun: bool = True
    ) -> Iterator[EmbeddedAuthority]:
        """The authority over a repo, or over that of a space, if the caller has the role there. The only way in.

        The role is asked here before any look at what exists, and again under the lock of whatever changes something.
        begun: Rejected as well if nobody began the space
        """
        repo, space = (where.repo, where.space) if isinstance(where, Address) else (where, None)
        self.require(role, repo, space)
        with self.authorities.repo(repo, self.rights, by=self.principal, waited=self.work.waited) as authority:
            if begun and space is not None:
                authority.existing(space)
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

    def run(self, context: Context) -> AnyAnswer: ...


@runtime_checkable
class Duplex(Protocol):
    """A command that reads while it answers: each item goes out at once, as lines come in."""

    def converse(self, context: Context, lines: IO[bytes]) -> AnyAnswer: ...


@runtime_checkable
class Waiting(Protocol):
    """A command that may have to wait for others, and holds nothing meanwhile: in the server not even a thread."""

    def steps(self, context: Context) -> Steps: ...
