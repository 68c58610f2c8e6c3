"""Standard output and standard error, as git uses them: colours and a pager on a terminal, plain text in a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


class Terminal:
    """The Voice of the command line."""

    def __init__(self) -> None:
        self._out: IO[str] = sys.stdout

    def out(self, line: str) -> None:
        self._out.write(line + "\n")

    def err(self, line: str) -> None:
        self.flush()
        sys.stderr.write(line + "\n")

    def flush(self) -> None:
        self._out.flush()

    @contextmanager
    def paged(self, *, long: bool) -> Iterator[bool]:
        """The pager that git would choose, quitting by itself if all fits on the screen."""
        colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        command = chosen_pager() if long and sys.stdout.isatty() else ""
        if command in ("", "cat"):
            yield colours
            return
        try:
            # As git does: it may be any command of the shell.
            words = ["sh", "-c", command]
            pager = subprocess.Popen(
                words, stdin=subprocess.PIPE, text=True, env={"LESS": "FRX", "LV": "-c", **os.environ}
            )
        except OSError:
            yield colours
            return
        assert pager.stdin is not None
        self._out = pager.stdin
        try:
            yield colours
            pager.stdin.close()
        except BrokenPipeError:
            pass  # the reader has seen enough
        finally:
            self._out = sys.stdout
            pager.wait()


def confirmed(what: str) -> bool:
    """Whether the person at this terminal means it; no where none is there to be asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(f"{what}.\nDo you mean it? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def chosen_pager() -> str:
    """GIT_PAGER, core.pager, PAGER, or what git was built with: git itself knows, of the repository that we are in."""
    try:
        done = subprocess.run(["git", "var", "GIT_PAGER"], capture_output=True, text=True, check=False)
    except OSError:
        return os.environ.get("GIT_PAGER", os.environ.get("PAGER", "less"))
    return done.stdout.strip() if done.returncode == 0 else "less"
