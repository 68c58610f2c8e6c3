"""`fold` and `diff`: what a log comes to, now or at any point, and what changed between two."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shardd.commands.caller import Context
from shardd.commands.grammar import Parser, Words
from shardd.commands.result import Answer
from shardd.core.fold import coordination
from shardd.core.names import Address
from shardd.core.roles import Role
from shardd.core.statediff import diff_states
from shardd.core.statetext import state_lines
from shardd.errors import Rejected
from shardd.logs.as_of import Point, parse_point, state_at
from shardd.logs.git_log import GitLog
from shardd.logs.snapshots import SnapshotStore, catch_up


@dataclass(frozen=True, slots=True)
class Fold:
    """at: the last event to fold; None for the head"""

    address: Address
    at: Point | None

    def run(self, context: Context) -> Answer:
        with context.authority(self.address, Role.READ):
            return fold_in(context.server.repo_path(self.address.repo), self.address.space, self.at)


@dataclass(frozen=True, slots=True)
class Diff:
    address: Address
    before: Point
    after: Point

    def run(self, context: Context) -> Answer:
        with context.authority(self.address, Role.READ):
            return diff_in(context.server.repo_path(self.address.repo), self.address.space, self.before, self.after)


def fold_in(repo: Path, space: str, at: Point | None) -> Answer:
    """The state of a space in a repository, bare or clone, with the snapshots kept beside it."""
    log, snapshots, reducer = GitLog(repo), SnapshotStore.beside(repo), coordination()
    if log.head(space) is None:
        raise Rejected("no-such-space", f"there is no space {space} here", "run `git fetch`, or see `git branch -r`")
    if at is None:
        state = catch_up(log, space, reducer, snapshots=snapshots).state
    else:
        state = state_at(log, space, at, reducer, snapshots=snapshots).state
    return Answer(lines=state_lines(state), values=(value for value in [state.to_json()]), long=True)


def diff_in(repo: Path, space: str, before: Point, after: Point) -> Answer:
    """What changed between two points of a space in a repository."""
    log, snapshots, reducer = GitLog(repo), SnapshotStore.beside(repo), coordination()
    states = [state_at(log, space, point, reducer, snapshots=snapshots).state for point in (before, after)]
    found = diff_states(states[0], states[1])
    return Answer(lines=found.lines(), values=[found.to_json()], long=True)


def add_at(parser: Parser) -> None:
    parser.add_argument("--at", metavar="SEQ|OID|TIME", type=parse_point, help="as of this event, or this time")


def add_points(parser: Parser) -> None:
    parser.add_argument("before", metavar="SEQ", type=parse_point, help="or an oid, or a time")
    parser.add_argument("after", metavar="SEQ", type=parse_point)


def add(words: Words) -> None:
    fold = words.command("fold", Fold, "show what the events of a space come to")
    fold.add_argument("address", metavar="REPO/SPACE", type=Address.parse)
    add_at(fold)
    diff = words.command("diff", Diff, "show what changed between two points of a space")
    diff.add_argument("address", metavar="REPO/SPACE", type=Address.parse)
    add_points(diff)
