"""`GitLog` in other processes, into the server's own repo: single events and packs, and retries with the same ids."""

from __future__ import annotations

import time
from collections.abc import Sequence

from shardd.core.append import Expected
from shardd.core.event import Draft
from shardd.logs.decision_log import DecisionLog
from shardd.logs.git_log import GitLog
from tests.attack.actors import leasing
from tests.attack.actors.life import Life
from tests.attack.history import How, told, tried
from tests.attack.stage import space_of

_TRIES = 10


def by_log(life: Life) -> None:
    log = GitLog(life.stage.garden, principal=life.who)
    for _ in range(6 * life.operations):
        space = life.space()
        if life.chance.random() < 0.7:
            leasing.by_way(life, space, "host")
        for _ in range(life.chance.randint(1, 4)):
            expected = life.head(space) if life.chance.random() < 0.3 else None
            if append(life, log, "log", space, life.drafts(life.size()), expected) != "ok":
                break


def append(
    life: Life, log: DecisionLog, way: str, space: str, drafts: Sequence[Draft], expected: Expected = None
) -> How:
    """Append, and again with the same ids until somebody says yes or no."""
    events = {space: [(each.id, None, None) for each in drafts]}
    for number in range(_TRIES):
        call = life.history.call("append", life.who, way, events=events)
        how, _ = tried(
            call,
            lambda: log.append_many(space_of(space), drafts, expected=expected),
            lambda found: {"events": told(space, found)},
        )
        if how != "unknown" or life.over():
            return how
        time.sleep(0.1 * 1.5**number)
    return "unknown"
