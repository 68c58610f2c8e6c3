"""`verify` without a server: in a clone, or on any repository that is at hand, such as a backup."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from shardd.cli.clone import folder_of, git
from shardd.commands.grammar import Words
from shardd.commands.result import Answer
from shardd.commands.verify_logs import Proved, reports, shown
from shardd.core.names import Address, check_space
from shardd.errors import Misuse
from shardd.git.repository import Repository
from shardd.upkeep.verify import Keys


@dataclass(frozen=True, slots=True)
class VerifyHere:
    """space: None for every one; repo: of a clone or a bare repo; signers: an allowed-signers file (ssh-keygen(1))"""

    space: str | None
    repo: str
    signers: str | None

    def answer(self) -> Answer[Proved]:
        folder = folder_of(self.repo)
        if folder is None:
            raise Misuse(f"{self.repo} is not a git repository", "run this in one, or name one: `--repo PATH`")
        bare = git("-C", self.repo, "rev-parse", "--is-bare-repository") == "true"
        space = self.space
        if space is not None:
            space = Address.parse(space).space if "/" in space else check_space(space)
        keys = Keys(self._allowed(), os.environ.get("HOME"))
        return shown(reports(Repository(folder), bare=bare, space=space, keys=keys))

    def _allowed(self) -> list[str]:
        """The lines that the caller names, or has git use."""
        file = self.signers or git("-C", self.repo, "config", "--type=path", "gpg.ssh.allowedSignersFile")
        if not file:
            return []
        try:
            return Path(file).read_text().split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise Misuse(f"{file} cannot be read: {error}") from None


def add(words: Words) -> None:
    parser = words.command("verify", VerifyHere, "prove logs whole, as last fetched")
    parser.add_argument("space", metavar="SPACE", nargs="?", help="default: every space")
    parser.add_argument("--repo", metavar="PATH", default=".", help="a clone or a bare repo; default: the current one")
    parser.add_argument("--signers", metavar="FILE", help="allowed signers, to know whose a signature is")
