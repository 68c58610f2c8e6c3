"""Commands that a clone answers by itself, offline: each is a dataclass with `answer(clone)`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from shardd.cli import offline_verify
from shardd.cli.clone import Clone
from shardd.cli.offline_verify import VerifyHere
from shardd.cli.setup import Setup
from shardd.commands.events import show_log
from shardd.commands.folds import add_at, diff_of, fold_of
from shardd.commands.grammar import Grammar, integer
from shardd.commands.import_export import add_output, exported, listed
from shardd.commands.result import AnyAnswer, at_once
from shardd.commands.run_command import Voice, speak
from shardd.errors import Misuse
from shardd.logs.as_of import Point, parse_point
from shardd.logs.git_log import GitLog
from shardd.logs.log_transfer import export_jsonl, exported_lines
from shardd.logs.snapshots import SnapshotStore


class LocalCommand(Protocol):
    def answer(self, clone: Clone) -> AnyAnswer: ...


@dataclass(frozen=True, slots=True)
class Log:
    space: str | None
    after: int | None

    def answer(self, clone: Clone) -> AnyAnswer:
        return show_log(GitLog(clone.top).events(clone.named(self.space), after=self.after))


@dataclass(frozen=True, slots=True)
class Export:
    space: str | None
    file: str
    force: bool

    def answer(self, clone: Clone) -> AnyAnswer:
        log, space = GitLog(clone.top), clone.named(self.space)
        if self.file == "-":
            return listed(exported_lines(log, space))
        head = export_jsonl(log, space, self.file, force=self.force)
        return exported(space, self.file, head.seq, head.oid)


@dataclass(frozen=True, slots=True)
class Fold:
    space: str | None
    at: Point | None

    def answer(self, clone: Clone) -> AnyAnswer:
        return fold_of(GitLog(clone.top), SnapshotStore.of(clone.top), clone.named(self.space), self.at)


@dataclass(frozen=True, slots=True)
class Diff:
    points: list[str]

    def answer(self, clone: Clone) -> AnyAnswer:
        if not 2 <= len(self.points) <= 3:
            raise Misuse("name two points: `shardd diff [SPACE] SEQ SEQ`")
        space = clone.named(self.points[0] if len(self.points) == 3 else None)
        before, after = (parse_point(point) for point in self.points[-2:])
        return diff_of(GitLog(clone.top), SnapshotStore.of(clone.top), space, before, after)


def run(words: Sequence[str], voice: Voice) -> int:
    """Run one command in the clone we stand in; the exit status."""

    def run_one(command: object) -> AnyAnswer:
        if isinstance(command, VerifyHere):
            return command.answer()
        return cast("LocalCommand", command).answer(Clone.here())

    return speak(grammar(), words, at_once(run_one), voice)


def grammar() -> Grammar:
    grammar = Grammar("In a clone: answered from what was fetched.")
    choices = grammar.words
    log = choices.command("log", Log, "show the events of a space, as last fetched")
    log.add_argument("space", metavar="SPACE", nargs="?")
    log.add_argument("--after", metavar="SEQ", type=integer, help="only those with a higher number")
    fold = choices.command("fold", Fold, "show what the events of a space come to, as last fetched")
    fold.add_argument("space", metavar="SPACE", nargs="?")
    add_at(fold)
    diff = choices.command("diff", Diff, "show what changed between two points of a space")
    diff.add_argument("points", metavar="[SPACE] SEQ SEQ", nargs="+", help="a point is a SEQ, an OID or a TIME")
    export = choices.command("export", Export, "write a whole log as lines of JSON (CloudEvents), as last fetched")
    export.add_argument("space", metavar="SPACE", nargs="?")
    add_output(export)
    offline_verify.add(choices)
    choices.command("setup", Setup, "make this clone fit for appending by hand: name, refspecs, notes, hook")
    return grammar
