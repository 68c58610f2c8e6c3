"""What every actor is given, and the events that all of them append."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from shardd.core.event import Draft, Head
from shardd.logs.decision_log import new_id, utc_now
from shardd.logs.git_log import GitLog
from tests.attack.history import History, tried
from tests.attack.stage import Stage, space_of
from tests.e2e.harness import Actor, Result, run

BATCH = 130
"""Events that travel as a pack, where few of them would be loose objects."""

PATIENCE = 300.0
"""Seconds: longer than anything here may wait for a lock."""

_TYPES = ("page.bound", "page.unbound", "note", "x/y.z")
_ODD = ("Seq", "Lease-Epoch", "Event-Id", "Actor")
"""Event types that look like the trailers of a commit."""


@dataclass(frozen=True, slots=True)
class Life:
    """One principal's life in one round.

    spaces: the labels it knows; operations: how many things it does; finish: a file that tells those without an end
    kill_at: where it, or what it starts, is to die; odd: whether events may have any type that is allowed
    """

    stage: Stage
    who: str
    chance: random.Random
    spaces: tuple[str, ...]
    operations: int
    finish: Path
    kill_at: str = ""
    odd: bool = True

    @property
    def actor(self) -> Actor:
        return self.stage.actors[self.who]

    @property
    def history(self) -> History:
        return self.stage.history

    def over(self) -> bool:
        return self.finish.exists()

    def head(self, space: str) -> Head | None:
        """Where the log stands, read like any reader does; None also where that was not to be had."""
        call = self.history.call("read", self.who, "before", space=space)
        return tried(call, lambda: GitLog(self.stage.repo(space)).head(space_of(space)), seen)[1]

    def space(self) -> str:
        return self.chance.choice(self.spaces)

    def size(self) -> int:
        """Of a batch: mostly a few events, now and then a pack of them."""
        return BATCH if self.chance.random() < 0.12 else self.chance.randint(1, 3)

    def drafts(self, count: int) -> list[Draft]:
        odd = self.odd and self.chance.random() < 0.1
        return [a_draft(self.who, f"{'odd-' if odd else ''}{new_id()}") for _ in range(count)]

    def ssh(self, command: str, *, input: bytes = b"", way: str = "ssh") -> Result:
        """`ssh host COMMAND`, whatever becomes of it."""
        server = self.stage.openssh if way == "openssh" and self.stage.openssh else self.stage.server
        words = [*self.actor.ssh_words, "-p", str(server.port), "127.0.0.1", command]
        return run(words, cwd=self.actor.home, env=self.actor.env(), input=input, patience=PATIENCE)


Play: TypeAlias = Callable[[Life], None]


def seen(head: Head | None) -> dict[str, object]:
    """What the history keeps of a head."""
    return {"head": head and [head.seq, head.oid]}


def a_draft(who: str, id: str) -> Draft:
    """The event of that id, the same each time but for when: a retry can be made from what is left of it."""
    number = zlib.crc32(id.encode())
    kind = _ODD[number % len(_ODD)] if id.startswith("odd-") else _TYPES[number % len(_TYPES)]
    subject = str(number % 7) if number % 3 == 0 else None
    return Draft(type=kind, subject=subject, data={"page": f"P{number % 500}"}, actor=who, id=id, time=utc_now())
