"""Standard output and standard error, as git uses them: colours and a pager on a terminal, plain text in a pipe."""

from __future__ import annotations

import os
import shlex
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
        """A pager as git would choose it (GIT_PAGER, PAGER, less), quitting by itself if all fits on the screen."""
        colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        words = shlex.split(os.environ.get("GIT_PAGER", os.environ.get("PAGER", "less")))
        if not (long and sys.stdout.isatty()) or words in ([], ["cat"]):
            yield colours
            return
        try:
            pager = subprocess.Popen(words, stdin=subprocess.PIPE, text=True, env={"LESS": "FRX", **os.environ})
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
