"""What a server bears: too many, too slow, too long, garbage; clients that leave early; and its own end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import asyncssh
import pytest

from tests.e2e.conftest import begin, plant
from tests.e2e.harness import DEADLINE, Actor, Garden, Server, run, wait_until

SETTINGS = """
login-grace-seconds = 2
idle-seconds = 1
drain-seconds = 20
max-connections = 260
max-connections-per-address = 210
max-sessions = 30
max-sessions-per-connection = 20
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Path]) -> Iterator[Server]:
    server = begin(tmp_path_factory.mktemp("stage"), keys, settings=SETTINGS)
    yield server
    server.stop()
    server.fsck()


@contextlib.contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as one:
        yield one


@contextlib.contextmanager
def process(words: list[str], who: Actor) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive its block."""
    with subprocess.Popen(words, env=who.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        try:
            yield running
        finally:
            running.kill()


T = TypeVar("T")


async def dial(
    who: Actor,
    use: Callable[[asyncssh.SSHClientConnection], Awaitable[T]],
    client: Callable[[], asyncssh.SSHClient] = asyncssh.SSHClient,
) -> T:
    """What `use` makes of a connection, which several channels may share."""
    conn = await asyncssh.connect(
        "127.0.0.1",
        who.server.port,
        client_keys=[str(who.key)],
        known_hosts=None,
        config=None,
        login_timeout=DEADLINE,
        client_factory=client,
    )
    try:
        return await asyncio.wait_for(use(conn), DEADLINE)
    finally:
        conn.close()
        await conn.wait_closed()


def connected_as(who: Actor, use: Callable[[asyncssh.SSHClientConnection], Awaitable[T]]) -> T:
    return asyncio.run(dial(who, use))


def rest(one: socket.socket) -> bytes:
    """All that comes until the other side hangs up."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := one.recv(65536):
            found += data
    return found


GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    b"\x00" * 100_000,
    b"SSH-1.5-old\r\n",
    b"SSH-2.0-x\r\n" + b"\xff" * 64,
    b"SSH-2.0-" + b"x" * 10_000 + b"\r\n",
    b"SSH-2.0-\xff\xfe\r\n",
    b"\n" * 10_000,
]


def test_garbage_instead_of_a_version(server: Server, alice: Actor) -> None:
    for garbage in GARBAGE:
        with connected(server) as one:
            with contextlib.suppress(OSError):
                one.sendall(garbage)
            assert rest(one).startswith(b"SSH-2.0-")
    assert alice.try_ssh("whoami").ok
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
def test_who_says_nothing_is_hung_up_on(server: Server, alice: Actor) -> None:
    """Nothing at all, half a version, a version and no more: the login grace ends each."""
    with connected(server) as silent, connected(server) as half, connected(server) as stuck:
        half.sendall(b"SSH-2.0-ha")
        stuck.sendall(b"SSH-2.0-stuck\r\n")
        assert alice.try_ssh("whoami").ok
        for one in (silent, half, stuck):
            assert rest(one).startswith(b"SSH-2.0-")


def test_two_hundred_at_once_and_one_more(server: Server, alice: Actor) -> None:
    with contextlib.ExitStack() as stack:
        many = [stack.enter_context(connected(server)) for _ in range(210)]
        assert all(one.recv(8) == b"SSH-2.0-" for one in many)
        assert alice.try_ssh("whoami").ok


def test_many_that_log_in_at_once(server: Server, alice: Actor) -> None:
    """All log in and ask at once. Nobody is lost: each is answered, or told that too many commands run."""

    async def ask(conn: asyncssh.SSHClientConnection) -> tuple[int | None, str]:
        done = await conn.run("whoami --json")
        return done.exit_status, f"{done.stdout!s}{done.stderr!s}"

    async def all_of_them() -> list[tuple[int | None, str] | BaseException]:
        return list(await asyncio.gather(*(dial(alice, ask) for _ in range(40)), return_exceptions=True))

    answers = [each for each in asyncio.run(all_of_them()) if not isinstance(each, BaseException)]
    good = [said for status, said in answers if status == 0 and '"alice"' in said]
    busy = [said for status, said in answers if status == 3 and "too many commands run here" in said]
    assert len(good) + len(busy) == len(answers)
    assert good


def test_a_huge_command(server: Server, alice: Actor) -> None:
    refused = alice.try_ssh("whoami " + "x" * 8000)
    assert (refused.status, "unrecognized arguments" in refused.stderr) == (2, True)

    async def ask(conn: asyncssh.SSHClientConnection) -> str:
        return str((await conn.run("whoami '" + "x" * size)).stderr)

    size = 200_000
    assert "a command has at most 8192 characters" in connected_as(alice, ask)
    size = 20_000_000  # more than a packet may hold: the connection ends
    with pytest.raises((asyncssh.Error, ConnectionError)):
        connected_as(alice, ask)
    assert alice.try_ssh("whoami").ok


@pytest.mark.parametrize(
    "command", ["''", "' '", "'", "whoami \x00", "\x1b[31m", "whoami \xff", "git", "git upload-pack"]
)
def test_odd_commands(garden: Garden, alice: Actor, command: str) -> None:
    async def ask(conn: asyncssh.SSHClientConnection) -> str:
        process = await conn.create_process(command)
        done = await process.wait()
        assert done.exit_status in (2, 128)
        return str(done.stderr)

    said = connected_as(alice, ask)
    assert said.startswith("shardd: ")
    assert "\x1b" not in said
    assert "internal error" not in said


def test_a_command_that_is_not_utf8(server: Server, alice: Actor) -> None:
    refused = alice.try_ssh("whoami \udcff\udcfe")
    assert not refused.ok
    assert "internal error" not in refused.stderr
    assert alice.try_ssh("whoami").ok


@pytest.mark.slow
def test_an_idle_connection_is_closed(server: Server, alice: Actor, garden: Garden) -> None:
    async def idle(conn: asyncssh.SSHClientConnection) -> None:
        await asyncio.wait_for(conn.wait_closed(), DEADLINE)

    async def busy(conn: asyncssh.SSHClientConnection) -> None:
        """A session that is quiet keeps a connection open for longer than one that has begun later and is idle."""
        quiet = await conn.create_process(f"git-upload-pack {garden.repo}.git")
        await quiet.stdout.readexactly(4)
        await dial(alice, idle)
        assert not conn.is_closed()
        quiet.stdin.write("0000")
        assert (await quiet.wait()).exit_status == 0
        await idle(conn)

    connected_as(alice, busy)


def test_sessions_of_one_connection_are_limited(server: Server, alice: Actor, garden: Garden) -> None:
    async def ask(conn: asyncssh.SSHClientConnection) -> list[int | None]:
        waiting = [await conn.create_process(f"git-upload-pack {garden.repo}.git") for _ in range(20)]
        for each in waiting:
            await each.stdout.readexactly(4)
        refused = await conn.run("whoami")
        assert "too many commands run on this connection" in str(refused.stderr)
        for each in waiting:
            each.stdin.write("0000")
        return [refused.exit_status, *[(await each.wait()).exit_status for each in waiting]]

    assert connected_as(alice, ask) == [3] + 20 * [0]


def test_who_leaves_early_hurts_nobody(server: Server, alice: Actor, garden: Garden) -> None:
    """On one connection: channels closed in the middle of a fetch, a push and a command, while another goes on."""
    alice.clone(garden)
    alice.acquire(garden)
    for i in range(60):
        alice.event(f"filler-{i}", {"text": os.urandom(1500).hex()})
    alice.push()
    head = garden.head()

    async def ask(conn: asyncssh.SSHClientConnection) -> None:
        steady = await conn.create_process(f"git-upload-pack {garden.repo}.git", encoding=None)
        await steady.stdout.readexactly(4)
        want = f"want {head}\n"
        for _ in range(5):
            fetch = await conn.create_process(f"git-upload-pack {garden.repo}.git", encoding=None)
            await fetch.stdout.readexactly(4)
            fetch.stdin.write(b"%04x" % (len(want) + 4) + want.encode() + b"00000009done\n")
            await fetch.stdout.readexactly(2000)
            fetch.channel.abort()
            push = await conn.create_process(f"git-receive-pack {garden.repo}.git", encoding=None)
            await push.stdout.readexactly(4)
            push.channel.abort()
            log = await conn.create_process(f"log {garden}")
            log.channel.close()
        steady.stdin.write(b"0000")
        assert (await steady.wait()).exit_status == 0
        assert '"alice"' in str((await conn.run("whoami --json")).stdout)

    connected_as(alice, ask)
    alice.event("after")
    alice.push()
    assert "a session failed" not in server.log.read_text()


def test_a_key_that_is_removed_while_its_session_waits(
    server: Server, garden: Garden, bob: Actor, alice: Actor
) -> None:
    """bob stands in line for the lease; when his key goes, so does his place, and the lease does not come to him."""
    alice.acquire(garden)
    keys = server.root / "keys" / "bob.pub"
    kept = keys.read_bytes()
    words = [*bob.ssh_words, "-p", str(server.port), "127.0.0.1", f"lease acquire {garden} --wait 60"]
    with process(words, bob) as waiting:
        try:
            wait_until(lambda: alice.ssh_json(f"lease show {garden}")["waiting"] == ["bob"], "bob waits")
            keys.unlink()
            said, complaint = waiting.communicate(timeout=DEADLINE)
        finally:
            keys.write_bytes(kept)
    assert (waiting.returncode, said) == (1, b"")
    assert b"no longer registered" in complaint
    assert alice.ssh_json(f"lease show {garden}")["holder"] == "alice"


# What follows ends the server, and comes last.


@pytest.fixture
def own_server(keys: dict[str, Path], tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    """Begins a server with these settings, that ends with the test."""
    with contextlib.ExitStack() as stack:

        def make(settings: str) -> Server:
            server = begin(tmp_path, keys, settings=settings)
            stack.callback(server.stop)
            return server

        yield make


async def until_given_up(who: Actor) -> None:
    """Log in, and answer no keep-alive, until the server hangs up."""

    class Deaf(asyncssh.SSHClient):
        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            setattr(conn, "_process_keepalive_at_openssh_dot_com_global_request", lambda packet: None)  # noqa: B010

    async def deaf(conn: asyncssh.SSHClientConnection) -> None:
        await conn.wait_closed()

    await dial(who, deaf, Deaf)


@pytest.mark.slow
def test_a_client_that_answers_no_more_is_given_up(
    own_server: Callable[[str], Server], keys: dict[str, Path], tmp_path: Path
) -> None:
    """A stopped ssh stands in line for a lease. It leaves keep-alives unanswered, and loses its place."""
    server = own_server("keepalive-seconds = 1\nkeepalive-count = 1\n")
    alice = Actor("alice", keys["alice"], tmp_path / "alice", server)
    bob = Actor("bob", keys["bob"], tmp_path / "bob", server)
    garden = plant(server)
    alice.acquire(garden)
    words = [*bob.ssh_words, "-p", str(server.port), "127.0.0.1", f"lease acquire {garden} --wait 600"]
    with process(words, bob) as waiting:
        wait_until(lambda: alice.ssh_json(f"lease show {garden}")["waiting"] == ["bob"], "bob waits")
        # Another that answers nothing, and came later, is given up before: by then one that answers has stayed for
        # longer than the silence that is borne.
        asyncio.run(until_given_up(alice))
        assert alice.ssh_json(f"lease show {garden}")["waiting"] == ["bob"]
        waiting.send_signal(signal.SIGSTOP)
        wait_until(lambda: alice.ssh_json(f"lease show {garden}")["waiting"] == [], "bob is given up")


def slow_hook(server: Server, began: Path, go: Path) -> None:
    """A site's own hook that holds a push up until it is told to go."""
    folder = server.root / "site-hooks"
    folder.mkdir(exist_ok=True)
    hook = folder / "pre-receive"
    hook.write_text(f"#!/bin/sh\n: >{began}\nwhile [ ! -e {go} ]; do sleep 0.05; done\n")
    hook.chmod(0o755)


def test_a_running_push_is_let_finish(
    own_server: Callable[[str], Server], keys: dict[str, Path], tmp_path: Path
) -> None:
    server = own_server("drain-seconds = 30\n")
    alice = Actor("alice", keys["alice"], tmp_path / "alice", server)
    bob = Actor("bob", keys["bob"], tmp_path / "bob", server)
    garden = plant(server)
    alice.clone(garden)
    alice.acquire(garden)
    alice.event("in.time")
    slow_hook(server, tmp_path / "began", tmp_path / "go")
    control = ("-S", str(tmp_path / "control"))
    master = [*bob.ssh_words, *control, "-M", "-N", "-f", "-p", str(server.port), "127.0.0.1"]
    run(master, cwd=tmp_path, env=bob.env()).must()
    waiting = [*bob.ssh_words, "-p", str(server.port), "127.0.0.1", f"lease acquire {garden} --wait 600"]
    with process(waiting, bob) as in_line:
        results = []
        pushing = threading.Thread(target=lambda: results.append(alice.tries_to_push()))
        pushing.start()
        wait_until((tmp_path / "began").exists, "the push is in its hook")
        wait_until(lambda: "bob" in str(holder(server, garden)["waiting"]), "bob waits for the lease")
        os.kill(server.pid, signal.SIGTERM)
        wait_until(lambda: "leaving" in server.log.read_text(), "the server leaves")
        refused = bob.try_ssh("whoami")
        assert refused.status == 255
        assert "Connection refused" in refused.stderr
        # Who only waits is sent away at once; an open connection begins nothing new.
        assert in_line.wait(DEADLINE) == 1
        assert not bob.try_ssh("whoami", *control).ok
        assert pushing.is_alive()
        (tmp_path / "go").touch()
        pushing.join(DEADLINE)
    assert results[0].ok, results[0]
    server.stop()
    assert "hang" not in server.log.read_text()
    assert garden.subjects() == ["in.time"]
    assert "cutting off" not in server.log.read_text()


def holder(server: Server, garden: Garden) -> dict[str, object]:
    found = json.loads(server.host("lease", "show", str(garden), "--json").must().stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.slow
def test_a_push_that_takes_too_long_is_cut_off(
    own_server: Callable[[str], Server], keys: dict[str, Path], tmp_path: Path
) -> None:
    server = own_server("drain-seconds = 1\n")
    alice = Actor("alice", keys["alice"], tmp_path / "alice", server)
    garden = plant(server)
    alice.clone(garden)
    alice.acquire(garden)
    alice.event("too.late")
    slow_hook(server, tmp_path / "began", tmp_path / "never")
    results = []
    pushing = threading.Thread(target=lambda: results.append(alice.tries_to_push()))
    pushing.start()
    wait_until((tmp_path / "began").exists, "the push is in its hook")
    server.stop()
    pushing.join(DEADLINE)
    assert not results[0].ok
    assert garden.subjects() == []
    assert "cutting off 1 sessions" in server.log.read_text()
    assert "hang" not in server.log.read_text()
    (server.root / "site-hooks" / "pre-receive").unlink()
    server.start()
    alice.push()
    assert garden.subjects() == ["too.late"]
