"""Starting git for a client, with its hooks' pipes on descriptors that survive git and a shell can name: 7 and 8; and
the guard of all these gits.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from shardd.commands.git_request import GitRun

HOOK_ASKS = 7
HOOK_ANSWERS = 8


@dataclass(slots=True)
class Child:
    """A running git: its pid, which is that of its group, what it serves, and our ends of its three streams."""

    pid: int
    repository: Path
    stdin: int
    stdout: int
    stderr: int
    over: bool = False
    _waiting: asyncio.Task[int] | None = None

    async def gone(self) -> int:
        """Wait for its end; its exit status, negative for a signal. A zombie remains, and keeps its number its own."""
        if self._waiting is None:
            self._waiting = asyncio.create_task(asyncio.to_thread(_ended, self.pid))
        status = await asyncio.shield(self._waiting)
        self.over = True
        return status

    def signal(self, how: signal.Signals) -> None:
        """To it and to everything in its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, how)

    def reap(self) -> None:
        """The last that is done with it."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


@dataclass(frozen=True, slots=True)
class RelayEnds:
    """Our ends of the hooks' pipes."""

    asks: int
    answers: int


def spawn(run: GitRun, *, relay: bool) -> tuple[Child, RelayEnds | None]:
    """Start git in a session of its own. relay: also make the hooks' pipes."""
    child_ends: list[int] = []
    our_ends: list[int] = []
    actions: list[tuple[int, int, int]] = []

    def pipe(target: int, *, child_reads: bool) -> int:
        read, write = (_high(end) for end in os.pipe())
        theirs, ours = (read, write) if child_reads else (write, read)
        child_ends.append(theirs)
        our_ends.append(ours)
        actions.append((os.POSIX_SPAWN_DUP2, theirs, target))
        return ours

    try:
        stdin = pipe(0, child_reads=True)
        stdout = pipe(1, child_reads=False)
        stderr = pipe(2, child_reads=False)
        ends = None
        if relay:
            ends = RelayEnds(pipe(HOOK_ASKS, child_reads=False), pipe(HOOK_ANSWERS, child_reads=True))
        words = list(run.arguments)
        pid = os.posix_spawn(words[0], words, dict(run.environment), file_actions=actions, setsid=True)
    except BaseException:
        for end in our_ends:
            os.close(end)
        raise
    finally:
        # Theirs must be closed here: only then does the end of the child end the pipes.
        for end in child_ends:
            os.close(end)
    return Child(pid, run.repository, stdin, stdout, stderr), ends


def guard() -> int:
    """Start guard.py, in a session of its own, so that a kill of our group does not take it along; the pipe to it."""
    read, write = (_high(end) for end in os.pipe())
    program = [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py"))]
    null = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    try:
        actions = [(os.POSIX_SPAWN_DUP2, read, 0), *null]
        os.posix_spawn(program[0], program, os.environ, file_actions=actions, setsid=True)
    finally:
        os.close(read)
    return write


def _high(descriptor: int) -> int:
    """The same pipe end above 9, so that no dup2 in the child can overwrite it before its turn."""
    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return high


def _ended(pid: int) -> int:
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if found is None:
        return 0
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
