"""Who runs below the stage's folder, and who holds locks there: read from /proc, as nobody tells."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_LOCK = re.compile(r"\d+: (FLOCK|POSIX) +ADVISORY +WRITE (\d+) [0-9a-f]+:[0-9a-f]+:(\d+) ")


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it was seen. words: its command line"""

    pid: int
    parent: int
    state: str
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """As people call it: `git receive-pack`, `serve`."""
        words = [Path(word).name if i == 0 else word for i, word in enumerate(self.words[:3])]
        return " ".join(words)[:60]

    def signal(self, what: signal.Signals) -> bool:
        """Whether it was still there to get it."""
        try:
            os.kill(self.pid, what)
        except ProcessLookupError:
            return False
        return True


def running() -> dict[int, Process]:
    """Every process that is no zombie."""
    found: dict[int, Process] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if state not in "ZX":
                found[int(folder.name)] = Process(int(folder.name), int(parent), state, tuple(words[:-1]))
    return found


def below(roots: Iterable[int], everybody: dict[int, Process] | None = None) -> list[Process]:
    """The descendants of these processes, nearest first, without themselves."""
    everybody = running() if everybody is None else everybody
    children: dict[int, list[Process]] = defaultdict(list)
    for each in everybody.values():
        children[each.parent].append(each)
    found: list[Process] = []
    queue = list(roots)
    while queue:
        offspring = children.get(queue.pop(0), [])
        found += offspring
        queue += [each.pid for each in offspring]
    return found


def about(folder: Path, everybody: dict[int, Process] | None = None) -> Iterator[Process]:
    """The processes that a folder means something to: named in their words or surroundings, or where they stand."""
    needle = os.fsencode(folder)
    for each in (running() if everybody is None else everybody).values():
        place = Path("/proc") / str(each.pid)
        with contextlib.suppress(OSError):
            if (
                any(str(folder) in word for word in each.words)
                or needle in (place / "environ").read_bytes()
                or str((place / "cwd").readlink()).startswith(str(folder))
            ):
                yield each


def holders(folder: Path) -> dict[int, set[Path]]:
    """Who holds a lock on which files below `folder`, advisory ones of either kind."""
    with contextlib.suppress(OSError):
        locks = [(int(m[2]), int(m[3])) for m in map(_LOCK.match, Path("/proc/locks").read_text().splitlines()) if m]
        if not locks:
            return {}
        inodes = {inode for _, inode in locks}
        names = {path.stat().st_ino: path for path in folder.rglob("*") if path.is_file()} if inodes else {}
        found: dict[int, set[Path]] = defaultdict(set)
        for pid, inode in locks:
            if inode in names:
                found[pid].add(names[inode])
        return found
    return {}


def users(port: int) -> list[str]:
    """What /proc/net/tcp says of a local port: addresses and states of its sockets."""
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return [" ".join(words[1:4]) for words in lines if words[1].endswith(f":{port:04X}")]
