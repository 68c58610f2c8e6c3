"""The clone we stand in: its repository, the remote it came from, the space of its branch."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from shardd.core.names import Address, check_space
from shardd.errors import Misuse

BRANCH = "spaces/"


@dataclass(frozen=True, slots=True)
class Clone:
    """top: the work tree's root; url: of the remote `origin`; space: that of the checked-out branch, if it is one"""

    top: Path
    url: str
    space: str | None

    @classmethod
    def here(cls) -> Clone:
        """The clone around the current folder; Misuse if there is none, or it has no remote `origin`."""
        top = git("rev-parse", "--show-toplevel")
        url = git("remote", "get-url", "origin") if top else None
        if top is not None and url is None:
            raise Misuse("this repository has no remote `origin`", "run this in a clone of a server's repo")
        if top is None or url is None:
            raise Misuse(
                "which server?", "run this in a clone, or name one: `--server URL`, or `--dir DIR` on its host"
            )
        branch = git("symbolic-ref", "--quiet", "--short", "HEAD") or ""
        return cls(Path(top), url, branch.removeprefix(BRANCH) if branch.startswith(BRANCH) else None)

    def named(self, text: str | None) -> str:
        """The space that an argument means: `SPACE`, `REPO/SPACE`, or none for that of the branch."""
        if text is not None:
            return Address.parse(text).space if "/" in text else check_space(text)
        if self.space is None:
            raise Misuse("which space?", "check one out with `git switch spaces/NAME`, or name it")
        return self.space


def git(*arguments: str) -> str | None:
    """What the user's git says, None if it fails. Names of refs and folders are bytes: see Repository.refs_below."""
    done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    return done.stdout.decode("utf-8", "surrogateescape").strip("\n") if done.returncode == 0 else None
