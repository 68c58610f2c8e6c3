"""A `git` that runs the real one, and does something of its own where that is about to move refs."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from shardd.git import program as storage_git

_SCRIPT = """#!{python}
import os, signal, subprocess, sys

git, once = {git!r}, {once!r}
if sys.argv[1:2] != ["update-ref"] or os.path.exists(once):
    os.execv(git, [git, *sys.argv[1:]])
open(once, "x").close()
{at_start}
child = subprocess.Popen([git, *sys.argv[1:]], stdin=subprocess.PIPE)
os.close(1)  # only the real one is heard
said = b""
while not said.endswith(b"\\0commit\\0"):
    more = os.read(0, 65536)
    if not more:
        break
    said += more
    child.stdin.write(more.removesuffix(b"commit\\0"))
    child.stdin.flush()
else:
    {at_commit}
    child.stdin.write(b"commit\\0")
child.stdin.close()
status = child.wait()
{at_end}
sys.exit(status)
"""

KILLED_BEFORE = "child.kill(); child.wait(); os.kill(os.getpid(), signal.SIGKILL)"
"""For at_commit: git has prepared the move, and holds the refs."""

KILLED_AFTER = "os.kill(os.getpid(), signal.SIGKILL)"
"""For at_end: the move is made, and nobody hears of it."""

KILLED_BETWEEN = """child.kill(); child.wait()
    first = next(word[7:].decode() for word in said.split(b"\\0") if word.startswith(b"update "))
    ref = os.path.join(os.environ["GIT_DIR"], first)
    os.rename(ref + ".lock", ref)
    {then}
    os.kill(os.getpid(), signal.SIGKILL)"""
"""For at_commit: the first of several refs is moved, the others are not, and stay locked."""


def install(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    at_start: str = "",
    at_commit: str = "pass",
    at_end: str = "",
) -> None:
    """From now on the next move of refs goes by such a git. The arguments: lines of Python that it runs on its way."""
    folder.mkdir(exist_ok=True)
    script = folder / "git"
    known = {"python": sys.executable, "git": shutil.which("git"), "once": str(folder / "moved")}
    script.write_text(_SCRIPT.format(**known, at_start=at_start, at_commit=at_commit, at_end=at_end))
    script.chmod(0o755)
    monkeypatch.setattr(storage_git, "executable", lambda: str(script))


class Gate:
    """A place where such a git waits until it is let go."""

    def __init__(self, path: Path) -> None:
        self._path = path
        os.mkfifo(path)
        self.code = f"open({str(path)!r}).read()"
        """What it runs, to wait there."""

    def open(self) -> None:
        """Let it go, once it is there."""
        self.reached().close()

    def reached(self) -> _Waiting:
        """Returns when it is there."""
        return _Waiting(self._path)


class _Waiting:
    def __init__(self, path: Path) -> None:
        self._pipe = path.open("w")

    def close(self) -> None:
        self._pipe.close()
