"""`backup` and `restore`: for whoever runs the server, on its host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shardd.commands.answer import Answer, say
from shardd.commands.context import Context
from shardd.commands.grammar import Words
from shardd.core.canonical import Json
from shardd.core.wire import printable
from shardd.storage import backup
from shardd.storage.git import require_version


@dataclass(frozen=True, slots=True)
class Backup:
    dest: str

    def run(self, context: Context) -> Answer:
        context.require_operator()
        saved = backup.backup(context.server, Path(self.dest))
        line = (
            f"backed up {saved.repos} repos with {saved.spaces} spaces to {self.dest}; {saved.moved} refs had changed"
        )
        return say(line, {"dest": self.dest, "repos": saved.repos, "spaces": saved.spaces, "moved": saved.moved})


@dataclass(frozen=True, slots=True)
class Restore:
    source: str
    root: str

    def bring(self) -> Answer:
        require_version()
        brought = backup.restore(Path(self.source), Path(self.root))
        lines = [f"restored the backup of {brought.made} to {self.root}"]
        lines += [f"  {space}: epochs go on from {epoch}" for space, epoch in brought.epochs.items()]
        lines.append(f"check it with `shardd verify --dir {self.root}`, then start the server")
        epochs: dict[str, Json] = dict(brought.epochs)
        return Answer(map(printable, lines), [{"dir": self.root, "made": brought.made, "epochs": epochs}])


def add(words: Words) -> None:
    parser = words.command("backup", Backup, "copy everything to a folder, while the server runs; only what is new")
    parser.add_argument("dest", metavar="DEST")
    parser = words.command("restore", Restore, "make a server's directory out of a backup")
    parser.add_argument("source", metavar="SRC", help="a folder that `backup` made")
    parser.add_argument("root", metavar="DIR", help="a new directory")
