"""Every log that the wiki's tests run on, by name: one line each; and the events to put into them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from shardd.core.event import Event
from shardd.logs.decision_log import DecisionLog
from shardd.logs.git_log import GitLog
from shardd.logs.memory_log import MemoryLog
from tests.drafting import CAST, Said, drafts

SPACE = "wiki"


@dataclass(frozen=True)
class Backend:
    """new: a new, empty log that may keep its files in the folder; examples: how many a property test may try on it"""

    new: Callable[[Path], DecisionLog]
    examples: int = 50


BACKENDS = {
    "memory": Backend(lambda folder: MemoryLog()),
    "git": Backend(lambda folder: GitLog(folder / "repo.git"), examples=8),
}

on_every_backend = pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)


def appended(log: DecisionLog, said: Iterable[Said], *, prefix: str = "e") -> list[Event]:
    """Append them all and read back the whole log."""
    batch = drafts(CAST, said, prefix=prefix)
    if batch:
        log.append_many(SPACE, batch)
    return list(log.events(SPACE))


def events_of(said: Iterable[Said]) -> list[Event]:
    return appended(MemoryLog(), said)
