"""Making a server's directory out of a backup, whole or not at all.

The repos are built in a hidden folder beside, `.NAME.restoring-…`, which is then given its place; access files and host
keys come only there, so no killed restore leaves a copy of them elsewhere. Until the end the folder holds a file
`.restoring`, and is no server's directory. Whoever builds it has it locked by flock(2), as have the gits that it runs:
the next restore removes what a killed one has left, and begins anew.

What comes back begins new tenures under epochs above all that were ever given out, so whoever held a lease before is
recognisably late, however old the backup is.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from shardd.authority.authorities import Authorities
from shardd.authority.lease_clock import SystemTime
from shardd.authority.lease_store import LeaseStore
from shardd.core.lease import Restored
from shardd.core.roles import FileAccess
from shardd.errors import Corrupt, Rejected, SharddError, Unavailable
from shardd.files.crash_points import Point, reached
from shardd.files.durable import sync_directories, writing
from shardd.files.server_dir import RESTORING, ServerDir
from shardd.files.space_locks import flock
from shardd.git.plain_refs import PLAIN_REFS
from shardd.git.program import Git
from shardd.git.repository import Repository
from shardd.upkeep.backup_manifest import FILES, Marker, files_in, lacking, read_marker, write_files
from shardd.upkeep.mirror import Mirror

PATIENCE = 3.0
"""Seconds to wait for a backup or restore at the same place, and for the gits of one that was killed."""

_LONG = 20.0  # the same for our own gits, which end when they find that they are alone

_EPOCH_ZERO = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1000)
_SETTINGS = "config.toml"
_MEND = "restore another copy of the backup, or run `shardd backup` once more, if the server is there"
_SAID = 20  # parts that lack something and are said


@dataclass(slots=True)
class Brought:
    """What came back. epochs: of each space, from now on, by `repo/space`; left_out: repos that the backup never had"""

    made: str
    epochs: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def restore(source: Path, root: Path) -> Brought:
    """Make a server's directory out of a backup; Misuse, Rejected, or Corrupt, naming what is missing, if it cannot."""
    marker = read_marker(source)
    with _still(source):
        lost = list(lacking(source, marker))
        if lost:
            raise Corrupt(f"the backup {source} is not whole: {'; '.join(lost[:_SAID])}", _MEND)
        if (root / RESTORING).exists():
            _remove(root)
        for killed in root.parent.glob(f"{_prefix(root)}*"):
            with suppress(Unavailable):  # somebody else restores there, or has
                _remove(killed)
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise Rejected("exists", f"{root} is not empty", "name a new directory")
        draft = root.parent / f"{_prefix(root)}{secrets.token_hex(4)}"
        try:
            with writing(root.parent):
                root.parent.mkdir(parents=True, exist_ok=True)
                draft.mkdir(mode=0o700)
                with _claimed(draft) as lock:
                    (draft / RESTORING).touch(mode=0o600)
                    files = files_in(source / FILES)
                    brought = _bring(source, draft, marker, files, lock)
                    reached(Point.BEFORE_MOVE)
                    draft.rename(root)
                    sync_directories([root.parent])
                    reached(Point.AFTER_MOVE)
                    write_files(files, root)
                    (root / RESTORING).unlink()
                    sync_directories([root])
        except BaseException:
            at = draft if draft.exists() else root
            if at == draft or (root / RESTORING).exists():
                with suppress(SharddError):
                    _remove(at, patience=_LONG)
            raise
    return brought


def _prefix(root: Path) -> str:
    return f".{root.name}.restoring-"


@contextmanager
def _still(source: Path) -> Iterator[None]:
    """No backup is written meanwhile. A copy of a backup may have no lock, and then nobody writes it."""
    try:
        lock = os.open(source / ".lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        if not flock(lock, time.monotonic() + PATIENCE, fcntl.LOCK_SH):
            raise Unavailable(f"a backup into {source} is running", "wait for its end")
        yield
    finally:
        os.close(lock)


@contextmanager
def _claimed(folder: Path, *, patience: float | None = None) -> Iterator[int]:
    """The descriptor by which the folder is locked; Unavailable if it is somebody else's. Git children inherit it."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not flock(lock, time.monotonic() + (PATIENCE if patience is None else patience)):
            raise Unavailable(f"another restore into {folder} is running", "wait for its end")
        if not folder.is_dir() or not os.path.samestat(os.fstat(lock), folder.stat()):
            raise Unavailable(f"another restore has removed or used {folder}", "try again")
        yield lock
    finally:
        os.close(lock)


def _remove(folder: Path, *, patience: float | None = None) -> None:
    """Remove what a restore has begun, when no git of it is at it any more. What marks it goes last."""
    with writing(folder), _claimed(folder, patience=patience):
        for each in folder.iterdir():
            if each.name == RESTORING:
                continue
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
            else:
                each.unlink()
        (folder / RESTORING).unlink(missing_ok=True)
        folder.rmdir()


def _bring(source: Path, draft: Path, marker: Marker, files: dict[str, tuple[bytes, int]], lock: int) -> Brought:
    """The repos. Nobody reads access files in the draft, and nobody's secrets are there."""
    authorities = Authorities.open(ServerDir.create(draft, restoring=True))
    write_files({name: file for name, file in files.items() if name == _SETTINGS}, draft)
    brought = Brought(marker.made)
    floor = SystemTime().wall() - _EPOCH_ZERO
    paths = {path.name.removesuffix(".git"): path for path in sorted((source / "repos").glob("*.git"))}
    for repo, path in paths.items():
        if repo not in marker.repos and _is_empty(path):
            brought.left_out[repo] = marker.left_out.get(repo, "the backup was cut off before it had anything of it")
            continue
        authorities.create(repo)
        _bring_repo(path, authorities.server.repo_path(repo), lock)
        with authorities.repo(repo, FileAccess) as authority:
            for space in authority.spaces():
                brought.epochs[f"{repo}/{space}"] = authority.change(space, Restored(floor)).epoch
    brought.left_out |= {repo: why for repo, why in marker.left_out.items() if repo not in paths}
    return brought


def _is_empty(path: Path) -> bool:
    """Whether a repo that no run has come to the end with holds nothing."""
    try:
        with Repository(path) as copy:
            return not copy.refs_below("refs/")
    except SharddError:
        return True


def _bring_repo(source: Path, path: Path, lock: int) -> None:
    with Mirror(path, lock=lock) as target, Repository(source) as copy:
        refs = copy.refs_below("refs/")
        try:
            target.fetch(source, refs.values())
        except Unavailable as error:
            _prove_whole(source, error)
            raise
        target.set_refs(refs)
        target.set_plain_refs(copy.git.values(PLAIN_REFS))
        target.point_head(copy.read_ref("HEAD") or "")
        LeaseStore(copy.state).copy_to(LeaseStore(target.repository.state))


def _prove_whole(source: Path, failed: Unavailable) -> None:
    """Corrupt if the repo lacks objects, or holds some that do not read."""
    try:
        Git(source).run("fsck", "--strict", "--no-dangling", "--no-progress")
    except Unavailable:
        said = f"the backup is not whole: {source} cannot be read: {failed.message}"
        raise Corrupt(said, _MEND) from None
