"""`backup`, `restore` and `doctor`: for whoever runs the server, on its host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shardd.commands.answer import Answer, many, say
from shardd.commands.context import Context
from shardd.commands.grammar import Words
from shardd.core.canonical import Json
from shardd.core.roles import FileAccess
from shardd.core.wire import printable
from shardd.errors import Corrupt, SharddError
from shardd.storage import backup, doctor, restore
from shardd.storage.checkup import examine_repo
from shardd.storage.doctor import Finding
from shardd.storage.git import require_version
from shardd.storage.serverdir import ServerDir
from shardd.storage.unwinding import unwinding


@dataclass(frozen=True, slots=True)
class Backup:
    dest: str

    def run(self, context: Context) -> Answer:
        context.require_operator()
        with unwinding():
            saved = backup.backup(context.server, Path(self.dest))
        what = f"{many(saved.repos, 'repo')} with {many(saved.spaces, 'space')}"
        line = f"backed up {what} to {self.dest}; {many(saved.moved, 'ref')} had changed"
        value: Json = {"dest": self.dest, "repos": saved.repos, "spaces": saved.spaces, "moved": saved.moved}
        return say(line, value)


@dataclass(frozen=True, slots=True)
class Doctor:
    fix: bool

    def examine(self, server: ServerDir) -> Answer:
        each = self._treated(server)
        # One iterator behind both: whoever prints takes either.
        lines = (line for lines, _ in each for line in lines)
        return Answer(lines, values=(value for _, value in each), live=True)

    def _treated(self, server: ServerDir) -> Iterator[tuple[list[str], Json]]:
        left = count = 0
        for finding in _findings(server):
            mended = self.fix and finding.mend is not None
            if self.fix and finding.mend is not None:
                finding.mend()
            count += 1
            left += finding.level == "broken" and not mended
            value: Json = {
                "level": finding.level,
                "where": finding.where,
                "message": finding.message,
                "remedy": finding.remedy,
                "fixable": finding.mend is not None,
                "mended": mended,
            }
            yield _shown(finding, mended=mended), value
        if not count:
            yield ["nothing to complain about"], {"level": "fine"}
        if left:
            raise Corrupt(
                f"{many(left, 'finding')} to be mended", "run `shardd doctor --fix`, and see the remedies above"
            )


def _findings(server: ServerDir) -> Iterator[Finding]:
    yield from doctor.examine(server)
    for repo in server.repo_names():
        try:
            authority = server.authority(repo, FileAccess())
            with authority.place.repository:
                yield from examine_repo(authority, hooks=server.hooks_path)
        except SharddError as error:
            yield Finding("broken", repo, f"cannot be looked over: {error.message}", error.remedy)


def _shown(finding: Finding, *, mended: bool) -> list[str]:
    line = f"{'mended' if mended else finding.level}: {finding.where}: {finding.message}"
    how = " (--fix does it)" if finding.mend else ""
    return [printable(line), *([] if mended else [printable(f"  to mend it: {finding.remedy}{how}")])]


@dataclass(frozen=True, slots=True)
class Restore:
    source: str
    root: str

    def bring(self) -> Answer:
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
        return Answer(map(printable, lines), [value])


def add(words: Words) -> None:
    parser = words.command("backup", Backup, "copy everything to a folder, while the server runs; only what is new")
    parser.add_argument("dest", metavar="DEST")
    parser = words.command("doctor", Doctor, "look over everything, and say what mends it")
    parser.add_argument("--fix", action="store_true", help="mend what is safe to mend")
    parser = words.command("restore", Restore, "make a server's directory out of a backup")
    parser.add_argument("source", metavar="SRC", help="a folder that `backup` made")
    parser.add_argument("root", metavar="DIR", help="a new directory")
