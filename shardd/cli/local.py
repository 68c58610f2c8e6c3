"""Commands that a clone answers by itself, offline: each is a dataclass with `answer(clone)`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from shardd.cli import offline_verify
from shardd.cli.clone import Clone
from shardd.cli.offline_verify import VerifyHere
from shardd.cli.setup import Setup
from shardd.cli.setup import add as add_setup
from shardd.cli.status import Status
from shardd.commands.events import WHOLE, Picks, Source, add_picks, explained
from shardd.commands.folds import add_at, diff_of, fold_of, point
from shardd.commands.grammar import Grammar
from shardd.commands.import_export import add_output, exported, listed
from shardd.commands.result import Answer, AnyAnswer, at_once
from shardd.commands.run_command import Voice, speak
from shardd.errors import Misuse
from shardd.logs.as_of import Point
from shardd.logs.log_transfer import export_jsonl, exported_lines
from shardd.logs.snapshots import SnapshotStore


class LocalCommand(Protocol):
    def answer_in(self, clone: Clone) -> AnyAnswer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Log(Picks):
    space: str | None

    def answer_in(self, clone: Clone) -> AnyAnswer:
        return self.answer(lambda: _source(clone, self.space), terminal=sys.stdout.isatty())


@dataclass(frozen=True, slots=True)
class Show:
    """words: `[SPACE] SEQ|ID|OID`"""

    words: list[str]

    def answer_in(self, clone: Clone) -> AnyAnswer:
        space, event = _last_of(self.words, "shardd show [SPACE] SEQ|ID|OID")
        return Answer([source.find(event) for source in _source(clone, space)], WHOLE)


@dataclass(frozen=True, slots=True)
class Explain:
    """words: `[SPACE] PAGE`"""

    words: list[str]

    def answer_in(self, clone: Clone) -> AnyAnswer:
        space, page = _last_of(self.words, "shardd explain [SPACE] PAGE")
        return explained(lambda: _source(clone, space), page)


def _source(clone: Clone, space: str | None) -> Iterator[Source]:
    name = clone.named(space)
    yield Source(clone.log(name), name, SnapshotStore.of(clone.folder))


def _last_of(words: list[str], usage: str) -> tuple[str | None, str]:
    if len(words) > 2:
        raise Misuse(f"too many words: `{usage}`")
    return (words[0] if len(words) == 2 else None), words[-1]


@dataclass(frozen=True, slots=True)
class Export:
    space: str | None
    file: str
    force: bool

    def answer_in(self, clone: Clone) -> AnyAnswer:
        space = clone.named(self.space)
        log = clone.log(space)
        if self.file == "-":
            return listed(exported_lines(log, space))
        head = export_jsonl(log, space, self.file, force=self.force)
        return exported(space, self.file, head.seq, head.oid)


@dataclass(frozen=True, slots=True)
class Fold:
    space: str | None
    at: Point | None

    def answer_in(self, clone: Clone) -> AnyAnswer:
        space = clone.named(self.space)
        return fold_of(clone.log(space), SnapshotStore.of(clone.folder), space, self.at)


@dataclass(frozen=True, slots=True)
class Diff:
    points: list[str]

    def answer_in(self, clone: Clone) -> AnyAnswer:
        if not 2 <= len(self.points) <= 3:
            raise Misuse("name two points: `shardd diff [SPACE] SEQ SEQ`")
        space = clone.named(self.points[0] if len(self.points) == 3 else None)
        before, after = (point(each) for each in self.points[-2:])
        return diff_of(clone.log(space), SnapshotStore.of(clone.folder), space, before, after)


def run(words: Sequence[str], voice: Voice) -> int:
    """Run one command in the clone we stand in; the exit status."""

    def run_one(command: object) -> AnyAnswer:
        if isinstance(command, VerifyHere | Setup):
            return command.answer()
        return cast("LocalCommand", command).answer_in(Clone.here())

    return speak(grammar(), words, at_once(run_one), voice)


def grammar() -> Grammar:
    grammar = Grammar("In a clone: answered from what was fetched.")
    choices = grammar.words
    log = choices.command("log", Log, "show the events of a space, as last fetched")
    log.add_argument("space", metavar="SPACE", nargs="?")
    add_picks(log)
    show = choices.command("show", Show, "show all of one event, as last fetched")
    show.add_argument("words", metavar="[SPACE] SEQ|ID|OID", nargs="+")
    status = choices.command("status", Status, "show where you stand in a space, and whose turn it is")
    status.add_argument("space", metavar="SPACE", nargs="?")
    status.add_argument("--offline", action="store_true", help="do not ask the server")
    explain = choices.command("explain", Explain, "show what led to a page as it is, as last fetched")
    explain.add_argument("words", metavar="[SPACE] PAGE", nargs="+")
    fold = choices.command("fold", Fold, "show what the events of a space come to, as last fetched")
    fold.add_argument("space", metavar="SPACE", nargs="?")
    add_at(fold)
    diff = choices.command("diff", Diff, "show what changed between two points of a space")
    diff.add_argument("points", metavar="[SPACE] SEQ SEQ", nargs="+", help="a point is a SEQ, an OID or a TIME")
    export = choices.command("export", Export, "write a whole log as lines of JSON (CloudEvents), as last fetched")
    export.add_argument("space", metavar="SPACE", nargs="?")
    add_output(export)
    offline_verify.add(choices)
    add_setup(choices)
    return grammar
