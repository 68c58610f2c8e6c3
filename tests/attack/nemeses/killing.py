"""SIGKILL from outside at any moment: one process, a client with all it has started, the server, and its gits too."""

from __future__ import annotations

import contextlib
import os
import signal

from tests.attack.nemeses.trouble import Trouble
from tests.attack.processes import Process, below, running


def shots(trouble: Trouble) -> None:
    """At clients, and at the gits and hooks of whoever works."""
    left = list(trouble.victims)
    while not trouble.pause(1.5):
        kind = trouble.chance.choice(["client", "client with its gits", "git", "git"])
        if kind == "git":
            gits = trouble.gits()
            if gits:
                _shoot(trouble, kind, [trouble.chance.choice(gits)])
        elif len(left) > len(trouble.victims) // 2:
            pid = left.pop(trouble.chance.randrange(len(left)))
            everybody = running()
            if pid in everybody:
                group = below([pid], everybody) if kind != "client" else []
                _shoot(trouble, kind, [everybody[pid], *group])


def server_kills(trouble: Trouble) -> None:
    """Whoever supervises starts it again."""
    while not trouble.pause(6.0):
        everybody = running()
        server = trouble.server(everybody)
        if server is None:
            continue
        group = below([server.pid], everybody) if trouble.chance.random() < 0.5 else []
        _shoot(trouble, "server with its gits" if group else "server", [server, *group])


def _shoot(trouble: Trouble, kind: str, victims: list[Process]) -> None:
    trouble.history.note(act=f"kill {kind}", victims=[[each.pid, each.name] for each in victims])
    for each in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each.pid, signal.SIGKILL)
