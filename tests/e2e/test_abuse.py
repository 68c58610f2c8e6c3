"""Who means harm: what is refused early, and what nobody can be made to read, hold or break."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardd.core.refs import lease_ref
from tests.e2e.harness import Actor, Garden, Server


def peak_memory(server: Server) -> int:
    """The most that the server ever held, in KiB."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


@pytest.mark.slow
def test_a_commit_that_unpacks_to_much_is_not_read(
    server: Server, garden: Garden, alice: Actor, mallory: Actor
) -> None:
    mallory.clone(garden)
    mallory.raw_event("a\n\n" + "a" * 60_000_000)
    before = peak_memory(server)
    garden.refuses("too-large", mallory, says=["an object of 60000", "1048576 are allowed"])
    alice.clone(garden)
    alice.acquire(garden)
    alice.raw_event("a\n\n" + "b" * 60_000_000)
    garden.refuses("too-large", alice, says=["has 60000", "65536 are allowed"])
    assert peak_memory(server) - before < 50_000


def test_nothing_is_read_of_whom_nothing_is_permitted(garden: Garden, mallory: Actor) -> None:
    line = b'{"type":"x","data":{"a":"' + b"a" * 900_000 + b'"}}\n'
    for words in ("--lines", "--lines --atomic"):
        result = mallory.try_ssh(f"append {garden} {words}", input=line * 3)
        assert "shardd: not-permitted: " in result.stderr
        assert result.stdout == ""


def test_a_line_without_an_end_ends_the_stream(garden: Garden, alice: Actor) -> None:
    alice.acquire(garden)
    result = alice.try_ssh(f"append {garden} --lines", input=b" " * 1024 * 1024 + b'{"type":"smuggled"}\n')
    assert "longer than" in result.stdout + result.stderr
    assert garden.subjects() == []


def test_refs_of_ours_are_never_left_to_git(garden: Garden, alice: Actor) -> None:
    garden.git("config", "--add", "shardd.plainRefs", "refs/*")
    alice.clone(garden)
    alice.acquire(garden)
    alice.push("origin", "HEAD:refs/heads/wiki/home")
    for ref in (lease_ref("whynot"), f"refs/replace/{alice.head()}", "refs/heads/spaces/new/x", "refs/heads/spaces/UP"):
        garden.refuses("ref-not-allowed", alice, "origin", f"+HEAD:{ref}", "HEAD:refs/heads/wiki/other")
    assert "alice" in alice.ssh(f"lease history {garden}")


def test_a_parent_where_git_sees_none_does_not_drop_the_log(garden: Garden, alice: Actor) -> None:
    alice.clone(garden)
    alice.acquire(garden)
    alice.event("one")
    alice.push()
    alice.raw_event("note: two\n", parents=[], headers=f"parent {alice.head()}\n")
    assert alice.git("rev-list", "--count", "HEAD") == "1", "to git it is a root"
    garden.refuses("not-linear", alice, "--force")
    assert garden.subjects() == ["one"]


def test_notes_are_commits(garden: Garden, alice: Actor) -> None:
    alice.clone(garden)
    blob = alice.git("hash-object", "-w", "--stdin", input=b"x")
    garden.refuses("bad-event", alice, "origin", f"{blob}:refs/notes/alice")


def test_a_space_that_no_event_could_begin_is_not_made(garden: Garden, carol: Actor) -> None:
    carol.denied("usage", f"space create {garden.repo}/big --first 9999999999999999")
    assert str(garden) in carol.ssh("space list")


def test_a_key_is_given_once_even_when_it_is_revoked(server: Server, carol: Actor, alice: Actor) -> None:
    public = alice.key.with_suffix(".pub").read_bytes()
    (server.root / "revoked_keys").write_bytes(public)
    try:
        result = carol.try_ssh("key add eve", input=public)
        assert "is already a key of alice" in result.stderr
    finally:
        (server.root / "revoked_keys").unlink()
    carol.ssh("key list")


def test_roles_of_others_are_not_told(garden: Garden, mallory: Actor) -> None:
    said = mallory.denied("not-permitted", f"lease transfer {garden} bob").stderr
    assert "mallory needs the role append" in said
    mallory.denied("usage", f"fold {garden} --at 0001-01-01T00:00:00+23:59")
