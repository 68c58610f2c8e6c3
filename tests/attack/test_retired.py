"""A name is retired while something runs that it was still good for: whatever comes first, nothing is left to it.

Nobody here waits for luck: a process stands still at a named point while the other does its part.
"""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from shardd.authority import move_record
from shardd.authority.authorities import Authorities
from shardd.authority.facts import Pusher
from shardd.authority.moved import patiently
from shardd.authority.receive import Receiver
from shardd.commands.caller import Context
from shardd.commands.leases import Acquire
from shardd.commands.principals import Retire
from shardd.core.hook_protocol import FLUSH, packet
from shardd.core.lease import Acquire as Acquiring
from shardd.core.names import Address
from shardd.core.roles import FileAccess, Grant
from shardd.errors import Rejected, Unavailable
from shardd.files.crash_points import Point
from shardd.files.server_dir import ServerDir
from shardd.files.space_locks import locked
from shardd.logs.git_log import GitLog
from tests.attack.children import Child

WHYNOT = Address("garden", "whynot")
Say: TypeAlias = Callable[[object], None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A server's directory, without a server. alice and bob may append; alice holds the lease of `other`."""
    server = ServerDir.create(tmp_path / "server")
    for name in ("alice", "bob"):
        server.access.grant(Grant(name, "append", "garden"))
    authorities = Authorities.open(server)
    authorities.create("garden")
    with authorities.repo("garden", FileAccess) as authority:
        authority.create("whynot")
        authority.create("other")
        authority.change("other", Acquiring("alice"))
    return server.root


def context(root: Path, principal: str | None) -> Context:
    """As another process has it."""
    authorities = Authorities.open(ServerDir(root))
    rights = authorities.operator if principal is None else authorities.granted
    return Context(authorities, principal, rights, opened=lambda file: io.BytesIO())


def trying(act: Callable[[], object], done: str) -> Callable[[Say], None]:
    """Says `done`, or the code of the refusal."""

    def job(say: Say) -> None:
        try:
            act()
        except Rejected as error:
            say(error.code)
        else:
            say(done)

    return job


def acquire(root: Path) -> Callable[[Say], None]:
    return trying(lambda: patiently(Acquire(WHYNOT, 60_000, 0, False).steps(context(root, "alice"))), "acquired")


def append(root: Path) -> Callable[[Say], None]:
    log = GitLog(root / "repos" / "garden.git", principal="alice")
    return trying(lambda: log.append("other", "note"), "appended")


def push_notes(root: Path) -> Callable[[Say], None]:
    """What alice's hook does with a push of notes."""
    authorities = Authorities.open(ServerDir(root))
    path = authorities.server.repo_path("garden")
    words = ["git", "-C", str(path), "-c", "user.name=alice", "-c", "user.email=alice@example.org", "commit-tree"]
    tree = subprocess.run(
        ["git", "-C", str(path), "mktree"], input=b"", capture_output=True, check=True
    ).stdout.decode().strip()  # fmt: skip
    made = subprocess.run([*words, tree, "-m", "notes"], capture_output=True, check=True)
    line = f"{'0' * 40} {made.stdout.decode().strip()} refs/notes/alice"

    def job(say: Say) -> None:
        receiver = Receiver(path, "garden", lambda: (Pusher("alice"), authorities.granted()))
        answer = io.BytesIO()
        said = packet("version=1\0push-options atomic") + FLUSH + packet(line) + FLUSH + FLUSH
        receiver.proc_receive(io.BytesIO(said), answer)
        say("pushed" if b"ok refs/notes/alice" in answer.getvalue() else answer.getvalue().decode())

    return job


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move_record, "locked", partial(locked, patience=0.1))


def holders(root: Path) -> dict[str, str | None]:
    with Authorities.open(ServerDir(root)).repo("garden", FileAccess) as authority:
        leases = {space: authority.standing(space).tenancy.lease for space in ("whynot", "other")}
    return {space: lease.holder if lease else None for space, lease in leases.items()}


JOBS = {"a lease": (acquire, "acquired"), "an append": (append, "appended"), "a push of notes": (push_notes, "pushed")}


@pytest.mark.parametrize("what", JOBS)
def test_what_has_the_lock_and_no_right_yet_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    job, _ = JOBS[what]
    child = Child(job(root), stop_at=Point.AFTER_LOCK)
    child.stops()
    with monkeypatch.context() as patched:
        impatient(patched)
        with pytest.raises(Unavailable, match="stays taken"):
            Retire("alice", yes=True).run(context(root, None))
    child.goes_on()
    (said,) = child.ends().said
    assert "not-permitted" in str(said)
    Retire("alice", yes=True).run(context(root, None))
    assert holders(root) == {"whynot": None, "other": None}


@pytest.mark.parametrize("what", JOBS)
def test_what_was_granted_before_is_done_before_the_retirement_is(
    root: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    job, done = JOBS[what]
    child = Child(job(root), stop_at=Point.AFTER_DECIDE)
    child.stops()
    with monkeypatch.context() as patched:
        impatient(patched)
        with pytest.raises(Unavailable, match="stays taken"):
            Retire("alice", yes=True).run(context(root, None))
    child.goes_on()
    assert child.ends().said == [done]
    Retire("alice", yes=True).run(context(root, None))
    assert holders(root) == {"whynot": None, "other": None}


def test_whoever_waits_in_line_gets_nothing_any_more(root: Path) -> None:
    """The retirement has ended when the lock comes to him."""
    child = Child(acquire(root), stop_at=Point.BEFORE_LOCK)
    child.stops()
    Retire("alice", yes=True).run(context(root, None))
    child.goes_on()
    assert child.ends().said == ["not-permitted"]
    assert holders(root) == {"whynot": None, "other": None}
