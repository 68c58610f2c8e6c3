"""Access and settings of a running server: a change is in force at once, and a slip of the pen breaks nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import begin
from tests.e2e.harness import Actor, Garden, Server, run_shardd, wait_until
from tests.e2e.test_local_path import map_me_to

SLIP = "max-push-events = \n"


@pytest.fixture
def server(tmp_path: Path, keys: dict[str, Path]) -> Iterator[Server]:
    """A server for each test, whose settings are the test's to spoil."""
    server = begin(tmp_path, keys)
    yield server
    server.stop()
    server.fsck()


@pytest.fixture
def slipped(server: Server, garden: Garden, alice: Actor) -> None:
    """Five events a push were allowed, and that was seen; then somebody's hand slipped. alice has six to push."""
    alice.clone(garden)
    alice.acquire(garden)
    for number in range(1, 7):
        alice.event(f"event/{number}")
    server.settings("max-push-events = 5\n")
    garden.refuses("too-large", alice, says=["at most 5 events"])
    server.settings(SLIP)


def test_a_change_is_in_force_at_once(server: Server, slipped: None, garden: Garden, alice: Actor) -> None:
    server.settings("max-push-events = 6\n")
    alice.push()
    assert len(garden.subjects()) == 6


def test_pushes_and_fetches_go_on(server: Server, slipped: None, garden: Garden, alice: Actor, bob: Actor) -> None:
    garden.refuses("too-large", alice, says=["at most 5 events"])
    alice.push("origin", "HEAD~1:spaces/whynot")
    bob.clone(garden)
    assert len(bob.log()) == 5
    assert "the settings do not read, the last good ones stay in force" in server.log.read_text()
    assert "config.toml:1" in server.log.read_text()


def test_commands_go_on(server: Server, slipped: None, garden: Garden, alice: Actor) -> None:
    lines = b'{"type": "note"}\n' * 6
    refused = alice.try_ssh(f"append {garden} --lines --atomic", input=lines)
    assert "more events than one push may hold" in refused.stderr
    assert alice.try_ssh(f"append {garden} --lines --atomic", input=lines[:-1].rpartition(b"{")[0]).ok
    assert garden.subjects() == ["note"] * 5


def test_the_host_goes_on_and_is_told(server: Server, slipped: None, garden: Garden) -> None:
    """Another process, which was not there when the settings were good."""
    listed = server.host("space", "list")
    assert str(garden) in listed.must().stdout
    assert "the last good ones stay in force" in listed.stderr
    assert f"{server.root}/config.toml:1" in listed.stderr
    assert "config.toml:1" in server.host("doctor").stdout


def test_a_hook_without_the_server_goes_on(server: Server, slipped: None, garden: Garden, alice: Actor) -> None:
    alice.git("remote", "set-url", "origin", str(garden.path))
    map_me_to(garden, "alice")
    refused = garden.refuses("too-large", alice, says=["at most 5 events"])
    assert "config.toml" not in refused.stderr, "who pushes is not who mends"
    alice.push("origin", "HEAD~1:spaces/whynot")


def test_the_forced_command_goes_on(server: Server, slipped: None, garden: Garden) -> None:
    for asked in ("whoami", f"git-upload-pack '{garden.repo}.git'"):
        words = ("--dir", str(server.root), "shell", "alice")
        said = run_shardd(server.home, *words, input=b"0000", env={"SSH_ORIGINAL_COMMAND": asked}).must()
        assert "config.toml" not in said.stderr


def test_a_start_is_refused_where_the_operator_can_mend_it(server: Server, slipped: None) -> None:
    refused = server.host("serve", "--listen", "127.0.0.1:0")
    assert refused.status == 2
    assert f"{server.root}/config.toml:1" in refused.stderr


def hang_up(server: Server) -> str:
    """Send SIGHUP; what the log says of it."""
    before = server.log.read_text()
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: "SIGHUP: " in server.log.read_text()[len(before) :], "the server reloads")
    return server.log.read_text()[len(before) :]


def test_sighup_reloads_both(server: Server, garden: Garden, alice: Actor) -> None:
    """Also what no look at a file's date would tell."""
    alice.acquire(garden)
    path = server.root / "access.toml"
    before = path.stat()
    with path.open("r+b") as file:
        text = file.read()
        file.seek(0)
        file.write(text.replace(b"append ", b"import "))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    alice.ssh(f"lease renew {garden}")
    said = hang_up(server)
    assert "access files reloaded" in said
    assert "settings reloaded" in said
    alice.denied("not-permitted", f"lease renew {garden}")


def test_sighup_says_what_does_not_read(server: Server, slipped: None, garden: Garden, alice: Actor) -> None:
    said = hang_up(server)
    assert f"SIGHUP: not reloaded, the last good stays in force: {server.root}/config.toml:1" in said
    garden.refuses("too-large", alice, says=["at most 5 events"])
