"""Backing a server's directory up, beside a running server. Bringing one back: upkeep/restore.py.

    DEST/BACKUP             says what must be here (upkeep/backup_manifest.py); without it this is no backup
    DEST/files/             access.toml, config.toml, keys/, host_keys/ … as they are: as secret as the server itself
    DEST/repos/REPO.git     plain bare repos that take no pushes (upkeep/mirror.py), and in shardd/leases/ their leases

The copy is git's own: `git fsck`, `git log` and `git clone` work on it. Each run fetches only what is new. A space's
log and the journal of its leases are read together, under the space's lock, which is held for just that; the commits
are fetched afterwards, by name, so pushes go on meanwhile. All refs of a repo then move in one step, and what is
remembered of its leases follows: wherever a run is killed, every log in the backup is whole, as of the last run or of
this one. A log in the backup only ever grows: a server that has lost events cannot make the backup forget them too.

What cannot be copied, be it a ref, a space or a repo, stays as the backup has it, and is named when all the rest is
copied.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from shardd.authority.authorities import Authorities, EmbeddedAuthority
from shardd.authority.lease_clock import SystemTime, read
from shardd.authority.lease_store import LeaseStore, Record
from shardd.core.names import is_id, is_oid
from shardd.core.refs import LeaseRef, SpaceRef, classify, lease_ref, space_ref
from shardd.core.roles import FileAccess
from shardd.core.tenancy import Tenancy
from shardd.errors import Corrupt, Misuse, Rejected, SharddError, Unavailable
from shardd.files.durable import writing
from shardd.files.server_dir import ServerDir
from shardd.files.space_locks import flock
from shardd.git.plain_refs import PLAIN_REFS
from shardd.git.repository import Repository
from shardd.upkeep.backup_manifest import (
    FILES,
    MARKER,
    Marker,
    SavedRepo,
    digest,
    files_in,
    lacking_in_repo,
    place_of,
    read_marker,
    saved_repo,
    write_files,
    write_marker,
)
from shardd.upkeep.mirror import Mirror, clear

PATIENCE = 3.0
"""Seconds to wait for the gits of a run that was killed: they end when they find that they are alone."""

_ATTEMPTS = 100  # fetches that may fail until what cannot be copied is not told from the rest any more
_SAID = 20  # problems that are said


@dataclass(slots=True)
class Saved:
    """What a run did. spaces: how many there are; moved: refs that had changed"""

    repos: int = 0
    spaces: int = 0
    moved: int = 0
    problems: list[SharddError] = field(default_factory=list)


class _Part(NamedTuple):
    """What is copied together or not at all: one ref, or a space's log and journal of one moment. record: its leases"""

    refs: dict[str, str]
    record: Record | None = None


def backup(authorities: Authorities, dest: Path) -> Saved:
    """Bring the backup at `dest`, which may be new, up to date. Corrupt if the server has lost what it holds.

    Whatever is raised at the end, the rest has been copied.
    """
    _check_dest(authorities.server, dest)
    with writing(dest), _alone(dest) as lock:
        run = _Run(authorities, dest, lock)
        run.save()
    if run.saved.problems:
        raise _together(run.saved.problems)
    return run.saved


class _Run:
    """One run; the lock of the backup is held."""

    def __init__(self, authorities: Authorities, dest: Path, lock: int) -> None:
        self.saved = Saved()
        self._authorities = authorities
        self._server = server = authorities.server
        self._dest = dest
        self._lock = lock
        self._before = read_marker(dest) if (dest / MARKER).exists() else None
        before = self._before or Marker("", str(server.root), {}, {})
        self._files = dict(before.files)
        self._repos = dict(before.repos)
        self._changing = list(before.changing)

    def save(self) -> None:
        problems = self.saved.problems
        for left in self._dest.glob(f".{MARKER}.*"):
            left.unlink()
        try:
            self._save_files()
        except SharddError as error:
            problems.append(error)
        copies = self._dest / "repos"
        copies.mkdir(mode=0o700, exist_ok=True)
        clear(copies)
        left_out: dict[str, str] = {}
        there = {name for path in copies.glob("*.git") if is_id(name := path.name.removesuffix(".git"))}
        on_server = self._server.repo_names()
        for repo in sorted({*there, *on_server}):
            try:
                if repo not in on_server:
                    raise self._gone(repo)
                with writing(copies / f"{repo}.git"):
                    self._save_repo(repo)
            except SharddError as error:
                problems.append(error)
                if repo not in self._repos:
                    left_out[repo] = error.message
        for repo in self._repos.keys() - there - set(on_server):
            del self._repos[repo]  # gone from the server, and moved away by hand here: see _gone
        self._mark(datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"), left_out)

    def _gone(self, repo: str) -> Corrupt:
        return Corrupt(
            f"the whole repo {repo} is in the backup and no longer on the server",
            f"restore it; or, if it is not missed, move {self._dest / place_of(repo)} away",
        )

    def _mark(self, made: str, left_out: dict[str, str]) -> None:
        marker = Marker(made, str(self._server.root), self._files, self._repos, self._changing, left_out)
        write_marker(self._dest, marker)

    def _begin(self, place: str) -> None:
        """From here on what is at the place, if the backup has it, may be as before or as it is to be."""
        if self._before is not None and place not in self._changing:
            self._changing.append(place)
            self._mark(self._before.made, self._before.left_out)

    def _done(self, place: str) -> None:
        if place in self._changing:
            self._changing.remove(place)

    def _save_files(self) -> None:
        """Make the backup's access files and keys those of the server."""
        folder = self._dest / FILES
        folder.mkdir(mode=0o700, exist_ok=True)
        for left in (*folder.glob(".*"), *folder.glob("*/.*")):
            left.unlink()  # half written when a run was killed
        with self._server.access.still():
            wanted = files_in(self._server.root)
        here = files_in(folder)
        if here != wanted:
            self._begin(FILES)
            write_files({name: file for name, file in wanted.items() if here.get(name) != file}, folder)
            for name in here.keys() - wanted.keys():
                (folder / name).unlink()
        self._files = {name: digest(data) for name, (data, _) in wanted.items()}
        self._done(FILES)

    def _save_repo(self, repo: str) -> None:
        """Bring one repo up to date."""
        place = place_of(repo)
        path = self._dest / place
        known = self._repos.get(repo)
        if known is not None and path.exists():
            self._check(path, known, whole=place not in self._changing)
        with (
            self._authorities.repo(repo, FileAccess) as authority,
            Mirror(path, lock=self._lock) as mirror,
        ):
            origin = authority.ledger.repository
            there = mirror.refs()
            spaces, unread = self._spaces(authority, repo, there)
            plain = self._plain_refs(origin, repo, there, unread)
            refs = {ref: oid for ref, oid in there.items() if _only_grows(ref) or ref in unread}
            records = []
            for part in self._fetched(mirror, origin, repo, [*spaces, *plain]):
                refs.update(part.refs)
                if part.record is not None:
                    records.append(part.record)
            for ref in {ref for part in plain for ref in part.refs} & there.keys():
                refs.setdefault(ref, there[ref])  # it could not be fetched
            head, patterns = origin.read_ref("HEAD"), origin.git.values(PLAIN_REFS)
            store = LeaseStore(mirror.repository.state)
            news = [record for record in records if not _same(store, record)]
            if news or refs != there or (head, patterns) != (mirror.repository.read_ref("HEAD"), mirror.plain_refs()):
                self._begin(place)
                if refs != there:
                    mirror.set_refs(refs)
                if head is not None:
                    mirror.point_head(head)
                mirror.set_plain_refs(patterns)
                for record in news:
                    store.save(record, read(SystemTime(), authority.ledger.leases.mark(record.tenancy.space)))
            self._repos[repo] = saved_repo(mirror.repository, refs)
        self._done(place)
        self.saved.repos += 1
        self.saved.spaces += len(records)
        self.saved.moved += sum(there.get(ref) != refs.get(ref) for ref in {*there, *refs})

    def _check(self, path: Path, known: SavedRepo, *, whole: bool) -> None:
        lost = list(lacking_in_repo(path, known, whole=whole))
        if lost:
            raise Corrupt(
                f"the backup of {path.name} is damaged: {'; '.join(lost[:_SAID])}",
                f"move {path} away, and run `shardd backup {self._dest}` again: it is copied anew",
            )

    def _spaces(
        self, authority: EmbeddedAuthority, repo: str, there: Mapping[str, str]
    ) -> tuple[list[_Part], set[str]]:
        """The spaces that can be read, and the refs of those that cannot."""
        found: list[_Part] = []
        unread: set[str] = set()
        spaces = authority.ledger.repository.spaces()
        for space in spaces:
            try:
                with authority.hold([space]):
                    ledger = authority.ledger
                    part = _Part(ledger.refs(space), ledger.leases.load(space) or Record(Tenancy(space)))
                if lease_ref(space) in there and lease_ref(space) not in part.refs:
                    raise _shrunk(repo, f"{lease_ref(space)} is in the backup and no longer on the server")
                for ref, oid in part.refs.items():
                    if not is_oid(oid):
                        raise _not_copied(ref, repo, "it is a symbolic ref")
                found.append(part)
            except SharddError as error:
                unread |= {space_ref(space), lease_ref(space)}
                self.saved.problems.append(error)
        for ref in there:
            if isinstance(of := classify(ref), SpaceRef) and of.space not in spaces:
                unread |= {ref, lease_ref(of.space)}
                self.saved.problems.append(_shrunk(repo, f"{ref} is in the backup and no longer on the server"))
        return found, unread

    def _plain_refs(self, origin: Repository, repo: str, there: Mapping[str, str], unread: set[str]) -> list[_Part]:
        """The refs beside the spaces. unread: those told of already; what else cannot be read is added."""
        listed = origin.refs_below("refs/")
        for path in (origin.path / "refs").rglob("*"):
            ref = str(path.relative_to(origin.path))
            if ref in listed or ref in unread or ref.endswith(".lock") or path.is_dir():
                continue
            try:
                oid = origin.read_ref(ref)
                why = "it is a symbolic ref to nothing" if oid and not is_oid(oid) else _empty(path)
            except SharddError as error:
                why = error.message
            if why:
                unread.add(ref)
                self.saved.problems.append(_not_copied(ref, repo, why))
        # A space that began meanwhile comes along the next time, journal and log of one moment.
        return [_Part({ref: oid}) for ref, oid in listed.items() if not _only_grows(ref) and ref not in unread]

    def _fetched(self, mirror: Mirror, origin: Repository, repo: str, parts: Sequence[_Part]) -> Iterator[_Part]:
        """Those of the parts whose objects are in the mirror now, and that go on from where it stands."""
        there = mirror.refs()
        known = set(there.values())
        attempts = _ATTEMPTS

        def bring(parts: Sequence[_Part]) -> Iterator[_Part]:
            nonlocal attempts
            try:
                mirror.fetch(origin.path, {oid for part in parts for oid in part.refs.values()} - known)
            except Unavailable as error:
                attempts -= 1
                if os.strerror(errno.ENOSPC) in error.message:
                    raise
                if len(parts) > 1 and attempts > 0:
                    half = len(parts) // 2
                    yield from bring(parts[:half])
                    yield from bring(parts[half:])
                    return
                for part in parts:
                    self.saved.problems.append(_not_copied(next(iter(part.refs)), repo, error.message))
                return
            yield from parts

        for part in bring(parts):
            try:
                for ref, oid in part.refs.items():
                    if _only_grows(ref) and ref in there and not mirror.goes_on(there[ref], oid):
                        raise _shrunk(repo, f"{ref} has gone back, or another way")
            except SharddError as error:
                self.saved.problems.append(error)
            else:
                yield part


def _check_dest(server: ServerDir, dest: Path) -> None:
    inside = dest.resolve()
    if inside == server.root or server.root in inside.parents:
        raise Misuse(f"{dest} lies in the directory that is backed up", "name a folder elsewhere, best on another disk")
    if dest.exists() and not dest.is_dir():
        raise Misuse(f"{dest} is no folder")
    if dest.is_dir() and any(dest.iterdir()) and not (dest / MARKER).exists() and not (dest / ".lock").exists():
        raise Rejected("exists", f"{dest} is neither empty nor a backup", "name a new folder")


@contextmanager
def _alone(dest: Path) -> Iterator[int]:
    """The descriptor of the backup's own lock. Git children inherit it: a killed run's keep it until they are gone."""
    dest.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (dest / ".lock").open("a") as lock:
        if not flock(lock.fileno(), time.monotonic() + PATIENCE):
            raise Unavailable(f"another backup into {dest} is running", "wait for its end")
        yield lock.fileno()


def _only_grows(ref: str) -> bool:
    return isinstance(classify(ref), SpaceRef | LeaseRef)


def _empty(path: Path) -> str:
    """What is wrong with the file of a ref that has gone meanwhile, come meanwhile, or never been written."""
    try:
        return "" if path.read_bytes().strip() else "it is empty"
    except OSError:
        return ""


def _same(store: LeaseStore, record: Record) -> bool:
    """Whether the backup has just that, in a file of its own: the first shardd kept all spaces in one."""
    space = record.tenancy.space
    try:
        return store.path(space).exists() and store.load(space) == record
    except Corrupt:
        return False  # written by a run that was cut off before the backup knew of the space


def _shrunk(repo: str, what: str) -> Corrupt:
    return Corrupt(
        f"the repo {repo} does not go on from where the backup stands: {what}",
        "restore what was lost, or back up into a new folder and keep this one",
    )


def _not_copied(ref: str, repo: str, why: str) -> Corrupt:
    return Corrupt(f"{ref} in the repo {repo} cannot be copied: {why}", "run `shardd doctor`; remove it, or restore it")


def _together(problems: Iterable[SharddError]) -> SharddError:
    """One error that says them all."""
    first, *more = sorted(problems, key=lambda error: not isinstance(error, Corrupt))
    if not more:
        return first
    said = list(dict.fromkeys(str(each) for each in (first, *more)))
    if len(said) > _SAID:
        said[_SAID:] = [f"and {len(said) - _SAID} more"]
    kind = Corrupt if isinstance(first, Corrupt) else Unavailable
    return kind(f"all but this is backed up: {'; '.join(said)}", "see what is said of each")
