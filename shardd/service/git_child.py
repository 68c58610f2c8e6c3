"""Starting git for a client, with its hooks' pipes on descriptors that survive git and a shell can name: 7 and 8."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HOOK_ASKS = 7
HOOK_ANSWERS = 8


@dataclass(frozen=True, slots=True)
class Child:
    """A running git: its pid and our ends of its three streams."""

    pid: int
    stdin: int
    stdout: int
    stderr: int

    async def wait(self) -> int:
        """Its exit status, as a shell would give it."""
        status = await asyncio.to_thread(_reap, self.pid)
        return status if status >= 0 else 128 - status


@dataclass(frozen=True, slots=True)
class RelayEnds:
    """Our ends of the hooks' pipes."""

    asks: int
    answers: int


def spawn(arguments: Sequence[str], env: Mapping[str, str], *, relay: bool) -> tuple[Child, RelayEnds | None]:
    """Start a command in a session of its own. relay: also make the hooks' pipes."""
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
        pid = os.posix_spawn(arguments[0], list(arguments), dict(env), file_actions=actions, setsid=True)
    except BaseException:
        for end in our_ends:
            os.close(end)
        raise
    finally:
        # Theirs must be closed here: only then does the end of the child end the pipes.
        for end in child_ends:
            os.close(end)
    return Child(pid, stdin, stdout, stderr), ends


def _high(descriptor: int) -> int:
    """The same pipe end above 9, so that no dup2 in the child can overwrite it before its turn."""
    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return high


def _reap(pid: int) -> int:
    with contextlib.suppress(ChildProcessError):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return 0
