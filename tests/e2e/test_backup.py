"""Backing up beside a running server, and what comes back: the same logs, and no lease from before."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from shardd.authority.authorities import Authorities
from shardd.core.journal import decode_entry
from shardd.core.refs import Change
from shardd.files.crash_points import Point
from shardd.files.server_dir import ServerDir
from shardd.files.space_locks import Lock
from shardd.git.repository import Repository
from shardd.upkeep import backup as module
from shardd.upkeep.backup import backup, restore
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
    garden.server.host("backup", str(dest)).must()
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
    garden.server.host("backup", str(dest)).must()

    def epoch(root: Path, source: Path) -> int:
        found = json.loads(shardd(tmp_path, "restore", str(source), str(root), "--json").must().stdout)
        return int(found["epochs"][str(garden)])

    first = epoch(tmp_path / "one", dest)
    again = tmp_path / "again"
    run(
        [*SHARDD, "backup", str(again), "--dir", str(tmp_path / "one")], cwd=tmp_path, env=surroundings(tmp_path)
    ).must()
    second = epoch(tmp_path / "two", again)
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
            garden.server.host("backup", str(dest)).must()
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
    garden.server.host("backup", str(dest)).must()
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
    garden.server.host("backup", str(dest)).must()


def test_access_and_keys_come_along_and_go_again(garden: Garden, carol: Actor, dest: Path, tmp_path: Path) -> None:
    spare = tmp_path / "spare"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(spare)], check=True)
    garden.server.host("key", "add", "dave", f"{spare}.pub").must()
    garden.server.host("backup", str(dest)).must()
    root = garden.server.root
    assert (dest.stat().st_mode & 0o777, (dest / "files/keys").stat().st_mode & 0o777) == (0o700, 0o700)
    for name in ("access.toml", "keys/dave.pub", *(f"host_keys/{p.name}" for p in (root / "host_keys").iterdir())):
        assert (dest / "files" / name).read_bytes() == (root / name).read_bytes()
        assert (dest / "files" / name).stat().st_mode == (root / name).stat().st_mode
    fingerprint = garden.server.host("key", "list", "dave", "--json").must().stdout
    [found] = json.loads(fingerprint)
    garden.server.host("key", "remove", "dave", found["fingerprint"]).must()
    garden.server.host("backup", str(dest)).must()
    assert not (dest / "files/keys/dave.pub").exists()


def test_nothing_half_made_is_left_behind(garden: Garden, dest: Path, tmp_path: Path) -> None:
    garden.server.host("backup", str(dest)).must()
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


@pytest.mark.parametrize("point", ["after-lock:1", "before-move:1", "after-move:1"])
def test_a_backup_killed_anywhere_restores_and_goes_on(
    garden: Garden, alice: Actor, dest: Path, tmp_path: Path, point: str
) -> None:
    alice.clone(garden)
    grow_once(alice, 1)
    garden.server.host("backup", str(dest)).must()
    grow_once(alice, 2)
    words = [*SHARDD, "backup", str(dest), "--dir", str(garden.server.root)]
    killed = run(words, cwd=tmp_path, env=surroundings(tmp_path) | {"SHARDD_KILL_AT": point})
    assert killed.status == -signal.SIGKILL
    shardd(tmp_path, "restore", str(dest), str(tmp_path / "back")).must()
    shardd(tmp_path, "--dir", str(tmp_path / "back"), "verify").must()
    garden.server.host("backup", str(dest)).must()
    assert git(mirror(dest, garden), "rev-parse", garden.ref).stdout.strip() == garden.head()
    shardd(tmp_path, "verify", "--repo", str(mirror(dest, garden))).must()


def test_a_backup_killed_between_journal_and_log_is_read_as_if_it_had_ended(
    garden: Garden, alice: Actor, dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git moves one ref after the other, and may be killed with its parent in between."""
    authorities = Authorities.open(ServerDir(garden.server.root))
    alice.clone(garden)
    grow_once(alice, 1)
    backup(authorities, dest)
    grow_once(alice, 2)

    class Killed(BaseException):
        pass

    move = Repository.move_refs

    def killed(copy: Repository, moves: Sequence[Change], *, locks: Sequence[Lock]) -> None:
        assert [each.ref.startswith("refs/leases/") for each in moves] == [True, False], "the journal goes first"
        move(copy, moves[:1], locks=locks)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Repository, "move_refs", killed)
        with pytest.raises(Killed):
            backup(authorities, dest)
    restore(dest, tmp_path / "back")
    shardd(tmp_path, "--dir", str(tmp_path / "back"), "verify").must()
    back = git(tmp_path / "back" / "repos" / f"{garden.repo}.git", "rev-parse", garden.ref).stdout.strip()
    assert back == garden.head()
    backup(authorities, dest)
    shardd(tmp_path, "verify", "--repo", str(mirror(dest, garden))).must()


def test_locks_of_killed_gits_do_not_stop_a_backup(garden: Garden, alice: Actor, dest: Path) -> None:
    alice.clone(garden)
    grow_once(alice, 1)
    garden.server.host("backup", str(dest)).must()
    grow_once(alice, 2)
    copy = mirror(dest, garden)
    (copy / "config.lock").touch()
    for name in (f"{garden.ref}.lock", "refs/leases/whynot.lock", "HEAD.lock"):
        (copy / name).touch()
        (copy / name).chmod(0o444)  # as our own git makes them
    (dest / "repos" / ".new-x").mkdir()
    garden.git("config", "--add", "shardd.plainRefs", "refs/heads/plain/*")
    garden.server.host("backup", str(dest)).must()
    assert git(copy, "rev-parse", garden.ref).stdout.strip() == garden.head()
    assert not (copy / "config.lock").exists()
    assert not (dest / "repos" / ".new-x").exists()


ODD = ["Foo", "x\u2028y", "caf\udce9", "a'b", "-dash", "UPPER/lower"]


def test_no_name_of_a_ref_stops_a_backup_or_the_doctor(
    garden: Garden, alice: Actor, dest: Path, tmp_path: Path
) -> None:
    alice.clone(garden)
    grow_once(alice, 1)
    made = [f"create {folder}{name}" for name in ODD for folder in ("refs/heads/spaces/", "refs/heads/plain/")]
    moves = "".join(f"{each}\0{garden.head()}\0" for each in made).encode("utf-8", "surrogateescape")
    subprocess.run(["git", "update-ref", "--stdin", "-z"], cwd=garden.path, input=moves, check=True)
    garden.server.host("backup", str(dest)).must()
    garden.server.host("backup", str(dest)).must()
    there, copied = (
        subprocess.run(["git", "for-each-ref"], cwd=where, capture_output=True, check=True).stdout
        for where in (garden.path, mirror(dest, garden))
    )
    assert there == copied
    assert there.count(b"\n") > 2 * len(ODD)
    told = garden.server.host("doctor")
    assert "Traceback" not in told.stderr
    assert "internal" not in told.stderr
    shardd(tmp_path, "restore", str(dest), str(tmp_path / "back")).must()
    shardd(tmp_path, "--dir", str(tmp_path / "back"), "verify").must()


def test_a_backup_that_is_not_whole_is_not_restored(garden: Garden, dest: Path, tmp_path: Path) -> None:
    garden.server.host("backup", str(dest)).must()
    copy = f"repos/{garden.repo}.git"
    for number, gone in enumerate(["files", "files/access.toml", "files/host_keys", "repos", copy]):
        torn = tmp_path / f"torn-{number}"
        shutil.copytree(dest, torn)
        path = torn / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        there = set(tmp_path.iterdir())
        said = shardd(tmp_path, "restore", str(torn), str(tmp_path / "back"))
        assert (said.status, f"{gone}" in said.stderr, "is missing" in said.stderr) == (4, True, True), said
        assert set(tmp_path.iterdir()) == there
    git(mirror(dest, garden), "update-ref", "-d", garden.ref).must()
    said = shardd(tmp_path, "restore", str(dest), str(tmp_path / "back"))
    assert (said.status, f"{garden.repo}/whynot is missing" in said.stderr) == (4, True), said


def test_a_killed_restore_leaves_no_keys_and_is_begun_anew(
    dest: Path, garden: Garden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(Authorities.open(ServerDir(garden.server.root)), dest)
    root = tmp_path / "back"
    steps: list[Point] = []
    monkeypatch.setattr(module, "reached", steps.append)
    restore(dest, tmp_path / "other")
    assert steps == [Point.BEFORE_MOVE, Point.AFTER_MOVE]
    passes = moves_before_the_folder(dest, tmp_path)
    for point, place in (("before-move", ".back.restoring-*"), ("after-move", "back")):
        words = [*SHARDD, "restore", str(dest), str(root)]
        env = surroundings(tmp_path) | {"SHARDD_KILL_AT": f"{point}:{passes + 1}"}
        assert run(words, cwd=tmp_path, env=env).status == -signal.SIGKILL
        (left,) = tmp_path.glob(place)
        assert not list((left / "host_keys").iterdir()), "no secret of anybody's"
        if left == root:
            assert shardd(tmp_path, "--dir", str(root), "doctor").status == 2
    shardd(tmp_path, "restore", str(dest), str(root)).must()
    assert not list(tmp_path.glob(".back.restoring-*"))
    assert list((root / "host_keys").iterdir())
    shardd(tmp_path, "--dir", str(root), "verify").must()


def moves_before_the_folder(dest: Path, folder: Path) -> int:
    """How many moves of refs a restore makes before it gives its folder its place."""
    count = 0
    while True:
        root = folder / f"tried-{count}"
        words = [*SHARDD, "restore", str(dest), str(root)]
        run(words, cwd=folder, env=surroundings(folder) | {"SHARDD_KILL_AT": f"after-move:{count + 1}"})
        for left in folder.glob(f".{root.name}.restoring-*"):
            shutil.rmtree(left)
        if root.exists():
            shutil.rmtree(root)
            return count
        count += 1


def grow_once(who: Actor, number: int) -> None:
    """An event under a tenure of its own: journal and log move together."""
    who.event(f"note: {number}", {"n": number})
    who.push("-o", "lease=acquire")


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
    garden.server.host("backup", str(dest)).must()
    assert git(mirror(dest, garden), "rev-parse", garden.ref).stdout.strip() == garden.head()
    assert git(mirror(dest, garden), "fsck", "--strict", "--no-dangling").ok
