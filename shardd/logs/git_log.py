"""A log in a git repository on this machine.

What the repo is decides what the handle may do:

- a bare repo in a server's directory: that server's authority and access rules, as if the handle had pushed;
- a bare repo elsewhere is *embedded*: its own authority, in `<repo>/shardd/`, where file access is the right. The first
  append makes the repo, if need be, the authority, our hooks, and the space;
- a bare copy of somebody's repo (`git clone --mirror`): read only, since the next fetch makes it as the original is;
- a clone, or a work tree of one: read only, from the remote-tracking branches; events come by `git fetch` and go by
  `git push`.
"""

from __future__ import annotations

import getpass
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from shardd.authority.appending import append_drafts
from shardd.authority.authorities import Authorities, EmbeddedAuthority, embedded_authority
from shardd.authority.embedded_ledger import EmbeddedLedger
from shardd.authority.embedded_repo import check_original, is_embedded, prepare
from shardd.authority.facts import LOCAL, Pusher
from shardd.authority.whole_log import import_events, measure
from shardd.core.append import Expected
from shardd.core.event import Draft, Event, Head
from shardd.core.import_chain import Imported, chain
from shardd.core.jsonl import Numbered
from shardd.core.limits import Limits
from shardd.core.names import check_principal, check_space, is_id
from shardd.core.part import Part
from shardd.core.roles import FileAccess
from shardd.errors import Misuse, Rejected
from shardd.files.server_dir import ServerDir
from shardd.git import log_reader
from shardd.git.place import fetched_spaces, place_of
from shardd.git.program import Git
from shardd.git.repository import Repository
from shardd.logs.decision_log import Clock, DraftingLog, Ids, new_id, utc_now


class FetchedLog:
    """What a clone has fetched, read as a ledger is. places: the prefixes under which it has spaces"""

    def __init__(self, repository: Repository, places: Sequence[str]) -> None:
        self._repository = repository
        self._places = places

    def events(self, space: str, part: Part) -> Iterator[Event]:
        oid = self._tip(space)
        return iter(()) if oid is None else log_reader.events(self._repository, space, oid, part)

    def head(self, space: str) -> Head | None:
        oid = self._tip(space)
        return None if oid is None else log_reader.head_at(self._repository, space, oid)

    def _tip(self, space: str) -> str | None:
        there = (self._repository.read_ref(place + space) for place in self._places)
        return next((oid for oid in there if oid is not None), None)


class GitLog(DraftingLog):
    """A DecisionLog over the repository at `repo`. Any number of handles, in any number of processes, may share one.

    Raises what decision_log.py says: NotHolder while somebody else holds the lease, Unavailable where the disk or git
    fails or a lock stays taken; Rejected `not-permitted` for an append to a clone; Misuse where `repo` is none.

    principal: append as this principal, who must hold the lease like anybody else. None: append as `local`, for which
    writing the files is right enough while nobody holds the lease.
    remote: which one of a clone, if it has several
    """

    def __init__(
        self,
        repo: str | Path,
        *,
        principal: str | None = None,
        remote: str | None = None,
        clock: Clock = utc_now,
        ids: Ids = new_id,
    ) -> None:
        self._path = Path(repo).resolve()
        self._principal = None if principal is None else check_principal(principal)
        super().__init__(clock, ids)
        self._server: Authorities | None = None
        self._clone: Path | None = None
        self._places: Sequence[str] = ()
        if self._path.exists():
            there = place_of(self._path)
            if there is None:
                raise Misuse(f"{repo} is not a git repository", "name a bare repo, a clone, or a path that is free")
            if not there.bare:
                self._clone = there.folder
                self._places = fetched_spaces(Git(there.folder), remote)

    def __repr__(self) -> str:
        return f"GitLog({str(self._path)!r}" + (f", principal={self._principal!r})" if self._principal else ")")

    def _me(self) -> str:
        return self._principal or _os_user()

    def append_many(self, space: str, events: Iterable[Draft], *, expected: Expected = None) -> list[Event]:
        drafts = self._whole(events)
        check_space(space)
        server = self._writable()
        self._prepare(server)
        with self._authority(server) as authority:
            return append_drafts(authority, space, drafts, self._pusher(), expected=expected, create=server is None)

    def import_events(
        self, space: str, events: Iterable[Numbered], *, keep_gaps: bool = False, dry_run: bool = False
    ) -> Imported:
        """See `import_log`, which takes the events of any log."""
        check_space(space)
        server = self._writable()
        if dry_run and server is None and not is_embedded(self._path):
            if self._path.exists():
                check_original(self._path)
            return measure(chain(space, events, keep_gaps=keep_gaps))  # a dry run makes no repo
        self._prepare(server)
        with self._authority(server) as authority:
            return import_events(
                authority,
                space,
                events,
                self._pusher(),
                keep_gaps=keep_gaps,
                create=server is None,
                dry_run=dry_run,
            )

    def events(
        self,
        space: str,
        after: int | None = None,
        *,
        until: int | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Event]:
        with ExitStack() as open_:
            log = self._readable(check_space(space), open_)
            if log is None:
                return iter(())
            # Up to where the log stands now, and not when the first is asked for.
            events = log.events(space, Part(after, until, limit, reverse))
            return _Reading(events, open_.pop_all())

    def head(self, space: str) -> Head | None:
        with ExitStack() as open_:
            log = self._readable(check_space(space), open_)
            return None if log is None else log.head(space)

    def _readable(self, space: str, open_: ExitStack) -> FetchedLog | EmbeddedLedger | None:
        if not (self._clone or self._path).exists():
            return None
        repository = open_.enter_context(Repository(self._clone or self._path))
        return FetchedLog(repository, self._places) if self._clone else EmbeddedLedger(repository)

    def _pusher(self) -> Pusher:
        return Pusher(self._principal or LOCAL, unleased=self._principal is None)

    def _writable(self) -> Authorities | None:
        """The server in whose directory the repo lies, None if it lies in none; or Rejected."""
        if self._clone is not None:
            raise Rejected(
                "not-permitted",
                f"{self._path} is a clone, and a clone's log is only read",
                "append with `git push`, or with `shardd append`",
            )
        if self._server is None and (around := ServerDir.around(self._path)) is not None:
            self._server = Authorities.open(around)
        if self._server is not None and self._principal is None:
            raise Rejected(
                "no-principal", f"{self._path} belongs to a server", "name who appends: GitLog(repo, principal=…)"
            )
        return self._server

    def _prepare(self, server: Authorities | None) -> None:
        if server is None:
            prepare(self._path)

    @contextmanager
    def _authority(self, server: Authorities | None) -> Iterator[EmbeddedAuthority]:
        label = self._path.name.removesuffix(".git")
        if server is not None:
            with server.repo(label, server.granted) as authority:
                yield authority
            return
        with Repository(self._path) as repository:
            yield embedded_authority(repository, label=label, rights=FileAccess, limits=Limits())


class _Reading(Iterator[Event]):
    """Events out of an open repository, which is closed with the last one, or when nobody wants more."""

    def __init__(self, events: Iterator[Event], open_: ExitStack) -> None:
        self._events = events
        self._close = weakref.finalize(self, open_.close)

    def __next__(self) -> Event:
        try:
            return next(self._events)
        except BaseException:
            self._close()
            raise


def _os_user() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        return LOCAL
    return user if is_id(user) else LOCAL
