"""Proving a log whole: shardd against `git log`, and against `git fsck`, over the same repo, in the same run.

    .venv/bin/python -m tests.bench.verify_speed [EVENTS]

git log only prints what it reads; fsck hashes every object, but knows nothing of events.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shardd import GitLog, import_jsonl
from shardd.git.repository import Repository
from shardd.upkeep.verify import spaces_in, verify
from tests.bench.import_speed import write_lines


def main(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = Path(scratch)
        write_lines(folder / "log.jsonl", count)
        path = folder / "log.git"
        import_jsonl(GitLog(path), "whynot", folder / "log.jsonl")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        start = time.perf_counter()
        with Repository(path) as repository:
            [refs] = spaces_in(repository.git, bare=True)
            report = verify(repository, refs)
        ours = time.perf_counter() - start
        assert report.broken is None
        assert report.events == count
        print(f"shardd verify  {count / ours:8,.0f} events/s, {_peak() - before} MiB more than the import")
        for name, words in (("git log", ["log", "--reverse", "-z", "spaces/whynot"]), ("git fsck", ["fsck", "--full"])):
            start = time.perf_counter()
            subprocess.run(["git", "-C", str(path), *words], stdout=subprocess.DEVNULL, check=True)
            theirs = time.perf_counter() - start
            print(f"{name:<13}  {count / theirs:8,.0f} commits/s; shardd takes {ours / theirs:.2f} of its time")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
