"""Backing up beside a running server, and what comes back: the same logs, and no lease from before."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shardd.authority.authorities import Authorities
from shardd.core.journal import decode_entry
from shardd.files.server_dir import ServerDir
from shardd.git.repository import Repository
from shardd.upkeep.backup import backup
from shardd.upkeep.restore import restore
from tests.e2e.harness import SHARDD, Actor, Garden, Result, Server, run, surroundings, wait_until


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def git(repo: Path, *words: str) -> Result:
    return run(["git", "-C", str(repo), *words], cwd=repo, env=surroundings(repo))


def shardd(home: Path, *words: str) -> Result:
    return run([*SHARDD, *words], cwd=home, env=surroundings(home))


def mirror(dest: Path, garden: Garden) -> Path:
    return dest / "repos" / f"{garden.repo}.git"


def restored(dest: Path, root: Path) -> Server:
    """The restored directory, with a server of its own."""
    run([*SHARDD, "restore", str(dest), str(root)], cwd=root.parent, env=surroundings(root.parent)).must()
    return Server(root, None).start()


def grow(who: Actor, *numbers: int) -> None:
    for n in numbers:
        who.event(f"note: {n}", {"n": n})
    who.push()


def test_a_backup_is_git_and_holds_only_what_is_new_each_time(garden: Garden, alice: Actor, dest: Path) -> None:
    alice.clone(garden)
    alice.acquire(garden)
    grow(alice, 1, 2)
    garden.server.host("backup", str(dest)).must()
    copy = mirror(dest, garden)
    assert git(copy, "rev-parse", garden.ref).stdout.strip() == garden.head()
    assert git(copy, "rev-parse", "refs/leases/whynot").stdout.strip() == garden.git("rev-parse", "refs/leases/whynot")
    assert (copy / "HEAD").read_text() == (garden.path / "HEAD").read_text()

    objects = set(git(copy, "cat-file", "--batch-all-objects", "--batch-check").stdout.splitlines())
    grow(alice, 3)
    said = json.loads(garden.server.host("backup", str(dest), "--json").must().stdout)
    assert said["moved"] == 1
    more = set(git(copy, "cat-file", "--batch-all-objects", "--batch-check").stdout.splitlines()) - objects
    assert len(more) == 1
    assert json.loads(garden.server.host("backup", str(dest), "--json").must().stdout)["moved"] == 0
    check = git(copy, "fsck", "--strict", "--no-dangling")
    assert check.ok and not check.stdout
    clone = dest.parent / "clone"
    run(["git", "clone", "-q", str(copy), str(clone)], cwd=dest.parent, env=surroundings(dest.parent)).must()
    assert git(clone, "log", "--format=%s").stdout.split("\n")[0] == "note: 3"
    proof = run([*SHARDD, "verify", "--repo", str(copy)], cwd=dest.parent, env=surroundings(dest.parent)).must()
    assert proof.stdout == f"whynot: whole: 3 events up to seq 3 {garden.head()[:12]}, 1 epoch\n"


def test_a_backup_takes_no_pushes_and_serves_nobody(garden: Garden, alice: Actor, dest: Path) -> None:
    alice.clone(garden)
    garden.server.host("backup", str(dest)).must()
    alice.event("note")
    refused = alice.tries_to_push(str(mirror(dest, garden)), "HEAD:refs/heads/spaces/whynot")
    assert not refused.ok
    assert git(mirror(dest, garden), "rev-parse", garden.ref).stdout.strip() == garden.head()
    served = run([*SHARDD, "serve", "--dir", str(dest)], cwd=dest.parent, env=surroundings(dest.parent))
    assert served.status == 2 and "is not a server's directory" in served.stderr


def test_what_is_restored_knows_no_lease_from_before(
    garden: Garden, carol: Actor, alice: Actor, bob: Actor, dest: Path, tmp_path: Path
) -> None:
    alice.clone(garden)
    epoch = alice.acquire(garden, "--ttl", "86400")
    grow(alice, 1, 2)
    carol.ssh(f"space create {garden.repo}/closed")
    carol.ssh(f"space freeze {garden.repo}/closed 'for good'")
    carol.ssh(f"space types {garden.repo}/closed page.bound --strict")
    backup(Authorities.open(ServerDir(garden.server.root)), dest)
    grow(alice, 3)  # after the backup: lost
    tip = garden.git("rev-parse", f"{garden.ref}~1")

    server = restored(dest, tmp_path / "new")
    try:
        later = Garden(server, garden.repo)
        assert later.head() == tip
        (alice.home / "known_hosts").write_text(server.known_hosts())
        alice.server = server
        alice.git("remote", "set-url", "origin", later.url)
        alice.git("fetch", "--quiet")
        alice.git("reset", "--quiet", "--hard", "origin/spaces/whynot")
        alice.event("note: late")
        later.refuses("not-holder", alice, says=["the last one ended when the repo was restored"])
        later.refuses("not-holder", alice, "-o", f"epoch={epoch}")

        newer = alice.acquire(later)
        assert newer > 180_000_000_000 > epoch, "above the milliseconds since 2020"
        later.refuses("stale-epoch", alice, "-o", f"epoch={epoch}")
        alice.push()
        alice.ssh(f"lease release {later}")
        bob.server = server
        (bob.home / "known_hosts").write_text(server.known_hosts())
        assert bob.acquire(later) == newer + 1

        assert "frozen: for good" in server.host("space", "show", f"{garden.repo}/closed").must().stdout
        assert "  page.bound  (as" in server.host("space", "types", f"{garden.repo}/closed").must().stdout
        server.host("verify").must()
        with Repository(later.path) as repository:
            entries = [decode_entry(raw) for _, raw in repository.history(later.git("rev-parse", "refs/leases/whynot"))]
        assert [str(entry.tenure.reason) for entry in entries] == ["acquire", "restore", "acquire", "acquire"]
        assert [entry.tenure.epoch for entry in entries] == sorted(entry.tenure.epoch for entry in entries)
    finally:
        server.stop()


def test_restoring_twice_never_gives_an_epoch_out_again(
    garden: Garden, alice: Actor, dest: Path, tmp_path: Path
) -> None:
    alice.acquire(garden)
    backup(Authorities.open(ServerDir(garden.server.root)), dest)

    first = restore(dest, tmp_path / "one").epochs[str(garden)]
    again = tmp_path / "again"
    backup(Authorities.open(ServerDir(tmp_path / "one")), again)
    second = restore(again, tmp_path / "two").epochs[str(garden)]
    assert second > first
    # Even where the clock stands before the epochs that are known.
    with Repository(tmp_path / "two" / "repos" / f"{garden.repo}.git") as repository:
        newest = decode_entry(repository.commit(repository.read_ref("refs/leases/whynot") or ""))
    assert newest.tenure.epoch == second


def test_a_backup_stays_consistent_while_pushes_and_lease_calls_go_on(
    garden: Garden, alice: Actor, dest: Path, tmp_path: Path
) -> None:
    alice.clone(garden)
    stop = threading.Event()
    pushed: list[str] = []

    def push() -> None:
        while not stop.is_set():
            alice.acquire(garden)
            pushed.append(alice.event("note"))
            alice.push()
            alice.ssh(f"lease release {garden}")

    pusher = threading.Thread(target=push)
    pusher.start()
    try:
        for _ in range(3):
            before = len(pushed)
            wait_until(lambda before=before: len(pushed) > before, "a push")  # type: ignore[misc]
            backup(Authorities.open(ServerDir(garden.server.root)), dest)
            proof = run(
                [*SHARDD, "verify", "--repo", str(mirror(dest, garden))], cwd=tmp_path, env=surroundings(tmp_path)
            )
            assert proof.ok, proof
            assert git(mirror(dest, garden), "fsck", "--strict", "--no-dangling").ok
    finally:
        stop.set()
        pusher.join()
    garden.git(
        "merge-base", "--is-ancestor", git(mirror(dest, garden), "rev-parse", garden.ref).stdout.strip(), garden.ref
    )


def test_a_server_that_lost_events_does_not_take_them_from_the_backup(garden: Garden, alice: Actor, dest: Path) -> None:
    alice.clone(garden)
    alice.acquire(garden)
    grow(alice, 1, 2, 3)
    backup(Authorities.open(ServerDir(garden.server.root)), dest)
    kept = garden.head()
    garden.git("update-ref", garden.ref, f"{garden.ref}~1")
    try:
        refused = garden.server.host("backup", str(dest))
        assert refused.status == 4 and "does not go on from where the backup stands" in refused.stderr
        garden.git("update-ref", "-d", garden.ref)
        refused = garden.server.host("backup", str(dest))
        assert refused.status == 4 and "is in the backup and no longer on the server" in refused.stderr
        assert git(mirror(dest, garden), "rev-parse", garden.ref).stdout.strip() == kept
    finally:
        garden.git("update-ref", garden.ref, kept)
    backup(Authorities.open(ServerDir(garden.server.root)), dest)


def test_access_and_keys_come_along_and_go_again(garden: Garden, carol: Actor, dest: Path, tmp_path: Path) -> None:
    spare = tmp_path / "spare"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(spare)], check=True)
    garden.server.host("key", "add", "dave", f"{spare}.pub").must()
    backup(Authorities.open(ServerDir(garden.server.root)), dest)
    root = garden.server.root
    assert (dest.stat().st_mode & 0o777, (dest / "files/keys").stat().st_mode & 0o777) == (0o700, 0o700)
    for name in ("access.toml", "keys/dave.pub", *(f"host_keys/{p.name}" for p in (root / "host_keys").iterdir())):
        assert (dest / "files" / name).read_bytes() == (root / name).read_bytes()
        assert (dest / "files" / name).stat().st_mode == (root / name).stat().st_mode
    fingerprint = garden.server.host("key", "list", "dave", "--json").must().stdout
    [found] = json.loads(fingerprint)
    garden.server.host("key", "remove", "dave", found["fingerprint"]).must()
    backup(Authorities.open(ServerDir(garden.server.root)), dest)
    assert not (dest / "files/keys/dave.pub").exists()


def test_nothing_half_made_is_left_behind(garden: Garden, dest: Path, tmp_path: Path) -> None:
    backup(Authorities.open(ServerDir(garden.server.root)), dest)
    there = set(tmp_path.iterdir())
    assert shardd(tmp_path, "restore", str(garden.server.root), str(tmp_path / "new")).status == 2
    assert shardd(tmp_path, "restore", str(dest), str(dest)).status == 1
    torn = tmp_path / "torn"
    shutil.copytree(dest, torn)
    for path in mirror(torn, garden).glob("objects/??/*"):
        path.unlink()
    for path in mirror(torn, garden).glob("objects/pack/*"):
        path.unlink()
    result = shardd(tmp_path, "restore", str(torn), str(tmp_path / "new"))
    assert result.status in (3, 4), result
    assert set(tmp_path.iterdir()) == {*there, torn}
    inside = garden.server.host("backup", str(garden.server.root / "backup"))
    assert inside.status == 2 and "lies in the directory that is backed up" in inside.stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert garden.server.host("backup", str(tmp_path / "full")).status == 1
    assert garden.server.host("backup", str(dest), "--as", "carol").status == 1


def test_a_killed_backup_is_taken_up_again(garden: Garden, alice: Actor, dest: Path) -> None:
    alice.clone(garden)
    alice.acquire(garden)
    grow(alice, *range(5))
    env = surroundings(dest.parent)
    words = [sys.executable, "-m", "shardd.cli.main", "backup", str(dest), "--dir", str(garden.server.root)]
    child = subprocess.Popen(words, env=env, cwd=dest.parent)
    wait_until(lambda: (dest / "repos").exists(), "the backup began")
    child.send_signal(signal.SIGKILL)
    child.wait()
    backup(Authorities.open(ServerDir(garden.server.root)), dest)
    assert git(mirror(dest, garden), "rev-parse", garden.ref).stdout.strip() == garden.head()
    assert git(mirror(dest, garden), "fsck", "--strict", "--no-dangling").ok
