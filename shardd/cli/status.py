"""`shardd status`: where we stand in a clone, and whose turn it is. Of that the server knows."""

from __future__ import annotations

import json
from dataclasses import dataclass

import msgspec

from shardd.cli import which_server
from shardd.cli.clone import Clone, git
from shardd.commands.result import Answer, Facts
from shardd.core.canonical import Json
from shardd.core.durations import left_text
from shardd.core.event import Head
from shardd.core.plural import many
from shardd.errors import SharddError


class Turn(msgspec.Struct, frozen=True):
    """What the server says of the lease; see `lease show --json`."""

    holder: str | None
    epoch: int
    left_ms: int | None
    fenced: bool | None
    waiting: list[str]
    head: Head | None


@dataclass(frozen=True, slots=True)
class Stands:
    """fetched: the head as last fetched; ahead, behind: of the branch, against that, None where there is no such branch

    turn: or why it is not known
    """

    space: str
    fetched: Head | None
    ahead: int | None
    behind: int | None
    turn: Turn | str


@dataclass(frozen=True, slots=True)
class Status:
    space: str | None
    offline: bool

    def answer_in(self, clone: Clone) -> Answer[Stands]:
        space = clone.named(self.space)
        fetched = clone.log(space).head(space)
        counts = _counts(space, fetched)
        turn = "the server was not asked" if self.offline else _turn(clone, space)
        return Answer([Stands(space, fetched, *counts, turn)], SHOWN)


def _counts(space: str, fetched: Head | None) -> tuple[int | None, int | None]:
    branch = f"refs/heads/spaces/{space}"
    if fetched is None or git("rev-parse", "--quiet", "--verify", branch) is None:
        return None, None
    said = (git("rev-list", "--left-right", "--count", f"{branch}...{fetched.oid}", "--") or "").split()
    return (int(said[0]), int(said[1])) if len(said) == 2 else (None, None)


def _turn(clone: Clone, space: str) -> Turn | str:
    try:
        remote = which_server.of(clone)
        said = remote.answer(["lease", "show", f"{remote.repo}/{space}", "--json"])
    except SharddError as error:
        return str(error)
    try:
        return msgspec.convert(json.loads(said), Turn)
    except (ValueError, RecursionError):
        return "the server was not reached"


def _facts(stands: Stands) -> list[tuple[str, str]]:
    fetched, turn = stands.fetched, stands.turn
    found = [
        ("space", stands.space),
        ("head", f"seq {fetched.seq}, {fetched.oid[:12]}, as last fetched" if fetched else "nothing was fetched"),
    ]
    if stands.ahead is not None and stands.behind is not None:
        parts = [f"{many(stands.ahead, 'event')} to push"] if stands.ahead else []
        parts += [f"{many(stands.behind, 'event')} to pull"] if stands.behind else []
        found.append(("branch", ", ".join(parts) or "up to date with that"))
    if isinstance(turn, str):
        return [*found, ("lease", f"not known: {turn}")]
    newer = turn.head.seq - (fetched.seq if fetched else 0) if turn.head else 0
    if newer > 0:
        found.append(("server", f"seq {turn.head.seq if turn.head else 0}: {newer} more to fetch"))
    if turn.holder is None or turn.left_ms is None:
        return [*found, ("lease", "free: `shardd lease acquire` takes it")]
    line = f", then {', '.join(turn.waiting)}" if turn.waiting else ""
    held = f"{turn.holder}, epoch {turn.epoch}{', fenced' * bool(turn.fenced)}, {left_text(turn.left_ms)} left{line}"
    return [*found, ("lease", held)]


def _value(stands: Stands) -> Json:
    turn = stands.turn
    fetched = stands.fetched
    return {
        "space": stands.space,
        "head": {"seq": fetched.seq, "oid": fetched.oid} if fetched else None,
        "ahead": stands.ahead,
        "behind": stands.behind,
        "lease": None if isinstance(turn, str) else msgspec.to_builtins(turn),
    }


SHOWN = Facts(_facts, _value)
