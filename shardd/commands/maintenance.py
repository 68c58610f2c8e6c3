"""`backup`, `restore` and `doctor`: for whoever runs the server, on its host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shardd.authority.authorities import Authorities
from shardd.commands.caller import Context
from shardd.commands.grammar import Words
from shardd.commands.result import Answer, Done, Each, say
from shardd.core.canonical import Json
from shardd.core.hook_protocol import printable
from shardd.core.plural import many
from shardd.core.roles import FileAccess
from shardd.errors import Corrupt, SharddError
from shardd.files.unwinding import unwinding
from shardd.git.program import require_version
from shardd.upkeep import backup, doctor, restore
from shardd.upkeep.doctor import Finding
from shardd.upkeep.repo_checkup import examine_repo


@dataclass(frozen=True, slots=True)
class Backup:
    dest: str

    def run(self, context: Context) -> Answer[Done]:
        context.require_owner()
        with unwinding():
            saved = backup.backup(context.authorities, Path(self.dest))
        what = f"{many(saved.repos, 'repo')} with {many(saved.spaces, 'space')}"
        line = f"backed up {what} to {self.dest}; {many(saved.moved, 'ref')} had changed"
        value: Json = {"dest": self.dest, "repos": saved.repos, "spaces": saved.spaces, "moved": saved.moved}
        return say(line, value)


@dataclass(frozen=True, slots=True)
class Doctor:
    fix: bool

    def examine(self, authorities: Authorities) -> Answer[Treated]:
        return Answer(self._treated(authorities), _TREATED, live=True)

    def _treated(self, authorities: Authorities) -> Iterator[Treated]:
        left = count = fixable = 0
        for finding in _findings(authorities):
            mended = self.fix and finding.mend is not None
            if self.fix and finding.mend is not None:
                finding.mend()
            count += 1
            broken = finding.level == "broken" and not mended
            left += broken
            fixable += broken and finding.mend is not None
            yield Treated(finding, mended)
        if not count:
            yield Treated(None, mended=False)
        if left:
            fix = "run `shardd doctor --fix`, and " if fixable else ""
            raise Corrupt(f"{many(left, 'finding')} to be mended", f"{fix}see the remedies above")


def _findings(authorities: Authorities) -> Iterator[Finding]:
    server = authorities.server
    yield from doctor.examine(server)
    for repo in server.repo_names():
        try:
            with authorities.repo(repo, FileAccess) as authority:
                yield from examine_repo(authority, hooks=server.hooks_path)
        except SharddError as error:
            yield Finding("broken", repo, f"cannot be looked over: {error.message}", error.remedy)


@dataclass(frozen=True, slots=True)
class Treated:
    """finding: None if there was none at all"""

    finding: Finding | None
    mended: bool

    def text(self) -> str:
        finding = self.finding
        if finding is None:
            return "nothing to complain about"
        line = printable(f"{'mended' if self.mended else finding.level}: {finding.where}: {finding.message}")
        how = " (--fix does it)" if finding.mend else ""
        return line if self.mended else f"{line}\n{printable(f'  to mend it: {finding.remedy}{how}')}"

    def value(self) -> Json:
        finding = self.finding
        if finding is None:
            return {"level": "fine"}
        return {
            "level": finding.level,
            "where": finding.where,
            "message": finding.message,
            "remedy": finding.remedy,
            "fixable": finding.mend is not None,
            "mended": self.mended,
        }


_TREATED = Each(Treated.text, Treated.value)


@dataclass(frozen=True, slots=True)
class Restore:
    source: str
    root: str

    def bring(self) -> Answer[Done]:
        require_version()
        with unwinding():
            brought = restore.restore(Path(self.source), Path(self.root))
        lines = [f"restored the backup of {brought.made} to {self.root}"]
        lines += [f"  {space}: epochs go on from {epoch}" for space, epoch in brought.epochs.items()]
        lines += [f"  {repo} is not in it: {why}" for repo, why in brought.left_out.items()]
        lines.append(f"check it with `shardd verify --dir {self.root}`, then start the server")
        epochs: dict[str, Json] = dict(brought.epochs)
        left_out: dict[str, Json] = dict(brought.left_out)
        value: Json = {"dir": self.root, "made": brought.made, "epochs": epochs, "left_out": left_out}
        return say(lines, value)


def add(words: Words) -> None:
    parser = words.command("backup", Backup, "copy everything to a folder, while the server runs; only what is new")
    parser.add_argument("dest", metavar="DEST")
    parser = words.command("doctor", Doctor, "look over everything, and say what mends it")
    parser.add_argument("--fix", action="store_true", help="mend what is safe to mend")
    parser = words.command("restore", Restore, "make a server's directory out of a backup")
    parser.add_argument("source", metavar="SRC", help="a folder that `backup` made")
    parser.add_argument("root", metavar="DIR", help="a new directory")
