"""Whoever reads, by whatever way in, leaves an authoritative repo as it was: no snapshot, no view, no index."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shardd.logs.git_log import GitLog
from shardd.wiki.space import InformationSpace
from tests.e2e.harness import Actor, Garden

EVENTS = 120
"""More than a snapshot is worth."""


def files(repo: Path) -> dict[str, tuple[int, int, int]]:
    """Every file and folder, and what would tell that somebody wrote there."""
    found = {}
    for path in [repo, *repo.rglob("*")]:
        stat = path.lstat()
        found[str(path.relative_to(repo))] = (stat.st_ino, stat.st_size if path.is_file() else 0, stat.st_mtime_ns)
    return found


@pytest.fixture
def full(garden: Garden, alice: Actor) -> Garden:
    alice.acquire(garden)
    lines = "".join(json.dumps({"type": "note", "subject": str(n)}) + "\n" for n in range(EVENTS))
    alice.ssh(f"append {garden} --lines --atomic", input=lines.encode())
    return garden


def test_over_ssh(full: Garden, bob: Actor) -> None:
    before = files(full.path)
    for command in (
        "log {0}", "log {0} --after 100", "fold {0}", "fold {0} --at 7", "diff {0} 3 9", "export {0}", "verify {0}",
        "space list", "space show {0}", "lease show {0}", "lease list", "lease history {0}", "whoami", "repo list",
    ):  # fmt: skip
        bob.ssh(command.format(full))
    assert files(full.path) == before


def test_by_git(full: Garden, bob: Actor) -> None:
    before = files(full.path)
    bob.clone(full)
    bob.git("fetch", "--quiet", "origin")
    bob.git("ls-remote", f"{full.server.url}/{full.repo}/{full.space}.git")
    bob.git("clone", "--quiet", f"{full.server.url}/{full.repo}/{full.space}.git", "one-space")
    assert files(full.path) == before


def test_on_the_host(full: Garden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = files(full.path)
    for command in (
        f"fold {full}", f"diff {full} 3 9", f"log {full}", f"verify {full}",
        f"export {full} -o {tmp_path / 'log.jsonl'}",
        f"migrate {full} {tmp_path / 'copy.git'}/copied",
    ):  # fmt: skip
        full.server.host(*command.split()).must()
    log = GitLog(full.path)
    head = log.head(full.space)
    assert head is not None
    assert head.seq == EVENTS
    assert len(list(log.events(full.space))) == EVENTS
    assert InformationSpace.git_backed(full.space, full.path).refresh().head == head
    assert files(full.path) == before
    assert list(tmp_path.glob("cache/shardd/snapshots/*/whynot/*/*.json"))
