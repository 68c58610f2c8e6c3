"""Git's own lock files, `<ref>.lock` and the like: whose one is, and when it may be removed.

A lock that a living git holds is never removed: `git pack-refs` unlinks a loose ref under it, after it has compared its
value, and whoever moved the ref meanwhile would have moved it back. There are two kinds:

- Ours. The git that moves refs for us runs with a umask (`MARK`) that takes away the right to write from its owner as
  well, which no other git does; so its lock files tell themselves, from the very moment that they exist. They are made
  under our lock of the ref (files/space_locks.py), which that git inherits: who holds it knows them to be left over.
- Others', of a `git gc` by hand, say. That one has been killed is proven by nothing; it is taken for abandoned after
  some minutes, if this machine also runs no git that could own it. Until then whoever meets it waits, and is refused.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from shardd.errors import Unavailable
from shardd.files.durable import writing

MARK = 0o222
"""The umask of the git that moves refs for us."""

OLD = 600.0
"""Seconds after which a lock may be abandoned."""

_NEEDS_NONE = ("receive-pack", "upload-pack", "upload-archive", "rev-list", "cat-file", "for-each-ref", "index-pack")
"""Commands that lock no ref. (git-receive-pack does elsewhere; here it leaves every ref to proc-receive.)"""

_NAMES_ITS_REPO = (b"--git-dir=", b"GIT_DIR=")

_PROC = Path("/proc")


def names(refs: Iterable[str], *, head: str | None, deleting: bool) -> list[str]:
    """The lock files, seen from the repo, that git makes to move these refs. head: what HEAD holds"""
    refs = list(refs)
    found = [f"{ref}.lock" for ref in refs]
    if head in {f"ref: {ref}" for ref in refs}:
        found.append("HEAD.lock")  # git locks HEAD along with the branch that it points at
    if deleting:
        found += ["packed-refs.lock", "packed-refs.new"]
    return found


def is_ours(path: Path) -> bool:
    """Whether a git of ours has made the file; False if it is gone."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and not mode & MARK


def clear(repo: Path, lock_files: Iterable[str]) -> None:
    """Remove those of them that nobody owns. For the holder of our locks of their refs."""
    with writing(repo):
        for name in lock_files:
            path = repo / name
            if is_ours(path) or is_abandoned(path, repo):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()


def is_abandoned(path: Path, repo: Path) -> bool:
    """Whether a lock that is not ours is old, and nothing that runs here may own it."""
    try:
        age = time.time() - path.lstat().st_mtime
    except OSError:
        return False
    # The clock may have been set, and tell the age wrong: that is what the second look is for.
    return age > OLD and not _is_in_use(repo)


def blocked(repo: Path, lock_files: Iterable[str]) -> Unavailable | None:
    """What to answer where a lock file of another git stands in the way."""
    for name in lock_files:
        if (repo / name).exists() and not is_ours(repo / name):
            return Unavailable(
                f"another git holds {name} in {repo}, as `git gc` does for a moment",
                "try again; one that a killed git has left is removed after ten minutes, if no git runs there",
            )
    return None


def make_folders(repo: Path, refs: Iterable[str]) -> None:
    """The folders of the refs, which our git would make such that nobody could write there; see MARK."""
    with writing(repo):
        for ref in refs:
            folders = [repo / parent for parent in Path(ref).parents][-2::-1]
            for folder in folders:
                with contextlib.suppress(FileExistsError, NotADirectoryError):
                    folder.mkdir()
                with contextlib.suppress(FileNotFoundError):
                    mode = folder.stat().st_mode
                    if stat.S_ISDIR(mode) and not mode & stat.S_IWUSR:
                        folder.chmod(stat.S_IMODE(mode) | stat.S_IWUSR)


def _is_in_use(repo: Path) -> bool:
    """Whether a git that locks refs may be at work in the repo; True where that cannot be found out."""
    if not (_PROC / "1" / "comm").exists():
        return True  # no such file system, or one that hides the processes of others
    return any(_may_work_in(process, repo) for process in _PROC.iterdir() if process.name.isdigit())


def _may_work_in(process: Path, repo: Path) -> bool:
    try:
        if not (process / "comm").read_bytes().startswith(b"git"):
            return False
        words = (process / "cmdline").read_bytes().split(b"\0")
        if any(os.fsencode(name) in word for name in _NEEDS_NONE for word in words[:2]):
            return False
        where = (process / "cwd").readlink()
        told = words + (process / "environ").read_bytes().split(b"\0")
    except PermissionError:
        return True
    except OSError:
        return False  # it has ended
    named = [where / os.fsdecode(word.partition(b"=")[2]) for word in told if word.startswith(_NAMES_ITS_REPO)]
    if any(word == b"--git-dir" for word in words):
        return True  # spelled as nobody does it
    return any(path.resolve().is_relative_to(repo.resolve()) for path in (where, *named))
