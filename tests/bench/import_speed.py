"""Taking over a whole log: shardd against `git fast-import` of the very same commits, in the same run.

    .venv/bin/python -m tests.bench.import_speed [EVENTS]

shardd parses and checks every line, names every commit, looks up every id, syncs, and moves the ref under a lock;
fast-import is fed commits that are ready. Prints events a second, the ratio, and the memory that shardd needed.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from shardd import GitLog, import_jsonl
from shardd.core.import_chain import chain
from shardd.core.jsonl import decode_lines


def write_lines(path: Path, count: int) -> None:
    """A log in the plain form, of two actors."""
    with path.open("w") as file:
        for n in range(1, count + 1):
            line = {
                "seq": n,
                "timestamp": f"2026-06-15T{n // 3600 % 24:02d}:{n // 60 % 60:02d}:{n % 60:02d}.{n % 1000000:06d}Z",
                "actor": ("alice", "bob")[n % 2],
                "type": "page.bound",
                "payload": {"page": f"Page{n}", "shard": "garden", "n": n},
            }
            file.write(json.dumps(line) + "\n")


def fast_import_stream(path: Path) -> Iterator[bytes]:
    """The same commits, as fast-import takes them."""
    mark = 0
    with path.open("rb") as file:
        for placed in chain("whynot", decode_lines(file, "whynot")):
            head, _, message = placed.raw.partition(b"\n\n")
            author, committer = head.split(b"\n")[-2:]
            mark += 1
            parent = b"from :%d\n" % (mark - 1) if mark > 1 else b""
            yield b"commit refs/heads/spaces/whynot\nmark :%d\n%s\n%s\ndata %d\n%s\n%s" % (
                mark, author, committer, len(message), message, parent,
            )  # fmt: skip


def main(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = Path(scratch)
        lines = folder / "log.jsonl"
        write_lines(lines, count)
        start = time.perf_counter()
        done = import_jsonl(GitLog(folder / "ours.git"), "whynot", lines)
        ours = count / (time.perf_counter() - start)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

        stream = folder / "stream"
        with stream.open("wb") as file:
            file.writelines(fast_import_stream(lines))
        git = ["git", "-C", str(folder / "theirs.git")]
        subprocess.run(["git", "init", "--quiet", "--bare", str(folder / "theirs.git")], check=True)
        start = time.perf_counter()
        with stream.open("rb") as file:
            subprocess.run([*git, "fast-import", "--quiet"], stdin=file, check=True)
        theirs = count / (time.perf_counter() - start)
        tip = subprocess.run([*git, "rev-parse", "spaces/whynot"], capture_output=True, text=True, check=True)
        assert tip.stdout.strip() == done.head.oid, "both arrive at one commit"
    print(f"shardd import    {ours:8,.0f} events/s, {memory} MiB at most")
    print(f"git fast-import  {theirs:8,.0f} commits/s")
    print(f"shardd takes {theirs / ours:.2f} of git's time")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
