"""Backing a server's directory up, beside a running server, and bringing one back.

    DEST/BACKUP             says what this is; a folder without it is no backup
    DEST/files/             access.toml, config.toml, keys/, host_keys/ … as they are: as secret as the server itself
    DEST/repos/REPO.git     plain bare repos that take no pushes, and in shardd/leases/ their leases

The copy is git's own: `git fsck`, `git log` and `git clone` work on it. Each run fetches only what is new. A space's
log and the journal of its leases are read together, under the space's lock, which is held for just that; the commits
are fetched afterwards, by name, so pushes go on meanwhile. All refs of a repo then move in one step: a run that is
killed leaves them as they were. A log in the backup only ever grows: a server that has lost events cannot make the
backup forget them too.

What comes back begins new tenures under epochs above all that were ever given out, so whoever held a lease before is
recognisably late, however old the backup is.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from shardd.core.lease import Restored
from shardd.core.limits import Limits
from shardd.core.refs import SPACES, Change, family_at
from shardd.core.roles import FileAccess
from shardd.errors import Corrupt, Misuse, Rejected, Unavailable
from shardd.storage.clock import SystemTime, read
from shardd.storage.durable import sync_directories, write_atomic, writing
from shardd.storage.leases import LeaseStore, Record
from shardd.storage.repository import PLAIN_REFS, Repository, create_bare
from shardd.storage.serverdir import ServerDir
from shardd.version import VERSION

_FORMAT = 1
_MARKER = "BACKUP"
_FILES = ("access.toml", "config.toml", "user_ca_keys", "revoked_keys", "keys", "host_keys", "site-hooks")
_EPOCH_ZERO = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1000)


class Marker(msgspec.Struct, frozen=True):
    """made: when the last run ended, RFC 3339"""

    format: int
    made: str
    shardd: str
    source: str


@dataclass(slots=True)
class Saved:
    """What a run did. spaces: how many there are; moved: refs that had changed"""

    repos: int = 0
    spaces: int = 0
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
        for repo in server.repo_names():
            _save_repo(server, repo, dest / "repos" / f"{repo}.git", saved)
        made = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        marker = Marker(_FORMAT, made, VERSION, str(server.root))
        write_atomic(dest / _MARKER, msgspec.json.encode(marker) + b"\n")
    return saved


def restore(source: Path, root: Path) -> Brought:
    """Make a server's directory out of a backup, whole or not at all; Misuse or Rejected if that cannot be."""
    marker = read_marker(source)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise Rejected("exists", f"{root} is not empty", "name a new directory")
    with writing(root.parent):
        root.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{root.name}.restoring-", dir=root.parent))
    try:
        with writing(root.parent):
            brought = _bring(source, draft, marker.made)
            draft.rename(root)
            sync_directories([root.parent])
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return brought


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
    authority = server.authority(repo, FileAccess())
    with authority.place.repository as origin, Repository(mirror) as copy:
        wanted: dict[str, str] = {}
        records: list[Record] = []
        for ref in origin.refs_below(SPACES):
            space = ref.removeprefix(SPACES)
            with authority.hold([space]) as held:
                wanted.update(held.refs(space))
                records.append(held.record(space))
            saved.spaces += 1
        everything = origin.refs_below("refs/")
        wanted.update({ref: oid for ref, oid in everything.items() if not _only_grows(ref)})
        saved.moved += _fetch(repo, origin, copy, wanted)
        head = origin.read_ref("HEAD")
        if head is not None and head != copy.read_ref("HEAD") and head.startswith("ref: "):
            copy.point_head(head.removeprefix("ref: "))
        _copy_plain_refs(origin, copy)
        _save_leases(copy, records)
    saved.repos += 1


def _fetch(repo: str, origin: Repository, copy: Repository, wanted: dict[str, str]) -> int:
    """Make the copy's refs those wanted, in one step; how many that changes."""
    there = copy.refs_below("refs/")
    gone = {ref: oid for ref, oid in there.items() if ref not in wanted}
    lost = sorted(filter(_only_grows, gone))
    if lost:
        raise _shrunk(repo, f"{lost[0]} is in the backup and no longer on the server")
    changed = {ref: oid for ref, oid in wanted.items() if there.get(ref) != oid}
    if changed:
        # Without a plus git takes only what goes on from where the backup stands.
        lines = (f"{'' if _only_grows(ref) else '+'}{oid}:{ref}" for ref, oid in changed.items())
        try:
            copy.git.fetch(origin.path, lines)
        except Unavailable as error:
            if "[rejected]" not in error.message:
                raise
            refused = (line for line in error.message.splitlines() if "[rejected]" in line)
            raise _shrunk(repo, "git says: " + "; ".join(" ".join(line.split()) for line in refused)) from None
    if gone:
        copy.move_refs([Change(ref, oid, None) for ref, oid in gone.items()])
    return len(changed) + len(gone)


def _only_grows(ref: str) -> bool:
    family = family_at(ref)
    return family is not None and family.grows


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


def _bring(source: Path, draft: Path, made: str) -> Brought:
    server = ServerDir.create(draft)
    _copy_files(source / "files", draft)
    brought = Brought(made)
    floor = SystemTime().wall() - _EPOCH_ZERO
    for mirror in sorted((source / "repos").glob("*.git")):
        repo = mirror.name.removesuffix(".git")
        server.create_repo(repo)
        authority = server.authority(repo, FileAccess())
        with authority.place.repository as origin, Repository(mirror) as copy:
            refs = copy.refs_below("refs/")
            if refs:
                origin.git.fetch(mirror, (f"{oid}:{ref}" for ref, oid in refs.items()))
            _copy_plain_refs(copy, origin)
            head = copy.read_ref("HEAD")
            if head is not None and head.startswith("ref: "):
                origin.point_head(head.removeprefix("ref: "))
            LeaseStore(copy.state).copy_to(LeaseStore(origin.state))
            for space in (ref.removeprefix(SPACES) for ref in refs if ref.startswith(SPACES)):
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
