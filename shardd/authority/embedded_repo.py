"""Making a bare repo its own authority: our configuration and hooks, and the folder `shardd/`, beside what is there."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from shardd.core.limits import Limits
from shardd.errors import Misuse, Rejected, Unavailable
from shardd.files import hook_install
from shardd.files.durable import check_owner, sync_directories, sync_files, writing
from shardd.git.place import place_of, remotes_of
from shardd.git.program import Git
from shardd.git.repository import STATE, Repository, create_bare, hardened
from shardd.version import VERSION

_HOOKS = f"{STATE}/hooks/{VERSION}"
_READY = f"{STATE}/ready"


def is_embedded(path: Path) -> bool:
    """Whether `prepare` has made the repo its own authority."""
    return (path / _READY).is_file()


def prepare(path: Path) -> None:
    """Make the bare repo at `path` embedded, creating it if there is none. Does nothing where that is so already.

    Rejected if its core.hooksPath is somebody else's, since two sets of rules cannot both have the last word; or if it
    is a copy, in which the next fetch would drop what is not in the original.
    """
    if _prepared(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        create_bare(path, hooks=_HOOKS, limits=Limits())
    there = place_of(path)
    if there is None or not there.bare:
        raise Misuse(f"{path} is not a bare git repository")
    check_owner(path)
    check_original(path)
    with writing(path / STATE):
        _harden(path)


def _prepared(path: Path) -> bool:
    """Whether that was done, and its configuration is the one that was looked at."""
    try:
        looked = (path / _READY).stat().st_mtime_ns >= (path / "config").stat().st_mtime_ns
    except OSError:
        return False
    return looked and (path / _HOOKS / hook_install.LAST).is_file()


def check_original(path: Path) -> None:
    """Rejected, before anything is written, if no log can be kept in the bare repo at `path`: it is a copy of
    somebody's, or of sha256, whose objects nobody here reads.
    """
    with Repository(path) as repository:
        format = "".join(repository.git.values("extensions.objectFormat")[-1:]) or "sha1"
        if format != "sha1":
            raise Rejected(
                "not-permitted",
                f"{path} is a repository of {format}, and a log is kept in one of sha1",
                "make one: `git init --bare --object-format=sha1 PATH`",
            )
        holds = not is_embedded(path) and bool(repository.spaces())
        source = remotes_of(repository.git).copied(holds_spaces=holds)
    if source is not None:
        raise Rejected(
            "not-permitted",
            f"{path} is a copy, fetched from its remote {source}",
            f"append to the original; if this is to take its place, run `git -C {path} remote remove {source}`",
        )


def _harden(path: Path) -> None:
    git = Git(path)
    set_before = "".join(git.values("core.hooksPath")[-1:])
    if set_before and not set_before.startswith(f"{STATE}/hooks/"):
        raise Rejected(
            "exists",
            f"{path} has hooks of its own at {set_before}",
            f"run `git -C {path} config --unset core.hooksPath` if they may go",
        )
    (path / STATE).mkdir(mode=0o700, exist_ok=True)
    folder = os.open(path / STATE, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        hook_install.install(path / STATE / "hooks", site=hook_install.EMBEDDED_SITE)
        there = git.settings()
        for name, value in hardened(Limits(), hooks=_HOOKS).items():
            if there.get(name.lower()) != [value]:
                _configure(git, name, value, folder)
        # A configuration that a power failure empties names no hooks, and lets every push in.
        sync_files([path / "config"])
        sync_directories([path, path / STATE])
        (path / _READY).touch()
    finally:
        os.close(folder)


def _configure(git: Git, name: str, value: str, lock: int) -> None:
    try:
        git.run("config", name, value, pass_fds=[lock])
    except Unavailable:
        left = git.path / "config.lock"
        time.sleep(0.1)  # somebody else's git may be at it, for a moment
        if not left.exists():
            raise
        left.unlink(missing_ok=True)  # ours would still hold the folder's lock: it was killed
        git.run("config", name, value, pass_fds=[lock])
