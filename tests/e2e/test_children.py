"""The gits that serve clients: what bounds them, and that they end with their client and with the server."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import begin, plant
from tests.e2e.harness import Actor, Garden, Pushing, Server, wait_until

SETTINGS = "max-git-cpu-seconds = 77\nmax-git-memory-bytes = 1000000000\n"


@pytest.fixture
def server(tmp_path: Path, keys: dict[str, Path]) -> Iterator[Server]:
    """One for each test, as they end it."""
    server = begin(tmp_path, keys, settings=SETTINGS)
    yield server
    server.stop()
    server.fsck()


class Site:
    """A hook of the site's that holds every push up; `go` lets it."""

    def __init__(self, server: Server, hook: str, folder: Path, *, before: str = "", after: str = "") -> None:
        self.folder = folder
        self.go = folder / "go"
        path = server.root / "site-hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f"#!/bin/sh\n{before}\n: >{folder}/began\n"
            f"while [ ! -e {self.go} ]; do sleep 0.02; done\n{after}\n: >{folder}/done\n"
        )
        path.chmod(0o755)

    def began(self) -> bool:
        return (self.folder / "began").exists()

    def done(self) -> bool:
        return (self.folder / "done").exists()


def group(server: Server) -> int:
    """Of the receive-pack that was started last."""
    return int(re.findall(r"receive-pack \S+ by \w+ \(pid (\d+)\)", server.log.read_text())[-1])


def members(group: int) -> list[int]:
    """Living processes of a group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(pgrp) == group and state != "Z":
            found.append(int(path.parent.name))
    return found


def limit(pid: int, name: str) -> tuple[str, str]:
    """Soft and hard."""
    match = re.search(rf"^{name} +(\S+) +(\S+)", Path(f"/proc/{pid}/limits").read_text(), re.MULTILINE)
    assert match
    return match[1], match[2]


def ready(alice: Actor, garden: Garden) -> str:
    """An event that waits to be pushed."""
    alice.clone(garden)
    alice.acquire(garden)
    return alice.event("one")


def pushes(who: Actor) -> Pushing:
    """In a group of its own, so that all of it can be killed."""
    return Pushing(
        subprocess.Popen(
            ["git", "push"],
            cwd=who.cwd,
            env=who.env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    )


def test_they_are_bounded_and_the_sites_hooks_are_not(
    server: Server, garden: Garden, alice: Actor, tmp_path: Path
) -> None:
    said = f"ulimit -S -d >{tmp_path}/data; ulimit -S -t >{tmp_path}/time"
    site = Site(server, "pre-receive", tmp_path, before=said)
    ready(alice, garden)
    pushing = pushes(alice)
    wait_until(site.began, "the push is in its hook")
    leader = group(server)
    assert limit(leader, "Max data size") == ("1000000000", "unlimited")
    assert limit(leader, "Max cpu time") == ("77", "unlimited")
    assert limit(server.pid, "Max cpu time")[0] == "unlimited"
    site.go.touch()
    assert pushing.end().status == 0
    assert [(tmp_path / name).read_text().strip() for name in ("data", "time")] == 2 * ["unlimited"]


@pytest.mark.parametrize("deaf", ["", "trap '' TERM INT HUP"])
def test_they_end_with_their_client(server: Server, garden: Garden, alice: Actor, tmp_path: Path, deaf: str) -> None:
    """Until all is decided: a hook that never ends goes too, be it deaf."""
    site = Site(server, "pre-receive", tmp_path, before=deaf)
    ready(alice, garden)
    before = garden.refs()
    pushing = pushes(alice)
    wait_until(site.began, "the push is in its hook")
    leader = group(server)
    assert members(leader)
    pushing.kill()
    wait_until(lambda: not members(leader), "all of it is gone")
    assert garden.refs() == before
    wait_until(lambda: not list((garden.path / "objects").glob("tmp_*")), "so is what it was about to bring")
    assert alice.try_ssh("whoami").ok


def test_what_is_decided_goes_to_its_end(server: Server, garden: Garden, alice: Actor, tmp_path: Path) -> None:
    """The client leaves after its event is in the log: the site is told of it all the same."""
    site = Site(server, "post-receive", tmp_path, after=f"cat >{tmp_path}/told")
    new = ready(alice, garden)
    pushing = pushes(alice)
    wait_until(site.began, "the push is in its last hook")
    leader = group(server)
    pushing.kill()
    assert garden.head() == new
    # The server has seen that the client is gone: it has none left.
    alice.ssh("whoami")
    assert members(leader)
    site.go.touch()
    wait_until(site.done, "the hook has come to its end")
    assert f" {new} {garden.ref}" in (tmp_path / "told").read_text()
    wait_until(lambda: not members(leader), "all of it is gone")


@pytest.mark.parametrize("deaf", ["", pytest.param("trap '' TERM INT HUP", marks=pytest.mark.slow)])
def test_they_end_with_a_server_that_is_killed(
    server: Server, garden: Garden, alice: Actor, tmp_path: Path, deaf: str
) -> None:
    site = Site(server, "pre-receive", tmp_path, before=deaf)
    ready(alice, garden)
    pushing = pushes(alice)
    wait_until(site.began, "the push is in its hook")
    leader = group(server)
    guards = of_server(server)
    server.kill()
    wait_until(lambda: not members(leader), "all of it is gone")
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in guards), "so is what ended it")
    assert pushing.end().status != 0
    server.start()
    site.go.touch()
    alice.push()


def test_a_guard_that_is_killed_is_replaced(server: Server, garden: Garden, alice: Actor, tmp_path: Path) -> None:
    site = Site(server, "pre-receive", tmp_path)
    ready(alice, garden)
    first = pushes(alice)
    wait_until(site.began, "the push is in its hook")
    leader = group(server)
    for pid in of_server(server):
        os.kill(pid, 9)
    alice.clone(garden)  # starts a git, and finds that the guard is gone
    assert "the guard of our gits is gone" in server.log.read_text()
    server.kill()
    wait_until(lambda: not members(leader), "all of it is gone")
    first.end()


def of_server(server: Server) -> list[int]:
    """The server's guards."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
            parent = path.with_name("stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if int(parent) == server.pid and any(word.endswith(b"guard.py") for word in words):
            found.append(int(path.parent.name))
    assert found
    return found


@pytest.mark.slow
def test_a_push_that_takes_too_long_is_ended(tmp_path: Path, keys: dict[str, Path]) -> None:
    server = begin(tmp_path, keys, settings="max-git-seconds = 1\n")
    try:
        alice = Actor("alice", keys["alice"], tmp_path / "alice", server)
        garden = plant(server)
        Site(server, "pre-receive", tmp_path)
        ready(alice, garden)
        garden.refuses("unavailable", alice, says=["git has taken more than 1 seconds", "with less at a time"])
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("hook", "settings", "says"),
    [
        ("post-receive", "max-git-seconds = 2\n", b"git has taken more than 2 seconds"),
        ("pre-receive", "stall-seconds = 2\n", b"no byte has moved for 2 seconds"),
    ],
)
def test_a_push_is_not_ended_for_what_takes_time_here(
    tmp_path: Path, keys: dict[str, Path], hook: str, settings: str, says: bytes
) -> None:
    """Decided it is answered, however long that takes; and while its hooks run, no byte has to move.

    A fetch that began later has used up its time when the push, which still runs, is told to go on.
    """
    server = begin(tmp_path, keys, settings=settings)
    try:
        alice = Actor("alice", keys["alice"], tmp_path / "alice", server)
        garden = plant(server)
        site = Site(server, hook, tmp_path)
        new = ready(alice, garden)
        pushing = pushes(alice)
        wait_until(site.began, "the push is in its hook")
        words = [*alice.ssh_words, "-p", str(server.port), "127.0.0.1", f"git-upload-pack {garden.repo}"]
        with subprocess.Popen(
            words, env=alice.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as fetch:
            assert fetch.stderr is not None
            assert says in fetch.stderr.read()
        assert members(group(server))
        site.go.touch()
        assert pushing.end().status == 0
        assert garden.head() == new
    finally:
        server.stop()
