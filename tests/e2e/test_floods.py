"""Who asks for too much: while it goes on an innocent's command is served, and afterwards nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import paramiko
import pytest

from tests.e2e.conftest import begin
from tests.e2e.harness import DEADLINE, ZERO, Actor, Garden, Server, wait_until

SETTINGS = """
max-sessions = 12
max-sessions-per-principal = 6
max-connections-per-principal = 8
max-unauthenticated = 20
stall-seconds = 2
"""
ROOM = 50 * 1024
"""KiB that an attack may leave behind."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Path]) -> Iterator[Server]:
    server = begin(tmp_path_factory.mktemp("stage"), keys, settings=SETTINGS)
    yield server
    server.stop()
    server.fsck()


def resident(server: Server) -> int:
    """What the server holds now, in KiB."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.split("\n") if line.startswith("VmRSS")))


def children(server: Server) -> list[str]:
    """The gits that the server has started and that have not ended: all its processes but the guard."""
    found = []
    for task in Path(f"/proc/{server.pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += (task / "children").read_text().split()
    return [pid for pid in found if b"guard.py" not in command(pid)]


def command(pid: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def sockets(server: Server) -> int:
    found = 0
    for each in Path(f"/proc/{server.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(each.readlink()).startswith("socket:")
    return found


@contextlib.contextmanager
def transport(who: Actor) -> Iterator[paramiko.Transport]:
    """A connection that has logged in, on which anything may be sent."""
    one = paramiko.Transport(socket.create_connection(("127.0.0.1", who.server.port), timeout=DEADLINE))
    try:
        one.start_client(timeout=DEADLINE)
        one.auth_publickey("x", paramiko.Ed25519Key.from_private_key_file(str(who.key)))
        yield one
    finally:
        one.close()
        one.join(DEADLINE)


def answer(one: paramiko.Transport, command: str) -> tuple[int, str]:
    """Exit status and all that was said."""
    channel = one.open_session(timeout=DEADLINE)
    channel.settimeout(DEADLINE)
    channel.set_combine_stderr(True)
    channel.exec_command(command)
    said = b""
    while some := channel.recv(65_536):
        said += some
    return channel.recv_exit_status(), said.decode()


LONG = [
    ("log a/b" + " --json" * 18_000, "at most 8192 characters"),
    ("log " + "x" * 127_000, "at most 8192 characters"),
    ("log a/b" + " -a" * 2000, "at most 100 words"),
    ("log a/b --json", "mallory has no role here"),
]


def test_words_are_counted_and_rights_asked_before_anything_is_parsed(
    server: Server, alice: Actor, mallory: Actor
) -> None:
    """First in this module: nobody has a role yet."""
    before = resident(server)

    async def flood() -> list[tuple[str, str]]:
        options: dict[str, Any] = {"client_keys": [str(mallory.key)], "known_hosts": None, "config": None}
        async with asyncssh.connect("127.0.0.1", server.port, **options) as conn:
            found = []
            for _ in range(16):
                answers = await asyncio.gather(*(conn.run(command) for command, _ in LONG))
                found += [
                    (f"{done.stdout!s}{done.stderr!s}", says) for done, (_, says) in zip(answers, LONG, strict=True)
                ]
            assert alice.try_ssh("whoami").ok
            return found

    for said, says in asyncio.run(asyncio.wait_for(flood(), DEADLINE)):
        assert says in said
    assert "mallory" in mallory.ssh("whoami")
    assert resident(server) - before < ROOM


def test_an_option_is_given_once(garden: Garden, alice: Actor) -> None:
    alice.denied("usage", f"log {garden} --after 1 --after=2", says=["--after is given twice"])
    alice.denied("usage", "log " + "x " * 99 + "x", says=["at most 100 words"])
    body = '{"text": "' + "x" * 7000 + '"}'
    assert alice.try_ssh(f"append {garden} note --force --take-lease --body '{body}'").ok


def test_nothing_is_compressed(server: Server, mallory: Actor) -> None:
    refused = mallory.try_ssh("whoami", "-oCompression=yes", "-v")
    assert refused.ok
    assert "compression: none" in refused.stderr or "compression none" in refused.stderr


def test_variables_are_not_kept_and_requests_are_counted(server: Server, alice: Actor, mallory: Actor) -> None:
    before = resident(server)
    with transport(mallory) as one:
        channels = [one.open_session(timeout=DEADLINE) for _ in range(40)]
        for channel in channels:
            for n in range(100):
                channel.set_environment_variable(f"V{n}", "x" * 30_000)
        assert "mallory" in answer(one, "whoami")[1]
        assert resident(server) - before < ROOM
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            for _ in range(200):
                channels[0].set_environment_variable("GIT_PROTOCOL", "version=2")
        wait_until(lambda: not one.is_active(), "who never stops asking is hung up on")
    assert alice.try_ssh("whoami").ok


def test_signals_and_windows_are_not_queued(server: Server, alice: Actor, garden: Garden) -> None:
    before = resident(server)
    with transport(alice) as one:
        channel = one.open_session(timeout=DEADLINE)
        channel.exec_command(f"append {garden} --lines --take-lease")  # which waits for its input, however long
        for _ in range(20_000):
            message = paramiko.Message()
            message.add_byte(bytes([98]))
            message.add_int(channel.remote_chanid)
            message.add_string("signal")
            message.add_boolean(False)
            message.add_string("USR1" * 100)
            one._send_user_message(message)  # type: ignore[attr-defined]
        assert "alice" in answer(one, "whoami")[1]
        assert resident(server) - before < ROOM // 5


@pytest.mark.slow
def test_each_has_a_share_and_an_idle_git_is_ended(
    server: Server, garden: Garden, alice: Actor, mallory: Actor
) -> None:
    with transport(mallory) as one, transport(mallory) as other:
        waiting = [(one, other)[n % 2].open_session(timeout=DEADLINE) for n in range(6)]
        for channel in waiting:
            channel.exec_command(f"git-upload-pack {garden.repo}")
            assert channel.recv(4)
        status, said = answer(other, "whoami")
        assert (status, "too many commands of mallory run here" in said) == (3, True)
        assert alice.try_ssh("whoami").ok
        assert len(children(server)) == 6
        wait_until(lambda: not children(server), "a git that nobody feeds is ended")
        assert waiting[0].recv_exit_status() == 128
        assert b"no byte has moved for 2 seconds" in waiting[0].recv_stderr(65_536)
        assert "mallory" in answer(other, "whoami")[1]


@pytest.mark.slow
def test_a_git_does_not_outlive_its_client(server: Server, garden: Garden, mallory: Actor, alice: Actor) -> None:
    alice.clone(garden)
    alice.acquire(garden)
    alice.event("first")
    alice.push()
    head = garden.head().encode()
    for service, first in (("upload-pack", b""), ("receive-pack", b""), ("upload-pack", b"0032want " + head + b"\n")):
        with transport(mallory) as one:
            channel = one.open_session(timeout=DEADLINE)
            channel.exec_command(f"git-{service} {garden.repo}")
            assert channel.recv(4)
            channel.sendall(first)
            (child,) = children(server)
            os.kill(int(child), signal.SIGSTOP)  # one that is busy, and hears nothing of a closed pipe
        wait_until(lambda: not children(server), f"{service} is gone")


@pytest.mark.slow
def test_an_answer_that_nobody_reads_keeps_no_place(
    server: Server, garden: Garden, alice: Actor, mallory: Actor
) -> None:
    line = b'{"type":"note","data":{"text":"' + b"x" * 2000 + b'"}}\n'
    alice.ssh(f"append {garden} --lines --atomic --take-lease", input=line * 200)
    with transport(mallory) as one:
        kept = [one.open_session(window_size=32_768, timeout=DEADLINE) for _ in range(6)]
        for channel in kept:
            channel.exec_command(f"log {garden} --json")
        wait_until(lambda: all(channel.recv_ready() for channel in kept), "each has begun")
        wait_until(lambda: answer(one, "whoami")[0] == 0, "those that stand still are ended")
        assert alice.try_ssh("whoami").ok


def test_a_channel_that_is_never_closed_keeps_no_place(server: Server, alice: Actor, mallory: Actor) -> None:
    with transport(mallory) as one:
        handlers = one._channel_handler_table  # type: ignore[attr-defined]
        one._channel_handler_table = handlers | {97: lambda channel, message: None}  # type: ignore[attr-defined]
        kept = []  # one that is forgotten is closed by paramiko
        for _ in range(20):
            kept.append(one.open_session(timeout=DEADLINE))
            kept[-1].exec_command("whoami")
            assert kept[-1].recv_exit_status() == 0
        assert alice.try_ssh("whoami").ok


def opened(one: paramiko.Transport) -> paramiko.Channel:
    """A channel, as soon as the server is done with those that were closed."""
    found: list[paramiko.Channel] = []

    def tried() -> bool:
        with contextlib.suppress(paramiko.ChannelException):
            found.append(one.open_session(timeout=DEADLINE))
        return bool(found)

    wait_until(tried, "there is room for a channel")
    return found[0]


def test_channels_of_one_connection_are_counted(server: Server, alice: Actor, mallory: Actor) -> None:
    before = resident(server)
    with transport(mallory) as one:
        for _ in range(3):
            channels = [opened(one) for _ in range(64)]
            with pytest.raises(paramiko.ChannelException, match="Resource shortage"):
                one.open_session(timeout=DEADLINE)
            for channel in channels:
                channel.close()
        assert alice.try_ssh("whoami").ok
        channel = opened(one)
        with contextlib.suppress(OSError, EOFError):
            channel.sendall(b"x" * 100_000)
        wait_until(lambda: not one.is_active(), "data that nobody asked for ends it")
    assert resident(server) - before < ROOM


def test_who_has_not_logged_in_keeps_nobody_out(server: Server, alice: Actor) -> None:
    before = sockets(server)
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE))
            for _ in range(60)
        ]
        for one in silent:
            assert one.recv(8) == b"SSH-2.0-"
        assert alice.try_ssh("whoami").ok
        wait_until(lambda: sockets(server) - before <= 20, "the oldest have gone")
        rest = b"".join(iter(lambda: silent[0].recv(65_536), b""))
        assert b"too many connections that have not logged in" in rest


def test_connections_of_one_principal_are_counted(server: Server, alice: Actor, mallory: Actor) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(transport(mallory))
        refused = mallory.try_ssh("whoami")
        assert (refused.status, "too many connections of mallory; try again" in refused.stderr) == (255, True)
        assert alice.try_ssh("whoami").ok
    wait_until(lambda: mallory.try_ssh("whoami").ok, "there is room again")


@pytest.mark.parametrize("count", [101, 4000, 100_000])
def test_push_options_are_counted(garden: Garden, alice: Actor, count: int) -> None:
    """By hand: no command line holds so many."""
    line = f"{ZERO} {'1' * 40} {garden.ref}".encode() + b"\0report-status push-options"
    options = b"0005x" * count
    said = alice.try_ssh(
        f"git-receive-pack {garden.repo}", input=b"%04x" % (len(line) + 4) + line + b"0000" + options + b"0000PACK"
    )
    assert said.status == 128
    assert "shardd: too-large: a push has at most 100 options" in said.stderr
    assert str(garden.server.root) not in said.stderr


def test_refs_of_a_push_are_counted(garden: Garden, alice: Actor) -> None:
    updates = [(ZERO, "1" * 40, f"refs/heads/wiki/{n}") for n in range(10_001)]
    said = alice.push_by_hand(garden, *updates)
    assert said.status == 128
    assert "shardd: too-large: a push has at most 10000 refs" in said.stderr


@pytest.mark.parametrize("command", ["append {} --lines --atomic --take-lease", "import {} - --take-lease"])
def test_of_what_its_sender_gives_up_nothing_is_taken(garden: Garden, carol: Actor, command: str) -> None:
    """Half of it, the end of the stream, and the channel closed: what a client does that is interrupted."""
    carol.ssh(f"role grant carol import {garden.repo}")
    if command.startswith("append"):
        line = '{"type":"part"}'
    else:
        line = '{"seq":1,"timestamp":"2026-06-15T10:00:00Z","actor":"carol","type":"part"}'
    given_up = 0
    for _ in range(10):  # connections: one ends where commands given up still run, and the next is one too many
        with contextlib.suppress(paramiko.SSHException, OSError), transport(carol) as one:
            while given_up < 10:
                channel = one.open_session(timeout=DEADLINE)
                channel.exec_command(command.format(garden))
                channel.sendall(f"{line}\n".encode())
                channel.close()
                given_up += 1
    assert given_up == 10
    garden.server.stop()  # which waits for all that runs
    garden.server.start()
    assert garden.subjects() == []
    assert "part" not in carol.ssh(f"log {garden}")
    carol.try_ssh(command.format(garden), input=f"{line}\n".encode()).must()
    assert garden.subjects() == ["part"]
