"""git's own maintenance by hand, at any speed: gc, repack, pack-refs and prune, slowed at each unlink and rename.

Slowed by strace(1), which delays the system calls, where there is one and it may trace; else by SIGSTOP and SIGCONT.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from functools import cache

from tests.attack.nemeses.trouble import Trouble
from tests.e2e.harness import surroundings

_ACTS = (
    ("gc", "--quiet"),
    ("gc", "--quiet", "--prune=now"),
    ("repack", "-a", "-d", "-q"),
    ("repack", "-a", "-d", "-q", "-f"),
    ("pack-refs", "--all"),
    ("pack-refs", "--all"),
    ("prune", "--expire=now"),
    ("prune-packed", "-q"),
)
_CALLS = ("unlink,unlinkat", "rename,renameat,renameat2,link,linkat", "unlink,unlinkat,rename,renameat,renameat2")
_LONGEST = 10.0  # seconds that one may take before it is let go, and then killed


def upkeep(trouble: Trouble) -> None:
    """One after the other, in the garden and in the shed."""
    while not trouble.pause(1.0):
        chance = trouble.chance
        act = chance.choice(_ACTS)
        repo = trouble.stage.garden if chance.random() < 0.85 or not trouble.stage.shed.exists() else trouble.stage.shed
        pace = chance.choice(["plain", "traced", "traced", "stopped"])
        words = ["git", "-C", str(repo), *act]
        if pace == "traced" and not can_trace():
            pace = "stopped"
        delay = chance.choice([50, 250, 600, 1500])
        if pace == "traced":
            calls = chance.choice(_CALLS)
            step = chance.choice([1, 1, 3, 20])
            inject = f"inject={calls}:delay_enter={delay * 1000}:when={chance.randint(1, 3)}+{step}"
            words = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}", "-e", inject, *words]
        trouble.history.note(act=" ".join(act), where=repo.name, pace=pace, delay=delay)
        child = subprocess.Popen(
            words,
            env=surroundings(trouble.stage.folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _attend(trouble, child, pace == "stopped")
        trouble.history.note(act=f"end of {act[0]}", status=child.returncode)


def _attend(trouble: Trouble, child: subprocess.Popen[bytes], stopping: bool) -> None:
    end = time.monotonic() + _LONGEST
    while child.poll() is None and time.monotonic() < end:
        if stopping:
            time.sleep(trouble.chance.random() * 0.1)
            _signal(child, signal.SIGSTOP)
            time.sleep(trouble.chance.uniform(0.05, 3.0))
            _signal(child, signal.SIGCONT)
        time.sleep(0.02)
    if child.poll() is None:
        _signal(child, signal.SIGKILL)
        trouble.history.note(act="killed what took too long")
    child.wait()


def _signal(child: subprocess.Popen[bytes], what: signal.Signals) -> None:
    if child.poll() is None:
        os.killpg(child.pid, what)


@cache
def can_trace() -> bool:
    """Whether strace is here and may trace."""
    if shutil.which("strace") is None:
        return False
    words = ["strace", "-qq", "-o", os.devnull, "-e", "inject=unlink:delay_enter=1", "true"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
