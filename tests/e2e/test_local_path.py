"""Pushes by the path of the repo, as an OS user of the server's host: same hooks, same rules, no server."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Actor, Garden

ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture(autouse=True)
def alice_has_an_event_to_push(garden: Garden, alice: Actor) -> Iterator[None]:
    alice.clone(garden)
    alice.git("remote", "set-url", "origin", str(garden.path))
    alice.event("one", {"a": 1})
    toml = garden.server.root / "access.toml"
    before = toml.read_text()
    yield
    toml.write_text(before)


def map_me_to(garden: Garden, principal: str) -> None:
    toml = garden.server.root / "access.toml"
    toml.write_text(f'{toml.read_text()}\n[local]\n"{ME}" = "{principal}"\n')


def test_an_os_user_that_is_nobody_here(garden: Garden, alice: Actor) -> None:
    alice.acquire(garden)
    says = ["names no authenticated principal", "[local] in access.toml"]
    garden.refuses("no-principal", alice, says=says)
    garden.refuses("no-principal", alice, "-o", "lease=acquire", says=says)
    garden.refuses("no-principal", alice, "origin", "HEAD:refs/heads/main", says=says)


def test_an_os_user_that_is_alice(garden: Garden, alice: Actor) -> None:
    map_me_to(garden, "alice")
    reach = f"`shardd --dir {garden.server.root} lease acquire {garden}`"
    garden.refuses("not-holder", alice, says=["nobody holds the lease", reach])
    alice.acquire(garden)
    garden.refuses("stale-epoch", alice, "-o", "epoch=2")
    alice.push("-o", "epoch=1")
    assert garden.head() == alice.head()


def test_a_mapping_to_nobody_known(garden: Garden, alice: Actor) -> None:
    map_me_to(garden, "stranger")
    garden.refuses("not-permitted", alice, says=["stranger needs the role append"])


def test_the_same_rules(garden: Garden, alice: Actor) -> None:
    map_me_to(garden, "alice")
    alice.push("-o", "lease=acquire")
    alice.acquire(garden)
    garden.refuses("deletion", alice, "origin", ":spaces/whynot")
    garden.refuses("non-fast-forward", alice, "--force", "origin", "HEAD~1:spaces/whynot")
    garden.refuses("ref-not-allowed", alice, "origin", "HEAD:refs/heads/main")
    garden.refuses("no-such-space", alice, "origin", "HEAD:refs/heads/spaces/nowhere")
    alice.event("not an event")
    garden.refuses("bad-event", alice)
    alice.git("commit", "--quiet", "--amend", "--allow-empty", "-m", "two", "-m", "Seq: 7")
    garden.refuses("seq-gap", alice)
    alice.git("commit", "--quiet", "--amend", "--allow-empty", "-m", "two", "-m", "Actor: bob")
    garden.refuses("forged-actor", alice)
    alice.git("commit", "--quiet", "--amend", "--allow-empty", "-m", "two")
    alice.push(f"file://{garden.path}", "HEAD:spaces/whynot")
    assert garden.subjects() == ["one", "two"]


def test_the_owner_of_the_directory_may_speak_for_anybody(garden: Garden, alice: Actor) -> None:
    alice.acquire(garden)
    garden.refuses("not-holder", alice, env={"SHARDD_PRINCIPAL": "bob"}, says=["alice holds the lease"])
    garden.refuses("not-permitted", alice, env={"SHARDD_PRINCIPAL": "stranger"})
    garden.refuses("no-principal", alice, env={"SHARDD_PRINCIPAL": ""})
    alice.push(env={"SHARDD_PRINCIPAL": "alice"})


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_nobody_else_may(garden: Garden, alice: Actor) -> None:
    alice.acquire(garden)
    os.chown(garden.server.root, pwd.getpwnam("nobody").pw_uid, -1)
    try:
        for name in ("alice", "carol"):
            garden.refuses("no-principal", alice, env={"SHARDD_PRINCIPAL": name})
        map_me_to(garden, "bob")
        garden.refuses("not-holder", alice, env={"SHARDD_PRINCIPAL": "alice"}, says=["alice holds the lease"])
    finally:
        os.chown(garden.server.root, os.getuid(), -1)
    alice.push(env={"SHARDD_PRINCIPAL": "alice"})


def test_hooks_switched_off_by_the_pusher(garden: Garden, alice: Actor) -> None:
    """Whoever may write the files may write them; but a setting that would skip the hooks refuses the push."""
    alice.acquire(garden)
    before = garden.refs()
    for receive in ("git -c core.hooksPath=/dev/null receive-pack", "git -c core.hooksPath= receive-pack"):
        assert not alice.tries_to_push(f"--receive-pack={receive}").ok
    off = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.hooksPath", "GIT_CONFIG_VALUE_0": "/nonexistent"}
    assert not alice.tries_to_push(env=off).ok
    alice.git("config", "--global", "core.hooksPath", "/nonexistent")
    garden.refuses("no-principal", alice)
    assert garden.refs() == before


def test_the_user_who_pushes_cannot_shape_what_the_hooks_see(garden: Garden, alice: Actor, tmp_path: Path) -> None:
    """The hooks' Python takes nothing from its surroundings: no path, no start-up file, no module of the caller's."""
    evil = tmp_path / "evil"
    (evil / "shardd").mkdir(parents=True)
    for name in ("sitecustomize.py", "usercustomize.py", "shardd/__init__.py", "json.py"):
        (evil / name).write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\n")
    garden.refuses("no-principal", alice, env={"PYTHONPATH": str(evil), "PYTHONSTARTUP": str(evil / "json.py")})
    assert not (tmp_path / "canary").exists()


def test_fetching_needs_no_right_but_that_to_the_files(garden: Garden, alice: Actor) -> None:
    alice.git("fetch", "--quiet")
    assert alice.git("rev-parse", "origin/spaces/whynot") == garden.head()
