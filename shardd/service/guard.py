"""Outlives a server that was killed, and ends the gits that it leaves behind: `python -I -S guard.py`; see children.py.

Standard input is a pipe from the server, with a line `+PGID` for each group of processes that begins and `-PGID` for
each that has ended. When the pipe ends, and the server with it, what is left is asked to end, and then made to. None
of these moves refs: the server does that itself. Standard library only, and no import of ours, to be small and at once
there.
"""

import os
import signal
import sys
import time

GRACE = 4.0


def main() -> None:
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # it ends with the server, not before
    groups: set[int] = set()
    for line in sys.stdin.buffer:
        if line.endswith(b"\n"):
            (groups.add if line.startswith(b"+") else groups.discard)(int(line[1:]))
    deadline = time.monotonic() + GRACE
    groups = {group for group in groups if _signalled(group, signal.SIGTERM)}
    while groups and time.monotonic() < deadline:
        time.sleep(0.05)
        groups = {group for group in groups if _signalled(group, 0)}
    for group in groups:
        _signalled(group, signal.SIGKILL)


def _signalled(group: int, how: int) -> bool:
    try:
        os.killpg(group, how)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
