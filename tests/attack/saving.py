"""A small server to be backed up, without a process that serves it, and looks at what came of that."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from shardd.authority.authorities import Authorities
from shardd.authority.facts import Pusher
from shardd.core.lease import Acquire, Release
from shardd.core.refs import space_ref
from shardd.core.roles import FileAccess
from shardd.files.server_dir import ServerDir
from shardd.git.repository import Repository
from shardd.upkeep import backup as backups
from shardd.upkeep.backup import Saved
from shardd.upkeep.verify import spaces_in, verify
from tests.attack.test_crash import fsck
from tests.authorities import commits

SPACE = "whynot"
SECRET = b"the host's own key"


def grow(server: ServerDir, repo: str = "garden") -> None:
    """A new tenure, with an event under its epoch: log and journal of before and after do not go together."""
    with Authorities.open(server).repo(repo, FileAccess) as authority:
        epoch = authority.change(SPACE, Acquire("alice")).epoch
        with authority.hold([SPACE]) as held:
            head = authority.existing(SPACE)
            held.append(SPACE, head, commits(head, "alice", epoch=epoch), Pusher("alice"), epoch)
        authority.change(SPACE, Release("alice"))


def backup(server: ServerDir, dest: Path) -> Saved:
    """As a command does."""
    return backups.backup(Authorities.open(server), dest)


def mirror(dest: Path, repo: str = "garden") -> Path:
    return dest / "repos" / f"{repo}.git"


def oid(path: Path, ref: str = space_ref(SPACE)) -> str | None:
    with Repository(path) as repository:
        return repository.read_ref(ref)


def whole(path: Path) -> None:
    """Every log is: nothing has been seen of a moment when log and journal did not go together."""
    fsck(path)
    with Repository(path) as repository:
        found = spaces_in(repository.git, bare=True)
        for refs in found:
            report = verify(repository, refs)
            assert report.broken is None, report.broken
            assert report.epochs is not None or refs.space != SPACE


def git(repo: Path, *words: str, stdin: bytes = b"") -> str:
    said = subprocess.run(["git", "-C", str(repo), *words], input=stdin, capture_output=True, check=True)
    return said.stdout.decode().strip()


def make_ref(path: Path, name: bytes, to: str) -> None:
    """As git writes one, whatever the name."""
    file = path / os.fsdecode(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{to}\n")
