"""`shardd verify`: in a clone, over a copy, on the host, over ssh."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.e2e.harness import SHARDD, Actor, Garden, Result, run


def shardd(who: Actor, *words: str, cwd: Path | None = None) -> Result:
    return run([*SHARDD, *words], cwd=cwd or who.cwd, env=who.env())


def grow(garden: Garden, who: Actor, count: int) -> None:
    who.clone(garden)
    who.acquire(garden)
    for n in range(count):
        who.event(f"note: {n}", {"n": n})
    who.push()


def test_a_clone_proves_what_it_fetched(garden: Garden, alice: Actor) -> None:
    grow(garden, alice, 3)
    said = shardd(alice, "verify").must().stdout
    assert said == f"whynot: whole: 3 events up to seq 3 {garden.head()[:12]}, no lease journal here\n"
    alice.git("fetch", "--quiet", "origin", "+refs/leases/*:refs/leases/*")
    assert shardd(alice, "verify").must().stdout.endswith(", 1 epoch\n")
    found = json.loads(shardd(alice, "verify", "whynot", "--json").must().stdout)
    assert (found["whole"], found["events"], found["head"]["oid"]) == (True, 3, garden.head())
    unknown = shardd(alice, "verify", "other")
    assert unknown.status == 1 and "no-such-space" in unknown.stderr


def test_a_copy_that_was_tampered_with_is_found_out(garden: Garden, alice: Actor) -> None:
    grow(garden, alice, 4)
    copy = alice.home / "copy.git"
    shutil.copytree(garden.path, copy)
    assert "whole: 4 events" in shardd(alice, "verify", "--repo", str(copy), cwd=alice.home).must().stdout
    alice.cwd = copy
    alice.git("update-ref", "refs/heads/spaces/whynot", alice.git("commit-tree", "-p", "spaces/whynot~2", "-m",
              "note: forged", "-m", "Seq: 9", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"))  # fmt: skip
    result = shardd(alice, "verify")
    assert result.status == 4
    assert "whynot: BROKEN: seq-gap: commit " in result.stdout
    assert "says Seq: 9, and follows on seq 2 (before it: 2 events up to seq 2 " in result.stdout
    assert "shardd: corrupt: the space is broken" in result.stderr
    found = json.loads(shardd(alice, "verify", "--json").stdout.splitlines()[0])
    assert (found["whole"], found["broken"]["rule"], found["broken"]["seq"]) == (False, "seq-gap", 3)


def test_the_host_knows_whose_signatures_they_are(garden: Garden, alice: Actor, mallory: Actor) -> None:
    alice.clone(garden)
    alice.acquire(garden)
    alice.git("config", "gpg.format", "ssh")
    alice.git("config", "user.signingkey", f"{alice.key}.pub")
    alice.git("commit", "--quiet", "-S", "--allow-empty", "-m", "note: signed")
    alice.push()
    assert "1 event up" in (said := garden.server.host("verify", str(garden)).must().stdout)
    assert said.endswith(", 1 epoch, 1 signature: good\n")
    assert shardd(alice, "verify").must().stdout.endswith(", 1 signature: unknown key\n")
    signers = alice.home / "signers"
    signers.write_text(f"alice {alice.key.with_suffix('.pub').read_text()}")
    assert shardd(alice, "verify", "--signers", str(signers)).must().stdout.endswith(", 1 signature: good\n")
    assert mallory.ssh(f"verify {garden}") == said
    assert shardd(alice, "verify", cwd=alice.home).status == 2


def test_the_doctor_has_nothing_against_a_server_at_work(garden: Garden, alice: Actor) -> None:
    grow(garden, alice, 2)
    assert garden.server.host("doctor").must().stdout == "nothing to complain about\n"
    assert alice.try_ssh("doctor").status == 2, "it is for the host alone"
