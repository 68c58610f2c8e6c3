"""The clone we stand in: its repository, the remote it came from, the space of its branch. The user's git is asked.

A branch that tracks another is followed to where it leads; what it is called says something only where it tracks none.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from shardd.core.names import Address, check_space, is_id
from shardd.core.nearest import nearest
from shardd.core.refs import LOG, SPACES
from shardd.errors import Misuse, Rejected, Unavailable
from shardd.git.place import Fetching, Remotes
from shardd.git.repository import Repository
from shardd.logs.git_log import GitLog

_HEADS = "refs/heads/"
_FAR = 8  # branches that track one another


@dataclass(frozen=True, slots=True)
class Clone:
    """folder: the git directory that all its work trees share; url: of the remote; space: of the checked-out branch"""

    folder: Path
    fetching: Fetching
    url: str
    space: str | None

    @classmethod
    def here(cls, remote: str | None = None) -> Clone:
        """The clone around the current folder; Misuse if there is none, or it has no remote. remote: which one"""
        folder = folder_of(".")
        if folder is None:
            raise Misuse(
                "which server?", "run this in a clone, or name one: `--server URL`, or `--dir DIR` on its host"
            )
        remotes = Remotes.of(settings())
        tracked, ref = _upstream(remotes, git("symbolic-ref", "--quiet", "HEAD") or "")
        space = ref.removeprefix(SPACES) if ref.startswith(SPACES) else ""
        fetching = _of(remotes, remote or tracked)
        url = git("remote", "get-url", fetching.remote) if fetching.remote in remotes.all else fetching.remote
        if url is None:
            raise Misuse(f"the remote {fetching.remote} has no URL", "`git remote -v` lists them")
        return cls(folder, fetching, url, space if is_id(space) else None)

    def named(self, text: str | None) -> str:
        """The space that an argument means: `SPACE`, `REPO/SPACE`, or none for that of the branch."""
        if text is not None:
            return Address.parse(text).space if "/" in text else check_space(text)
        if self.space is None:
            raise Misuse("which space?", "check one out with `git switch spaces/NAME`, or name it")
        return self.space

    def log(self, space: str) -> GitLog:
        """What was fetched; Rejected if the space was not."""
        log = GitLog(self.folder, remote=self.fetching.remote if self.fetching.refspecs else None)
        if log.head(space) is None:
            near = nearest(space, self.spaces())
            meant = f"did you mean {near}? " if near else ""
            raise Rejected(
                "no-such-space",
                f"there is no space {space} here, as last fetched",
                f"{meant}`git fetch` brings in new ones, `git branch -r` lists them",
            )
        return log

    def spaces(self) -> list[str]:
        """Those that were fetched, by name."""
        found: set[str] = set()
        with Repository(self.folder) as repository:
            for place in self.fetching.places(LOG.prefix) or [LOG.prefix]:
                found |= {ref.removeprefix(place) for ref in repository.refs_below(place)}
        return sorted(name for name in found if is_id(name))

    def fetch(self, space: str) -> None:
        """Bring in what is new of one space; Unavailable if git fails."""
        words = ["fetch", "--quiet", self.fetching.remote, SPACES + space]
        if subprocess.run(["git", *words], stdin=subprocess.DEVNULL, check=False).returncode != 0:
            raise Unavailable(f"`git {' '.join(words)}` failed", "see what git said above; `git fetch` brings it in")


def _of(remotes: Remotes, name: str | None) -> Fetching:
    if name is not None and name in remotes.all:
        return remotes.all[name]
    if name is not None and ("/" in name or ":" in name):
        return Fetching(name, (), pushes=False)  # a branch may track an address that has no name
    if name is not None:
        raise Misuse(f"there is no remote {name!r}", "`git remote` lists them")
    found = remotes.main()
    if found is None:
        raise Misuse("this repository has no remote", "run this in a clone of a server's repo")
    return found


def _upstream(remotes: Remotes, branch: str) -> tuple[str | None, str]:
    """The remote that a branch tracks, None if none, and what it is called there, or here."""
    for _ in range(_FAR):
        remote, ref = remotes.tracked.get(branch.removeprefix(_HEADS), (None, None))
        if remote is None or ref is None:
            return None, branch
        if remote != ".":
            return remote, ref
        branch = ref
    return None, branch


def folder_of(path: str) -> Path | None:
    """The git directory of the repository around a folder, shared by its work trees; None if there is none around it.

    Unavailable, with what git says, if it may not be used.
    """
    done = _run("-C", path, "rev-parse", "--path-format=absolute", "--git-common-dir")
    if done.returncode == 0:
        return Path(_text(done.stdout))
    said = done.stderr.decode(errors="replace")
    if "not a git repository" in said or "cannot change to" in said:
        return None
    raise Unavailable(f"git does not answer here: {said.strip()}", "see what it says above")


def git(*arguments: str) -> str | None:
    """What the user's git says, None where it says that there is none (exit status 1); Unavailable if it fails.

    Names of refs and folders are bytes: see Repository.refs_below.
    """
    done = _run(*arguments)
    if done.returncode == 1:
        return None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise Unavailable(f"`git {' '.join(arguments)}` failed: {said}", "run it by hand to see why")
    return _text(done.stdout)


def settings() -> bytes:
    """All that git heeds here, by name and value; see Remotes.of."""
    done = _run("config", "--null", "--list")
    if done.returncode != 0:
        raise Unavailable(f"git cannot read its configuration: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    # In English: what there is no exit status for is told from the words.
    env = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(["git", *map(os.fsencode, arguments)], capture_output=True, check=False, env=env)


def _text(said: bytes) -> str:
    return said.decode("utf-8", "surrogateescape").strip("\n")
