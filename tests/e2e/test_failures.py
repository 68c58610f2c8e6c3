"""Whatever breaks, no ref moves that should not, and nothing is lost that was acknowledged."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shardd.git.ref_locks import MARK
from tests.e2e.harness import Actor, Garden, Result, Server

WAYS = ["ssh", "local path"]


@pytest.fixture(autouse=True)
def alice_has_an_event_to_push(garden: Garden, alice: Actor) -> None:
    alice.clone(garden)
    alice.acquire(garden)
    alice.event("one")
    alice.push()
    alice.event("two")


@pytest.fixture
def hooks(server: Server) -> Iterator[Path]:
    """The folder of the installed hooks; it is put in order afterwards."""
    [folder] = (server.root / "hooks").iterdir()
    spare = server.home / "spare-hooks"
    shutil.copytree(folder, spare)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
    spare.rename(folder)


def push(garden: Garden, who: Actor, way: str) -> Result:
    """A push of what is checked out, by ssh or by the path of the repo as a process of the server's owner."""
    if way == "ssh":
        return who.tries_to_push()
    return who.tries_to_push(str(garden.path), f"HEAD:{garden.ref}", env={"SHARDD_PRINCIPAL": who.name})


def stopped(garden: Garden, who: Actor, way: str) -> Result:
    """Fail unless the push is refused and no ref moves."""
    before = garden.refs()
    answer = push(garden, who, way)
    assert not answer.ok, answer
    assert garden.refs() == before
    assert "Traceback" not in answer.stderr
    return answer


@pytest.mark.parametrize("way", WAYS)
def test_the_hooks_are_gone(garden: Garden, alice: Actor, hooks: Path, way: str) -> None:
    shutil.rmtree(hooks)
    stopped(garden, alice, way)


@pytest.mark.parametrize("way", WAYS)
def test_the_hook_that_moves_refs_is_gone_or_does_not_run(garden: Garden, alice: Actor, hooks: Path, way: str) -> None:
    hook = hooks / "proc-receive"
    hook.chmod(0o644)
    stopped(garden, alice, way)
    hook.chmod(0o755)
    hook.write_text("#!/bin/sh\nexit 0\n")
    stopped(garden, alice, way)
    hook.write_text("#!/nonexistent/sh\n")
    stopped(garden, alice, way)
    hook.unlink()
    stopped(garden, alice, way)


@pytest.mark.parametrize("way", WAYS)
def test_without_the_first_hook_nothing_moves(garden: Garden, alice: Actor, hooks: Path, way: str) -> None:
    (hooks / "pre-receive").chmod(0o644)
    assert "pre-receive is missing or not executable" in stopped(garden, alice, way).stderr
    (hooks / "pre-receive").unlink()
    stopped(garden, alice, way)


@pytest.mark.parametrize("way", WAYS)
def test_a_first_hook_that_lets_everything_in_is_not_the_last_word(
    garden: Garden, alice: Actor, bob: Actor, hooks: Path, way: str
) -> None:
    bob.clone(garden)
    bob.event("bobs")
    (hooks / "pre-receive").write_text("#!/bin/sh\nexit 0\n")
    assert "(not-holder: alice holds the lease" in stopped(garden, bob, way).stderr
    assert push(garden, alice, way).ok


@pytest.mark.parametrize("way", WAYS)
def test_a_first_hook_that_fails_refuses(garden: Garden, alice: Actor, hooks: Path, way: str) -> None:
    (hooks / "pre-receive").write_text("#!/bin/sh\nkill -9 $$\n")
    stopped(garden, alice, way)


def test_the_interpreter_of_the_hooks_is_gone(garden: Garden, alice: Actor, hooks: Path) -> None:
    interpreter = hooks / "interpreter"
    interpreter.write_text("/nonexistent/python\n")
    assert "does not run" in stopped(garden, alice, "local path").stderr
    interpreter.write_text("")
    stopped(garden, alice, "local path")
    interpreter.unlink()
    assert "the hooks are not installed" in stopped(garden, alice, "local path").stderr
    (hooks / "pre-receive").write_text("#!/bin/sh\nexit 0\n")
    stopped(garden, alice, "local path")
    # The server decides by itself and needs none.
    assert push(garden, alice, "ssh").ok


@pytest.mark.parametrize("ends", ["7>&- 8<&-", "7>/dev/null 8</dev/null", "7</dev/null 8>/dev/null"])
def test_hooks_that_reach_no_server_refuse(garden: Garden, alice: Actor, hooks: Path, ends: str) -> None:
    script = alice.home / "receive-pack"
    script.write_text(f'#!/bin/sh\nSHARDD_RELAY=1 exec git-receive-pack "$@" {ends}\n')
    script.chmod(0o755)
    words = (f"--receive-pack={script}", str(garden.path), f"HEAD:{garden.ref}")
    before = garden.refs()
    answer = alice.tries_to_push(*words, env={"SHARDD_PRINCIPAL": "alice"})
    assert not answer.ok
    assert "the server does not answer" in answer.stderr
    (hooks / "pre-receive").write_text("#!/bin/sh\nexit 0\n")
    assert not alice.tries_to_push(*words, env={"SHARDD_PRINCIPAL": "alice"}).ok
    assert garden.refs() == before


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["leases", "index", "locks"])
def test_what_the_authority_keeps_is_damaged(garden: Garden, alice: Actor, way: str, name: str) -> None:
    kept = garden.path / "shardd" / name
    spare = alice.home / name
    kept.rename(spare)
    kept.write_bytes(b"no folder")
    answer = stopped(garden, alice, way)
    assert "unavailable: " in answer.stderr or "refused: internal error" in answer.stderr
    kept.unlink()
    spare.rename(kept)
    if name == "leases":
        of_the_space = kept / garden.space
        good = of_the_space.read_bytes()
        of_the_space.write_bytes(b"no leases")
        assert "corrupt: " in stopped(garden, alice, way).stderr
        of_the_space.write_bytes(good)
    assert push(garden, alice, way).ok


@pytest.mark.parametrize("way", WAYS)
def test_the_leases_are_lost(garden: Garden, alice: Actor, bob: Actor, way: str) -> None:
    (garden.path / "shardd" / "leases" / garden.space).unlink()
    assert "not-holder" in stopped(garden, alice, way).stderr
    # The journal remembers the epoch, and the next one goes on from it.
    assert bob.acquire(garden) == 2


@pytest.mark.parametrize("way", WAYS)
def test_the_head_is_damaged(garden: Garden, alice: Actor, way: str) -> None:
    ref = garden.path / garden.ref
    good = ref.read_text()
    for bad in ("", "nonsense\n", "12345678" * 5 + "\n"):
        ref.write_text(bad)
        answer = push(garden, alice, way)
        assert not answer.ok
        assert "Traceback" not in answer.stderr
        assert ref.read_text() == bad
    ref.write_text(good)
    assert push(garden, alice, way).ok


def test_access_that_does_not_read(garden: Garden, alice: Actor, bob: Actor, carol: Actor, server: Server) -> None:
    bob.clone(garden)
    bob.event("bobs")
    toml = server.root / "access.toml"
    good = toml.read_text()
    try:
        for bad in (f"{good}\nmallory = [\n", good.replace("append", "everything"), "", None):
            if bad is None:
                toml.unlink()
            elif bad:
                toml.write_text(bad)
            else:
                toml.write_bytes(b"\xff\xfe")
            # Without a server nobody knows who may do what.
            stopped(garden, alice, "local path")
            # The server goes on with what it last understood.
            bob.pull()
            assert "not-holder" in stopped(garden, bob, "ssh").stderr
            alice.push()
            alice.event("more")
    finally:
        toml.write_text(good)
    assert "the last good ones stay in force" in server.log.read_text()


@pytest.mark.parametrize("way", WAYS)
def test_a_lock_that_a_killed_git_left_behind(garden: Garden, alice: Actor, way: str) -> None:
    (garden.path / f"{garden.ref}.lock").touch(mode=0o666 & ~MARK)
    assert push(garden, alice, way).ok
    assert garden.head() == alice.head()


def test_the_right_is_looked_up_again_when_it_counts(garden: Garden, alice: Actor, carol: Actor) -> None:
    with garden.locked():
        pushing = alice.starts_to_push(garden)
        carol.ssh(f"role revoke alice append {garden.repo}")
        before = garden.refs()
    answer = pushing.end()
    assert not answer.ok
    assert "(not-permitted: alice needs the role" in answer.stderr
    assert garden.refs() == before


def test_two_pushes_at_once_one_wins(garden: Garden, alice: Actor) -> None:
    first = alice.cwd
    second = alice.clone(garden)
    alice.event("two/other")
    with garden.locked():
        one = alice.starts_to_push(garden)
        alice.cwd = first
        other = alice.starts_to_push(garden)
    answers = [one.end(), other.end()]
    assert sorted(answer.ok for answer in answers) == [False, True]
    [lost] = [answer for answer in answers if not answer.ok]
    assert "(non-fast-forward: " in lost.stderr
    assert "it moved while you pushed" in lost.stderr or "does not contain" in lost.stderr
    alice.cwd = second if answers[1].ok else first
    alice.pull()
    alice.push()
    assert sorted(garden.subjects()) == ["one", "two", "two/other"]


def test_the_server_is_killed_amid_a_push(garden: Garden, alice: Actor, server: Server) -> None:
    before = garden.refs()
    with garden.locked():
        pushing = alice.starts_to_push(garden)
        server.kill()
    assert not pushing.end().ok
    assert garden.refs() == before
    server.start()
    alice.push()
    assert garden.subjects() == ["one", "two"]


def test_the_client_is_killed_amid_a_push(garden: Garden, alice: Actor) -> None:
    with garden.locked():
        alice.starts_to_push(garden).kill()
    # It may land or not, as nobody was told; what comes after is told the truth.
    alice.event("three")
    deadline = time.monotonic() + 10
    while not alice.tries_to_push().ok:
        assert time.monotonic() < deadline
        alice.pull()
    assert garden.subjects() == ["one", "two", "three"]


def test_no_acknowledged_push_is_lost_to_kills(garden: Garden, alice: Actor, server: Server) -> None:
    acknowledged: list[str] = []
    done = threading.Event()

    def keep_pushing() -> None:
        number = 0
        while not done.is_set():
            number += 1
            oid = alice.event(f"event/{number}")
            if alice.tries_to_push("origin", f"{oid}:{garden.ref}").ok:
                acknowledged.append(oid)

    alice.push()
    pusher = threading.Thread(target=keep_pushing)
    pusher.start()
    try:
        for rounds in range(0, 6, 2):
            wanted = len(acknowledged) + 1
            deadline = time.monotonic() + 20
            while len(acknowledged) < wanted and time.monotonic() < deadline:
                time.sleep(0.003 * rounds)
            server.restart()
    finally:
        done.set()
        pusher.join()
    log = garden.git("rev-list", garden.ref).split()
    assert len(acknowledged) >= 3
    assert set(acknowledged) <= set(log)
    alice.git("fetch", "--quiet")
    assert alice.git("rev-parse", "origin/spaces/whynot") == log[0]
    assert alice.ssh_json(f"lease show {garden}")["epoch"] == 1
    alice.push()


def test_a_lease_outlives_the_server(garden: Garden, alice: Actor, bob: Actor, server: Server) -> None:
    server.restart()
    bob.denied("not-holder", f"lease acquire {garden}", says=["alice holds", "epoch 1"])
    server.stop()
    server.start()
    alice.push("-o", "epoch=1")


def test_a_server_that_is_away(garden: Garden, alice: Actor, server: Server) -> None:
    server.kill()
    before = garden.refs()
    assert not alice.tries_to_push().ok
    assert push(garden, alice, "local path").ok
    assert garden.refs() != before
    server.start()
    alice.git("fetch", "--quiet")
    assert alice.git("rev-parse", "origin/spaces/whynot") == alice.head()
