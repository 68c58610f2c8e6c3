"""What every nemesis is given."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tests.attack.history import History
from tests.attack.processes import Process, about, below, running
from tests.attack.stage import Stage


@dataclass(frozen=True, slots=True)
class Trouble:
    """finish: a file that tells it to end; victims: the actors that may be killed or stopped, by their pids"""

    stage: Stage
    chance: random.Random
    finish: Path
    victims: Sequence[int]

    @property
    def history(self) -> History:
        return self.stage.history

    def over(self) -> bool:
        return self.finish.exists()

    def pause(self, longest: float) -> bool:
        """Wait for a while of any length; whether it is over meanwhile."""
        end = time.monotonic() + self.chance.random() * longest
        while time.monotonic() < end:
            if self.over():
                return True
            time.sleep(0.01)
        return self.over()

    def server(self, everybody: dict[int, Process] | None = None) -> Process | None:
        """The built-in server, once it has said that it serves: whoever starts it waits for that."""
        everybody = running() if everybody is None else everybody
        return everybody.get(self.stage.serving())

    def gits(self) -> list[Process]:
        """Whatever works for an actor, for the server or for sshd: gits, hooks, shells; not those two themselves."""
        everybody = running()
        roots = [*self.victims, *(p.pid for p in (self.server(everybody),) if p)]
        if self.stage.openssh is not None and self.stage.openssh.alive:
            roots.append(self.stage.openssh.pid)
        ours = {p.pid for p in about(self.stage.folder, everybody)}
        return [p for p in below(roots, everybody) if p.pid in ours and p.pid != os.getpid()]


Nemesis: TypeAlias = Callable[[Trouble], None]
