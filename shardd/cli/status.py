"""`shardd status`: where we stand in a clone, and whose turn it is. Of that the server knows."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

import msgspec

from shardd.cli.clone import Clone, git
from shardd.client.address import Remote, parse_url
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

    turn: None where the server was not asked, or did not answer
    """

    space: str
    fetched: Head | None
    ahead: int | None
    behind: int | None
    turn: Turn | None


@dataclass(frozen=True, slots=True)
class Status:
    space: str | None
    offline: bool

    def answer_in(self, clone: Clone) -> Answer[Stands]:
        space = clone.named(self.space)
        fetched = clone.log(space).head(space)
        counts = _counts(space, fetched)
        turn = None if self.offline else _turn(parse_url(clone.url), space)
        return Answer([Stands(space, fetched, *counts, turn)], SHOWN)


def _counts(space: str, fetched: Head | None) -> tuple[int | None, int | None]:
    branch = f"refs/heads/spaces/{space}"
    if fetched is None or git("rev-parse", "--quiet", "--verify", branch) is None:
        return None, None
    said = (git("rev-list", "--left-right", "--count", f"{branch}...{fetched.oid}", "--") or "").split()
    return (int(said[0]), int(said[1])) if len(said) == 2 else (None, None)


def _turn(remote: Remote, space: str) -> Turn | None:
    if remote.repo is None:
        return None
    words = ["lease", "show", f"{remote.repo}/{space}", "--json"]
    try:
        done = subprocess.run(remote.command(words), stdout=subprocess.PIPE, check=False)
        return msgspec.convert(json.loads(done.stdout), Turn) if done.returncode == 0 else None
    except (OSError, ValueError, SharddError):
        return None


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
    if turn is None:
        return [*found, ("lease", "not known: the server was not reached")]
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
        "lease": msgspec.to_builtins(turn) if turn else None,
    }


SHOWN = Facts(_facts, _value)
