"""Refs whose names are no ordinary text: git takes them, and so does everything of ours that lists refs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.e2e.harness import SHARDD, Actor, Garden, run, surroundings

ODD = ["refs/heads/wiki/a\u2028b", "refs/heads/wiki/a\x85b", os.fsdecode(b"refs/heads/wiki/caf\xe9")]


@pytest.fixture
def plain(garden: Garden, alice: Actor) -> Garden:
    garden.git("config", "--add", "shardd.plainRefs", "refs/heads/wiki/*")
    alice.clone(garden)
    alice.acquire(garden)
    return garden


def test_a_ref_of_an_odd_name_is_pushed_and_stops_nothing(plain: Garden, alice: Actor, tmp_path: Path) -> None:
    for ref in ODD:
        alice.push("--quiet", "origin", f"HEAD:{ref}")
    alice.event("note")
    alice.push()
    server, dest = plain.server, tmp_path / "saved"
    server.host("backup", str(dest)).must()
    run([*SHARDD, "restore", str(dest), str(tmp_path / "new")], cwd=tmp_path, env=surroundings(tmp_path)).must()
    assert server.host("doctor").must().stdout == "nothing to complain about\n"
    assert "1 event up to seq 1" in server.host("verify", str(plain)).must().stdout
    for root in (dest, tmp_path / "new"):
        packed = (root / "repos" / f"{plain.repo}.git" / "packed-refs").read_bytes()
        assert all(os.fsencode(ref) in packed for ref in ODD)
    alice.push("--quiet", "origin", *(f":{ref}" for ref in ODD))
    said = json.loads(server.host("backup", str(dest), "--json").must().stdout)
    assert said["moved"] == len(ODD)


def test_a_hook_without_a_server_takes_it_too(plain: Garden, alice: Actor) -> None:
    env = {"SHARDD_PRINCIPAL": "alice"}
    for ref in ODD:
        alice.push("--quiet", str(plain.path), f"HEAD:{ref}", env=env)
    refused = alice.tries_to_push(str(plain.path), f"HEAD:{os.fsdecode(b'refs/heads/x/caf')}\udce9", env=env)
    assert "ref-not-allowed" in refused.stderr


def test_a_clone_with_an_odd_branch_answers(plain: Garden, alice: Actor) -> None:
    for ref in ODD:
        alice.git("branch", ref.removeprefix("refs/heads/"))
        alice.git("update-ref", f"refs/remotes/origin/spaces/{ref.rpartition('/')[2]}", "HEAD")
    assert "whynot: whole" in run([*SHARDD, "verify"], cwd=alice.cwd, env=alice.env()).must().stdout
    alice.git("switch", "--quiet", ODD[2].removeprefix("refs/heads/"))
    refused = run([*SHARDD, "log"], cwd=alice.cwd, env=alice.env())
    assert refused.status == 2 and "which space?" in refused.stderr
    run([*SHARDD, "setup"], cwd=alice.cwd, env=alice.env()).must()
