"""A site's own hooks run after ours, on what git gives any hook; they can refuse, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shardd.logs.git_log import GitLog
from tests.e2e.harness import Actor, Garden, Server, run, surroundings


@pytest.fixture(autouse=True)
def site(server: Server) -> Iterator[Path]:
    """The folder, emptied when the test is over."""
    folder = server.root / "site-hooks"
    folder.mkdir(exist_ok=True)
    yield folder
    for path in folder.iterdir():
        path.unlink()


def write(path: Path, text: str, mode: int = 0o755) -> None:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(mode)


def test_it_sees_what_git_shows_a_hook(site: Path, garden: Garden, alice: Actor, tmp_path: Path) -> None:
    for name in ("pre-receive", "post-receive"):
        write(
            site / name,
            f"cat >{tmp_path}/{name}.in; env >{tmp_path}/{name}.env; pwd >{tmp_path}/{name}.pwd\n"
            # What the server talks to its hooks over is not theirs.
            f"for i in 7 8; do if ( : >&$i ) 2>/dev/null || ( : <&$i ) 2>/dev/null; then echo $i; fi; done"
            f" >{tmp_path}/{name}.open\n",
        )
    before = garden.head()
    alice.clone(garden)
    alice.acquire(garden)
    new = alice.event("one")
    alice.push("-o", "ticket=17", "-o", "epoch=1")
    for name in ("pre-receive", "post-receive"):
        assert (tmp_path / f"{name}.in").read_text() == f"{before} {new} {garden.ref}\n"
        env = dict(line.split("=", 1) for line in (tmp_path / f"{name}.env").read_text().splitlines())
        assert env["SHARDD_PRINCIPAL"] == "alice"
        assert (env["GIT_PUSH_OPTION_COUNT"], env["GIT_PUSH_OPTION_0"]) == ("2", "ticket=17")
        assert "SHARDD_RELAY" not in env
        assert (tmp_path / f"{name}.pwd").read_text().strip() == str(garden.path)
        assert (tmp_path / f"{name}.open").read_text() == ""
    assert "GIT_QUARANTINE_PATH" in (tmp_path / "pre-receive.env").read_text()


def test_it_refuses(site: Path, garden: Garden, alice: Actor) -> None:
    write(site / "pre-receive", "echo 'not on a Friday' >&2; exit 1\n")
    alice.clone(garden)
    alice.acquire(garden)
    alice.event("one")
    before = garden.refs()
    refused = alice.tries_to_push()
    assert "remote: not on a Friday" in refused.stderr
    assert "pre-receive hook declined" in refused.stderr
    assert garden.refs() == before
    write(site / "pre-receive", "kill -9 $$\n")
    assert not alice.tries_to_push().ok
    write(site / "pre-receive", "exit 1\n", mode=0o644)  # as git does: what is not executable is no hook
    alice.push()


def test_it_cannot_let_in_what_we_refuse(site: Path, garden: Garden, mallory: Actor, tmp_path: Path) -> None:
    write(site / "pre-receive", f"touch {tmp_path}/ran; printf accept >&7; exit 0\n")
    write(site / "post-receive", f"touch {tmp_path}/ran\n")
    mallory.clone(garden)
    mallory.event("one")
    garden.refuses("not-permitted", mallory)
    assert not (tmp_path / "ran").exists()


def test_a_failing_post_receive_changes_nothing(site: Path, garden: Garden, alice: Actor) -> None:
    write(site / "post-receive", "echo mailed >&2; exit 3\n")
    alice.clone(garden)
    alice.acquire(garden)
    alice.event("one")
    assert "remote: mailed" in alice.push().stderr
    assert garden.subjects() == ["one"]


def test_without_the_server_it_runs_too(
    site: Path, server: Server, garden: Garden, alice: Actor, tmp_path: Path
) -> None:
    """A push by local path, as the owner in alice's name."""
    write(site / "pre-receive", f"cat >{tmp_path}/seen; [ ! -e {tmp_path}/closed ]\n")
    alice.clone(garden)
    alice.acquire(garden)
    alice.event("one")
    (tmp_path / "closed").touch()
    env = {"SHARDD_PRINCIPAL": "alice"}
    refused = alice.tries_to_push(str(garden.path), f"HEAD:{garden.ref}", env=env)
    assert "the site's own pre-receive refuses this push" in refused.stderr
    (tmp_path / "closed").unlink()
    alice.push(str(garden.path), f"HEAD:{garden.ref}", env=env)
    assert garden.ref in (tmp_path / "seen").read_text()
    alice.event("two")
    garden.refuses("not-permitted", alice, str(garden.path), f"HEAD:{garden.ref}", env={"SHARDD_PRINCIPAL": "mallory"})


def test_ours_that_is_half_installed_lets_nothing_in(site: Path, server: Server, garden: Garden, alice: Actor) -> None:
    alice.clone(garden)
    alice.acquire(garden)
    alice.event("one")
    (pointer,) = server.root.glob("hooks/*/site")
    kept = pointer.read_bytes()
    pointer.unlink()
    before = garden.refs()
    try:
        assert "the hooks are not installed; run shardd doctor" in alice.tries_to_push().stderr
        assert garden.refs() == before
    finally:
        pointer.write_bytes(kept)
    alice.push()


def test_an_embedded_repo_keeps_its_own_hooks(tmp_path: Path) -> None:
    repo = tmp_path / "log.git"
    env = surroundings(tmp_path, {"GIT_CONFIG_GLOBAL": "/dev/null"})
    run(["git", "init", "--quiet", "--bare", str(repo)], cwd=tmp_path, env=env).must()
    write(repo / "hooks" / "pre-receive", f"cat >{tmp_path}/seen; [ ! -e {tmp_path}/closed ]\n")
    mine = (repo / "hooks" / "pre-receive").read_bytes()
    GitLog(repo).append("whynot", "page.bound", {"page": "Home"})
    assert (repo / "hooks" / "pre-receive").read_bytes() == mine
    run(["git", "clone", "--quiet", str(repo), "clone"], cwd=tmp_path, env=env).must()
    clone = tmp_path / "clone"
    author = {
        "GIT_AUTHOR_NAME": "root",
        "GIT_COMMITTER_NAME": "root",
        "GIT_AUTHOR_EMAIL": "r@x",
        "GIT_COMMITTER_EMAIL": "r@x",
    }
    run(["git", "commit", "-q", "--allow-empty", "-m", "two"], cwd=clone, env={**env, **author}).must()
    (tmp_path / "closed").touch()
    refused = run(["git", "push"], cwd=clone, env=env)
    assert "the site's own pre-receive refuses this push" in refused.stderr
    assert "refs/heads/spaces/whynot" in (tmp_path / "seen").read_text()
