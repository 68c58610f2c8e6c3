"""`fold` and `diff`: what a log comes to, now or at any point, and what changed between two."""

from __future__ import annotations

from dataclasses import dataclass

from shardd.commands.caller import Context
from shardd.commands.events import snapshots_of
from shardd.commands.grammar import Parser, Words, when
from shardd.commands.result import Answer, Each
from shardd.core.fold import coordination
from shardd.core.names import Address
from shardd.core.roles import Role
from shardd.core.state import CoordinationState
from shardd.core.statediff import StateDiff, diff_states
from shardd.core.statetext import state_lines
from shardd.errors import Misuse, Rejected
from shardd.logs.as_of import Point, parse_point, state_at
from shardd.logs.decision_log import ReadableLog
from shardd.logs.snapshots import SnapshotStore, catch_up


@dataclass(frozen=True, slots=True)
class Fold:
    """at: the last event to fold; None for the head"""

    address: Address
    at: Point | None

    def run(self, context: Context) -> Answer[CoordinationState]:
        with context.authority(self.address, Role.READ) as authority:
            return fold_of(authority, snapshots_of(context, self.address.repo), self.address.space, self.at)


@dataclass(frozen=True, slots=True)
class Diff:
    address: Address
    before: Point
    after: Point

    def run(self, context: Context) -> Answer[StateDiff]:
        with context.authority(self.address, Role.READ) as authority:
            snapshots = snapshots_of(context, self.address.repo)
            return diff_of(authority, snapshots, self.address.space, self.before, self.after)


def fold_of(log: ReadableLog, snapshots: SnapshotStore, space: str, at: Point | None) -> Answer[CoordinationState]:
    """The state of a space."""
    reducer = coordination()
    if log.head(space) is None:
        raise Rejected("no-such-space", f"there is no space {space} here", "run `git fetch`, or see `git branch -r`")
    if at is None:
        state = catch_up(log, space, reducer, snapshots=snapshots).state
    else:
        state = state_at(log, space, at, reducer, snapshots=snapshots).state
    return Answer([state], _STATE, long=True)


def diff_of(log: ReadableLog, snapshots: SnapshotStore, space: str, before: Point, after: Point) -> Answer[StateDiff]:
    """What changed between two points of a space."""
    reducer = coordination()
    states = [state_at(log, space, point, reducer, snapshots=snapshots).state for point in (before, after)]
    return Answer([diff_states(states[0], states[1])], _DIFF, long=True)


_STATE: Each[CoordinationState] = Each(lambda state: "\n".join(state_lines(state)), CoordinationState.to_json)
_DIFF: Each[StateDiff] = Each(lambda diff: "\n".join(diff.lines()), StateDiff.to_json)


def point(text: str) -> Point:
    """A seq, an oid, or a time as a person says it."""
    try:
        return parse_point(text)
    except Misuse as error:
        try:
            return when(text)
        except Misuse:
            raise error from None


def add_at(parser: Parser) -> None:
    parser.add_argument("--at", metavar="SEQ|OID|TIME", type=point, help="as of this event, or this time")


def add_points(parser: Parser) -> None:
    parser.add_argument("before", metavar="SEQ", type=point, help="or an oid, or a time")
    parser.add_argument("after", metavar="SEQ", type=point)


def add(words: Words) -> None:
    fold = words.command("fold", Fold, "show what the events of a space come to")
    fold.add_space()
    add_at(fold)
    diff = words.command("diff", Diff, "show what changed between two points of a space")
    diff.add_space()
    add_points(diff)
