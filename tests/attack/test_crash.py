"""A process killed at each point of the table: what it had decided holds, or never was; and nobody has to mend it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shardd.authority.appending import append_drafts
from shardd.authority.authorities import Authorities
from shardd.authority.facts import Pusher
from shardd.core.event import Draft, Event
from shardd.core.journal import Entry
from shardd.core.lease import Acquire, Grant, Release, Revoke, Transition
from shardd.core.refs import lease_ref, space_ref
from shardd.files.crash_points import VARIABLE, Point
from shardd.files.server_dir import ServerDir
from shardd.logs.git_log import GitLog
from tests.attack.children import Child
from tests.authorities import ADMIN, RIGHTS, embedded, make_repo
from tests.drafting import drafts

SPACE = "whynot"
ORDER = list(Point)
ELSEWHERE = {Point.BEFORE_LOOK, Point.AFTER_LOOK, Point.AFTER_ANSWER}
"""What a library call does not pass: pre-receive, and telling somebody."""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    path = make_repo(tmp_path / "garden.git")
    with embedded(path) as authority:
        authority.create(SPACE)
        authority.change(SPACE, Acquire("alice"))
    return path


def fsck(path: Path) -> None:
    done = subprocess.run(
        ["git", "-C", str(path), "fsck", "--strict", "--full", "--no-dangling", "--no-progress"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def history(path: Path) -> list[Entry]:
    with embedded(path) as authority:
        return list(authority.history(SPACE))


def change(path: Path, transition: Transition) -> Callable[[Callable[[object], None]], None]:
    def job(say: Callable[[object], None]) -> None:
        with embedded(path) as authority:
            say(authority.change(SPACE, transition).epoch)

    return job


def append(path: Path, events: list[Draft]) -> list[Event]:
    with embedded(path) as authority:
        return append_drafts(authority, SPACE, events, Pusher("alice"))


@pytest.mark.parametrize("transition", [Grant("bob", force=True), Revoke(), Release("alice")], ids=repr)
@pytest.mark.parametrize("point", [p for p in ORDER if p not in ELSEWHERE])
def test_a_lease_change_is_whole_or_never_was(repo: Path, transition: Transition, point: Point) -> None:
    moves = not isinstance(transition, Release)
    if point is Point.IN_INDEX:
        assert not Child(change(repo, transition), kill_at=point).ends().killed, "a lease call asks for no ids"
        return
    if not moves and point in (Point.BEFORE_MOVE, Point.AFTER_MOVE):
        assert Child(change(repo, transition), kill_at=point).ends().said == [1], "a release moves no ref"
        return
    ending = Child(change(repo, transition), kill_at=point).ends()
    assert ending.killed
    assert ending.said == []
    done = ORDER.index(point) >= ORDER.index(Point.AFTER_STORE)
    with embedded(repo) as authority:
        lease = authority.standing(SPACE).tenancy.lease
        expected = {Grant: "bob", Revoke: None, Release: None}[type(transition)] if done else "alice"
        assert (lease.holder if lease else None) == expected
        before = 1 + (done and moves)
        assert authority.change(SPACE, Grant("carol", force=True)).epoch == before + 1
    entries = history(repo)
    assert [entry.tenure.epoch for entry in entries] == list(range(1, before + 2))
    assert [entry.tenure.holder for entry in entries] == ["alice", *([expected] if before == 2 else []), "carol"]
    fsck(repo)


PUSH_POINTS = [p for p in ORDER if p not in ELSEWHERE | {Point.BEFORE_STORE, Point.AFTER_STORE}]


@pytest.mark.parametrize("count", [1, 150], ids=["one", "many"])
@pytest.mark.parametrize("point", PUSH_POINTS)
def test_an_append_is_whole_or_never_was_and_a_retry_finds_out(repo: Path, point: Point, count: int) -> None:
    events = drafts("alice", count)
    ending = Child(lambda say: say(len(append(repo, events))), kill_at=point).ends()
    assert ending.killed
    assert ending.said == []
    done = ORDER.index(point) >= ORDER.index(Point.AFTER_MOVE)
    with embedded(repo) as authority:
        head = authority.head(SPACE)
        assert head is not None
        assert head.seq == (count if done else 0)
    again = append(repo, events)
    assert [event.seq for event in again] == list(range(1, count + 1))
    assert [event.id for event in GitLog(repo).events(SPACE)] == [event.id for event in events]
    fsck(repo)


def push_environment(home: Path, **more: str) -> dict[str, str]:
    keep = {name: os.environ[name] for name in ("PATH", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_GLOBAL")}
    return {
        **keep,
        "HOME": str(home),
        "GIT_AUTHOR_NAME": "alice",
        "GIT_AUTHOR_EMAIL": "alice@example.org",
        "GIT_COMMITTER_NAME": "alice",
        "GIT_COMMITTER_EMAIL": "alice@example.org",
        **more,
    }


@pytest.fixture
def hosted(tmp_path: Path) -> Path:
    """A repo in a server's directory, with our hooks; alice may append."""
    server = ServerDir.create(tmp_path / "server")
    for grant in RIGHTS.grants:
        server.access.grant(grant)
    authorities = Authorities.open(server)
    authorities.create("garden")
    with authorities.repo("garden", lambda: RIGHTS, by=ADMIN) as authority:
        authority.create(SPACE)
    return server.repo_path("garden")


@pytest.fixture
def clone(hosted: Path, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(hosted), str(path))
    yield path
    fsck(hosted)


def git(cwd: Path, *words: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *words], cwd=cwd, env=push_environment(cwd, **more), capture_output=True, text=True, check=check
    )


def pushed(clone: Path, **more: str) -> bool:
    options = ["-o", "lease=acquire", "origin", "HEAD"]
    return git(clone, "push", "--quiet", *options, check=False, SHARDD_PRINCIPAL="alice", **more).returncode == 0


def newest(path: Path, ref: str) -> str:
    return git(path, "rev-parse", "--verify", "--quiet", ref, check=False).stdout.strip()


@pytest.mark.parametrize("point", ORDER)
def test_a_push_with_a_lease_of_its_own_is_whole_or_never_was(hosted: Path, clone: Path, point: Point) -> None:
    """The hook dies; git says so to the pusher, or tells it the answer that the hook had given before."""
    git(clone, "commit", "--quiet", "--allow-empty", "-m", "page.bound: Home")
    said_yes = pushed(clone, **{VARIABLE: point})
    landed = newest(hosted, space_ref(SPACE)) == newest(clone, "HEAD")
    assert landed == (ORDER.index(point) >= ORDER.index(Point.AFTER_MOVE))
    assert said_yes == (point is Point.AFTER_ANSWER)
    stored = ORDER.index(point) >= ORDER.index(Point.AFTER_STORE)
    git(clone, "commit", "--quiet", "--allow-empty", "-m", "page.bound: Away")
    assert pushed(clone)
    assert newest(hosted, space_ref(SPACE)) == newest(clone, "HEAD")
    with embedded(hosted) as authority:
        entries = list(authority.history(SPACE))
        assert authority.standing(SPACE).tenancy.lease is None
    assert [entry.tenure.epoch for entry in entries] == ([1, 2] if stored else [1])
    assert entries[-1].resumed_at.seq == (1 if landed else 0)


def test_a_push_that_is_refused_leaves_no_epoch_behind(hosted: Path, clone: Path) -> None:
    with embedded(hosted) as authority:
        authority.create("other")
        authority.change("other", Acquire("bob"))
        authority.change("other", Revoke())
        authority.change(SPACE, Acquire("alice"))
        authority.change(SPACE, Revoke())
    git(clone, "fetch", "--quiet")
    git(clone, "commit", "--quiet", "--allow-empty", "-m", "page.bound: Home")
    git(clone, "checkout", "--quiet", "-b", "spaces/other", "origin/spaces/other")
    git(clone, "commit", "--quiet", "--allow-empty", "-m", "page.bound: Home")
    refs = ["spaces/other", f"spaces/{SPACE}"]
    push = ["push", "--quiet", "--atomic", "-o", "lease=acquire", "origin", *refs]
    done = git(clone, *push, check=False, SHARDD_PRINCIPAL="alice")
    assert done.returncode != 0
    assert "the lease of garden/whynot was revoked from alice" in done.stderr
    with embedded(hosted) as authority:
        assert [len(list(authority.history(space))) for space in (SPACE, "other")] == [2, 2]
    assert newest(hosted, lease_ref("other")) != ""


def test_spaces_do_not_wait_for_each_other(hosted: Path, clone: Path) -> None:
    with embedded(hosted) as authority:
        authority.create("other")

    def job(say: Callable[[object], None]) -> None:
        with embedded(hosted) as authority, authority.hold(["other"]):
            say("held")
            os.read(wait, 1)

    wait, go = os.pipe()
    child = Child(job)
    try:
        assert child.hears() == "held"
        git(clone, "commit", "--quiet", "--allow-empty", "-m", "page.bound: Home")
        assert pushed(clone)
        with embedded(hosted) as authority:
            assert authority.change(SPACE, Grant("bob")).epoch == 2
            authority.create("third")
            held = authority.ledger.repository.locks / "other"
            assert subprocess.run(["flock", "--nonblock", str(held), "true"], check=False).returncode == 1
    finally:
        os.write(go, b".")
        child.ends()
        os.close(wait)
        os.close(go)
