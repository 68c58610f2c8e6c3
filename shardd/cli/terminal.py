"""Standard output and standard error, as git uses them: colours and a pager on a terminal, plain text in a pipe."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from shardd.errors import Unavailable


@contextmanager
def _writing(stream: IO[str]) -> Iterator[None]:
    """Unavailable if it takes no more, as on a full disk; what it still holds is dropped."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise Unavailable(f"the output cannot be written: {error.strerror}") from None


def spelled(stream: object) -> None:
    """Have a stream write as an escape what its encoding does not have, and names that are no text in any."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


class Terminal:
    """The Voice of the command line."""

    def __init__(self) -> None:
        self._out: IO[str] = sys.stdout

    def out(self, line: str) -> None:
        with _writing(self._out):
            self._out.write(line + "\n")

    def err(self, line: str) -> None:
        self.flush()
        sys.stderr.write(line + "\n")

    def flush(self) -> None:
        with _writing(self._out):
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
            words, env = ["sh", "-c", command], {"LESS": "FRX", "LV": "-c", **os.environ}
            pager = subprocess.Popen(words, stdin=subprocess.PIPE, text=True, errors="backslashreplace", env=env)
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
