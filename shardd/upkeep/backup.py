"""Backing a server's directory up, beside a running server, and bringing one back.

    DEST/BACKUP             says what this is; a folder without it is no backup
    DEST/files/             access.toml, config.toml, keys/, host_keys/ … as they are: as secret as the server itself
    DEST/repos/REPO.git     plain bare repos that take no pushes, and in shardd/leases/ their leases

The copy is git's own: `git fsck`, `git log` and `git clone` work on it. Each run fetches only what is new. A space's
log and the journal of its leases are read together, under the space's lock, which is held for just that; the commits
are fetched afterwards, by name, so pushes go on meanwhile. All refs of a repo then move in one step, journals before
logs; what a run that is killed has left of that, the next one does, and a restore reads as if it had. A log in the
backup only ever grows: a server that has lost events cannot make the backup forget them too.

A restore builds the repos in a hidden folder and gives that its place; access files and host keys come only then, so no
killed one leaves a copy of them elsewhere. Until its end the folder holds a file `.restoring`, and is no server's
directory; the next restore begins anew.

What comes back begins new tenures under epochs above all that were ever given out, so whoever held a lease before is
recognisably late, however old the backup is.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from shardd.authority import move_record
from shardd.authority.authorities import authority_over, create_repo
from shardd.authority.lease_clock import SystemTime, read
from shardd.authority.lease_store import LeaseStore, Record
from shardd.core.lease import Restored
from shardd.core.limits import Limits
from shardd.core.refs import LEASES, Change, classify, family_of
from shardd.core.roles import FileAccess
from shardd.core.tenancy import Tenancy
from shardd.errors import Corrupt, Misuse, Rejected, Unavailable
from shardd.files.crash_points import Point, reached
from shardd.files.durable import sync_directories, write_atomic, writing
from shardd.files.server_dir import RESTORING, ServerDir
from shardd.files.space_locks import Lock, locked
from shardd.git.plain_refs import PLAIN_REFS
from shardd.git.repository import Repository, create_bare
from shardd.version import VERSION

_FORMAT = 1
_LOCK = "@backup"
_MARKER = "BACKUP"
_FILES = ("access.toml", "config.toml", "user_ca_keys", "revoked_keys", "keys", "host_keys", "site-hooks")
_EPOCH_ZERO = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1000)


class Marker(msgspec.Struct, frozen=True):
    """made: when the last run ended, RFC 3339; files, repos: what it holds since then, spaces by repo"""

    format: int
    made: str
    shardd: str
    source: str
    files: list[str] = []
    repos: dict[str, list[str]] = {}


@dataclass(slots=True)
class Saved:
    """What a run did. spaces: of each repo; moved: refs that had changed"""

    repos: dict[str, list[str]] = field(default_factory=dict)
    moved: int = 0


@dataclass(slots=True)
class Brought:
    """What came back. epochs: of each space, from now on, by `repo/space`"""

    made: str
    epochs: dict[str, int] = field(default_factory=dict)


def backup(server: ServerDir, dest: Path) -> Saved:
    """Bring the backup at `dest`, which may be new, up to date. Corrupt if the server has lost what it holds."""
    _check_dest(server, dest)
    saved = Saved()
    with writing(dest), _alone(dest):
        _copy_files(server.root, dest / "files", still=server.access.still())
        (dest / "repos").mkdir(mode=0o700, exist_ok=True)
        for half_made in (dest / "repos").glob(".new-*"):
            shutil.rmtree(half_made, ignore_errors=True)
        for repo in server.repo_names():
            _save_repo(server, repo, dest / "repos" / f"{repo}.git", saved)
        made = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        files = [name for name in _FILES if (dest / "files" / name).exists()]
        marker = Marker(_FORMAT, made, VERSION, str(server.root), files, saved.repos)
        write_atomic(dest / _MARKER, msgspec.json.encode(marker) + b"\n")
    return saved


def restore(source: Path, root: Path) -> Brought:
    """Make a server's directory out of a backup, whole or not at all; Misuse or Rejected if that cannot be."""
    marker = read_marker(source)
    _check_whole(source, marker)
    for killed in [root, *root.parent.glob(f".{root.name}.restoring-*")]:
        if (killed / RESTORING).exists():
            _remove_killed(killed)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise Rejected("exists", f"{root} is not empty", "name a new directory")
    with writing(root.parent):
        root.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{root.name}.restoring-", dir=root.parent))
    at = draft
    try:
        with writing(root.parent), (draft / RESTORING).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            brought = _bring(source, draft, marker)
            reached(Point.BEFORE_MOVE)
            draft.rename(root)
            at = root
            sync_directories([root.parent])
            reached(Point.AFTER_MOVE)
            _copy_files(source / "files", root)
            (root / RESTORING).unlink()
            sync_directories([root])
    except BaseException:
        shutil.rmtree(at, ignore_errors=True)
        raise
    return brought


def _remove_killed(folder: Path) -> None:
    """Remove what a restore that was killed has left; Unavailable while it runs."""
    with writing(folder), (folder / RESTORING).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"another restore into {folder} is running", "wait for its end") from None
        shutil.rmtree(folder)


def _check_whole(source: Path, marker: Marker) -> None:
    """Corrupt, naming what is missing, unless all is there that the last run has left."""
    wanted = [source / "files" / name for name in marker.files or ["access.toml"]]
    wanted += [source / "repos", *(source / "repos" / f"{repo}.git" for repo in marker.repos)]
    lacking = [path for path in wanted if not path.exists() or (path.name == "host_keys" and not any(path.iterdir()))]
    if lacking:
        raise _incomplete(", ".join(str(path.relative_to(source)) for path in lacking), source)
    for repo, spaces in marker.repos.items():
        with Repository(source / "repos" / f"{repo}.git") as copy:
            gone = sorted(set(spaces) - set(copy.spaces()))
        if gone:
            raise _incomplete(f"{repo}/{gone[0]}", source)


def _incomplete(what: str, source: Path) -> Corrupt:
    return Corrupt(f"the backup {source} is not whole: {what} is missing", "bring it back, or restore another backup")


def read_marker(source: Path) -> Marker:
    """What a folder says about the backup that it is; Misuse if it is none."""
    try:
        marker = msgspec.json.decode((source / _MARKER).read_bytes(), type=Marker)
    except FileNotFoundError:
        raise Misuse(
            f"{source} is not a backup: it has no {_MARKER}", "name a folder that `shardd backup` made"
        ) from None
    except (OSError, msgspec.DecodeError) as error:
        raise Corrupt(f"{source / _MARKER} does not read: {error}") from None
    if marker.format != _FORMAT:
        raise Misuse(f"{source} is a backup of format {marker.format}", "use the version of shardd that made it")
    return marker


def _check_dest(server: ServerDir, dest: Path) -> None:
    inside = dest.resolve()
    if inside == server.root or server.root in inside.parents:
        raise Misuse(f"{dest} lies in the directory that is backed up", "name a folder elsewhere, best on another disk")
    if dest.exists() and not dest.is_dir():
        raise Misuse(f"{dest} is no folder")
    if dest.is_dir() and any(dest.iterdir()) and not (dest / _MARKER).exists() and not (dest / ".lock").exists():
        raise Rejected("exists", f"{dest} is neither empty nor a backup", "name a new folder")


@contextmanager
def _alone(dest: Path) -> Iterator[None]:
    dest.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (dest / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"another backup into {dest} is running", "wait for its end") from None
        yield


def _save_repo(server: ServerDir, repo: str, mirror: Path, saved: Saved) -> None:
    create_bare(mirror, hooks="refused", limits=Limits())
    (mirror / "config.lock").unlink(missing_ok=True)  # of a git that was killed: nobody else configures the copy
    authority = authority_over(server, repo, FileAccess)
    with (
        authority.ledger.repository as origin,
        Repository(mirror) as copy,
        locked(copy.locks, [_LOCK]) as locks,
    ):
        move_record.settle(copy, locks)
        wanted: dict[str, str] = {}
        records: list[Record] = []
        spaces = origin.spaces()
        for space in spaces:
            with authority.hold([space]):
                wanted.update(authority.ledger.refs(space))
                records.append(authority.ledger.leases.load(space) or Record(Tenancy(space)))
        for ref, oid in origin.refs_below("refs/").items():
            # A space that began meanwhile comes along the next time, journal and log of one moment.
            if not _only_grows(ref) or copy.read_ref(ref) is not None:
                wanted.setdefault(ref, oid)
        saved.moved += _fetch(repo, origin, copy, wanted, locks)
        head = origin.read_ref("HEAD")
        if head is not None and head != copy.read_ref("HEAD") and head.startswith("ref: "):
            copy.point_head(head.removeprefix("ref: "))
        _copy_plain_refs(origin, copy)
        _save_leases(copy, records)
    saved.repos[repo] = spaces


def _fetch(repo: str, origin: Repository, copy: Repository, wanted: dict[str, str], locks: Sequence[Lock]) -> int:
    """Make the copy's refs those wanted, in one step; how many that changes."""
    there = copy.refs_below("refs/")
    gone = {ref: oid for ref, oid in there.items() if ref not in wanted}
    lost = sorted(filter(_only_grows, gone))
    if lost:
        raise _shrunk(repo, f"{lost[0]} is in the backup and no longer on the server")
    changed = [Change(ref, there.get(ref), oid) for ref, oid in wanted.items() if there.get(ref) != oid]
    # A journal that is ahead of its log names a head that is on its way; a log ahead of its journal, no epoch at all.
    changed.sort(key=lambda move: not move.ref.startswith(LEASES))
    if changed:
        copy.git.fetch(origin.path, {move.new: None for move in changed if move.new is not None})
    for move in changed:
        if _only_grows(move.ref) and move.old and move.new and not copy.git.is_ancestor(move.old, move.new):
            raise _shrunk(repo, f"{move.ref} is at {move.new[:12]}, which does not contain {move.old[:12]}")
    for moves in ([Change(ref, oid, None) for ref, oid in gone.items()], changed):
        if moves:  # what goes, goes first: its name may be in the way of another
            with move_record.noted(locks, moves, whole=True):
                copy.move_refs(moves, locks=locks)
    return len(changed) + len(gone)


def _only_grows(ref: str) -> bool:
    return family_of(classify(ref)).grows


def _shrunk(repo: str, what: str) -> Corrupt:
    return Corrupt(
        f"the repo {repo} does not go on from where the backup stands: {what}",
        "restore what was lost, or back up into a new folder and keep this one",
    )


def _save_leases(copy: Repository, records: list[Record]) -> None:
    store = LeaseStore(copy.state)
    for record in records:
        if store.load(record.tenancy.space) != record:
            store.save(record, read(SystemTime(), store.mark(record.tenancy.space)))


def _copy_plain_refs(origin: Repository, copy: Repository) -> None:
    """The setting by which a repo leaves refs to git; the others are the same in every repo."""
    wanted, there = (each.git.values(PLAIN_REFS) for each in (origin, copy))
    if wanted != there:
        if there:
            copy.git.run("config", "--unset-all", PLAIN_REFS)
        for value in wanted:
            copy.git.run("config", "--add", PLAIN_REFS, value)


def _bring(source: Path, draft: Path, marker: Marker) -> Brought:
    """The repos. Nobody reads access files in the draft, and nobody's secrets are there."""
    server = ServerDir.create(draft, restoring=True)
    brought = Brought(marker.made)
    floor = SystemTime().wall() - _EPOCH_ZERO
    for mirror in sorted((source / "repos").glob("*.git")):
        repo = mirror.name.removesuffix(".git")
        create_repo(server, repo)
        authority = authority_over(server, repo, FileAccess)
        with authority.ledger.repository as origin, Repository(mirror) as copy:
            refs = copy.refs_below("refs/")
            refs.update({move.ref: move.new for move in move_record.unfinished(copy, _LOCK) if move.new is not None})
            if refs:
                origin.git.fetch(mirror, (f"{oid}:{ref}" for ref, oid in refs.items()))
            _copy_plain_refs(copy, origin)
            head = copy.read_ref("HEAD")
            if head is not None and head.startswith("ref: "):
                origin.point_head(head.removeprefix("ref: "))
            LeaseStore(copy.state).copy_to(LeaseStore(origin.state))
            for space in origin.spaces():
                brought.epochs[f"{repo}/{space}"] = authority.change(space, Restored(floor)).epoch
    return brought


def _copy_files(source: Path, dest: Path, *, still: AbstractContextManager[None] | None = None) -> None:
    """Make the access files and keys below `dest` those below `source`; each is replaced whole.

    still: keeps others from editing them
    """
    dest.mkdir(mode=0o700, exist_ok=True)
    with still or nullcontext():
        wanted: dict[str, tuple[bytes, int]] = {}
        for name in _FILES:
            path = source / name
            for each in sorted(path.iterdir()) if path.is_dir() else [path]:
                if each.is_file() and not each.name.startswith("."):
                    wanted[str(each.relative_to(source))] = each.read_bytes(), each.stat().st_mode & 0o777
    for name, (data, mode) in wanted.items():
        path = dest / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if not path.is_file() or path.read_bytes() != data or path.stat().st_mode & 0o777 != mode:
            write_atomic(path, data, mode=mode)
    for name in _FILES:
        path = dest / name
        for each in path.iterdir() if path.is_dir() else [path]:
            if each.is_file() and str(each.relative_to(dest)) not in wanted:
                each.unlink()
