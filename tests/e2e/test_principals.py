"""`principal`: who there is; and `retire`, after which nothing is left to a name, not even on an open connection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import begin
from tests.e2e.harness import Actor, Server
from tests.e2e.test_ssh_auth import multiplexed


@pytest.fixture
def server(tmp_path: Path, keys: dict[str, Path]) -> Iterator[Server]:
    """A server for each test: a retired name does not come back."""
    server = begin(tmp_path, keys)
    yield server
    server.stop()
    server.fsck()


@pytest.fixture
def garden(server: Server, carol: Actor) -> str:
    for command in (
        "repo create garden",
        "space create garden/whynot",
        "space create garden/other",
        "role grant alice append garden",
        "role grant alice import garden",
        "role grant bob append garden",
    ):
        carol.ssh(command)
    access = server.root / "access.toml"
    access.write_text(f'# ours, keep\n{access.read_text()}\n[local]\nwww = "alice" # the wiki\ngit = "bob"\n')
    return "garden/whynot"


def test_retire(server: Server, garden: str, alice: Actor, bob: Actor, carol: Actor, tmp_path: Path) -> None:
    alice.ssh(f"lease acquire {garden}")
    alice.ssh("lease acquire garden/other")
    with multiplexed(alice, tmp_path / "control") as control:
        assert alice.try_ssh("whoami", *control).ok
        said = carol.ssh("principal retire alice --yes")
        assert "retired alice" in said
        assert f"revoked the lease of {garden}" in said
        # The open connection has no rights any more, and no new one is to be had.
        refused = alice.try_ssh(f"lease acquire {garden}", *control)
        assert "no longer registered" in refused.stderr
        assert alice.try_ssh("git-upload-pack garden.git", *control).status == 128
    assert alice.try_ssh("whoami").status == 255
    history = json.loads(carol.ssh(f"lease history {garden} --json"))
    assert (history[-1]["holder"], history[-1]["reason"], history[-1]["text"]) == (None, "revoke", "alice was retired")
    assert bob.ssh_json(f"lease acquire {garden}")["epoch"] == 3
    access = (server.root / "access.toml").read_text()
    assert 'retired = ["alice"]' in access
    assert "# ours, keep" in access
    assert "www" not in access
    assert 'git = "bob"' in access
    assert not (server.root / "keys" / "alice.pub").exists()


def test_the_name_is_not_given_again(server: Server, garden: str, carol: Actor, keys: dict[str, Path]) -> None:
    carol.ssh("principal retire alice --yes")
    public = keys["alice"].with_suffix(".pub").read_bytes()
    refused = carol.try_ssh("key add alice", input=public)
    assert "a retired name is not given again" in refused.stderr
    carol.denied("retired", "role grant alice read garden", says=["not given again"])
    carol.denied("not-permitted", f"lease grant {garden} alice")
    assert "alice was retired before" in carol.ssh("principal retire alice --yes")
    # The key itself is nobody's, and may become somebody's.
    assert carol.try_ssh("key add alice2", input=public).ok


def test_what_an_interrupted_retirement_left_is_mended(server: Server, garden: str, alice: Actor, carol: Actor) -> None:
    """The first write takes every right; keys and leases may be left if the process died then."""
    alice.ssh(f"lease acquire {garden}")
    access = server.root / "access.toml"
    access.write_text(f'retired = ["alice"]\n{access.read_text()}')
    assert alice.try_ssh("whoami").status == 255
    assert f"revoked the lease of {garden}" in carol.ssh("principal retire alice --yes")
    assert not (server.root / "keys" / "alice.pub").exists()
    assert "alice =" not in access.read_text()


def test_who_may_retire_whom(server: Server, garden: str, alice: Actor, carol: Actor) -> None:
    alice.denied("not-permitted", "principal retire bob")
    alice.denied("not-permitted", "principal list")
    alice.denied("not-permitted", "principal show bob")
    carol.denied("not-permitted", "principal retire carol --yes", says=["you cannot retire yourself"])
    carol.denied("not-found", "principal retire nobody")
    last = server.host("principal", "retire", "carol", "--yes")
    assert (last.status, "last-admin" in last.stderr) == (1, True)
    server.host("role", "grant", "bob", "admin", "@all").must()
    assert server.host("principal", "retire", "carol", "--yes").ok
    assert carol.try_ssh("whoami").status == 255


def test_list_and_show(server: Server, garden: str, alice: Actor, carol: Actor) -> None:
    alice.ssh(f"lease acquire {garden}")
    carol.ssh("principal retire mallory --yes")
    listed = {each["principal"]: each for each in json.loads(carol.ssh("principal list --json"))}
    assert {name: each["state"] for name, each in listed.items()} == {
        "alice": "active", "bob": "active", "carol": "active", "mallory": "retired",
    }  # fmt: skip
    assert listed["carol"]["roles"] == ["admin @all"]
    shown = alice.ssh_json("principal show alice")
    assert shown["holds"] == [garden]
    assert shown["roles"] == ["append garden", "import garden"]
    assert shown["local"] == ["www"]
    assert shown["keys"] == [alice.ssh_json("whoami")["key"]]
    assert f"holds      {garden}" in carol.ssh("principal show alice")
