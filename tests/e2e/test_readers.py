"""Four independent readers of one served repo agree on every oid and every decoded event."""

from __future__ import annotations

import json
from pathlib import Path

import pygit2
from dulwich.repo import Repo

from shardd.core.codec import decode_event
from shardd.core.event import Event
from shardd.logs.git_log import GitLog
from tests.e2e.harness import Actor, Garden


def decoded(commits: list[tuple[str, bytes]]) -> list[Event]:
    """The events of a whole history, genesis first."""
    found: list[Event] = []
    for oid, raw in commits[1:]:
        found.append(decode_event(raw, oid=oid, parent_seq=found[-1].seq if found else 0))
    return found


def by_git(clone: Path, actor: Actor) -> list[tuple[str, bytes]]:
    oids = actor.git("rev-list", "--reverse", "HEAD").split()
    return [(oid, actor.try_git("cat-file", "commit", oid).must().stdout.encode()) for oid in oids]


def by_dulwich(clone: Path) -> list[tuple[str, bytes]]:
    with Repo(str(clone)) as repo:
        entries = [entry.commit for entry in repo.get_walker()]
        return [(commit.id.decode(), commit.as_raw_string()) for commit in reversed(entries)]


def by_libgit2(clone: Path) -> list[tuple[str, bytes]]:
    repo = pygit2.Repository(str(clone))
    order = pygit2.enums.SortMode.TOPOLOGICAL | pygit2.enums.SortMode.REVERSE
    return [(str(commit.id), commit.read_raw()) for commit in repo.walk(repo.head.target, order)]


def test_four_readers_agree(garden: Garden, alice: Actor, bob: Actor) -> None:
    alice.clone(garden)
    alice.acquire(garden)
    alice.event("page.bound: Grüße 🌱", {"page": "é", "n": [1.0, 1e21, None]})
    alice.event("note", None, "Signed-off-by: alice <alice@example.org>")
    alice.push()
    alice.ssh(f"append {garden} note Home --force --body '{json.dumps({'k': 'ünï'})}' --id by-command")
    alice.pull()
    alice.git("commit", "--quiet", "--allow-empty", "-m", "note", "--date", "2001-01-01T00:00:00-0930")
    alice.push()

    readings = {}
    for version in ("2", "0"):
        clone = bob.clone(garden, "-c", f"protocol.version={version}")
        readings[f"git, protocol {version}"] = by_git(clone, bob)
    readings["dulwich"] = by_dulwich(clone)
    readings["libgit2"] = by_libgit2(clone)

    first = readings["git, protocol 2"]
    assert len(first) == 5
    for name, commits in readings.items():
        assert commits == first, name
        assert decoded(commits) == list(GitLog(garden.path).events("whynot")), name
    assert list(GitLog(clone).events("whynot")) == list(GitLog(garden.path).events("whynot"))
