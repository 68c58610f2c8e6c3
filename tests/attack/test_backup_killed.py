"""Backups and restores killed, or told to end, at every step."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from shardd.core.refs import lease_ref, space_ref
from shardd.errors import Misuse, Unavailable
from shardd.files import durable
from shardd.files.crash_points import Point
from shardd.files.server_dir import RESTORING, ServerDir
from shardd.git.plain_refs import PLAIN_REFS
from shardd.git.program import Git
from shardd.git.repository import Repository
from shardd.upkeep import backup as backups
from shardd.upkeep import mirror as mirrors
from shardd.upkeep import restore as restores
from shardd.upkeep.restore import restore
from tests.attack.children import Child
from tests.attack.saving import SECRET, SPACE, backup, git, grow, mirror, oid, whole
from tests.e2e.harness import surroundings, wait_until

P = ParamSpec("P")
T = TypeVar("T")


class Steps:
    """Counts what a process does that can be seen from outside: each git that it runs, each file that it replaces."""

    def __init__(self, *, die_before: int) -> None:
        self.left = die_before

    def before(self, call: Callable[P, T]) -> Callable[P, T]:
        def counted(*words: P.args, **more: P.kwargs) -> T:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*words, **more)

        return counted


def until_done(job: Callable[[], object], after_each: Callable[[], None], *, every: int = 1) -> int:
    """Run the job in a child that is killed before its first step, its second … until it gets through; how many."""
    step = 0
    while True:
        step += every
        count = Steps(die_before=step)

        def counted(say: Callable[[object], None], count: Steps = count) -> None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Git, "_run", count.before(Git._run))
                patch.setattr(durable, "written_whole", count.before(durable.written_whole))
                job()

        ending = Child(counted).ends(group=True)
        after_each()
        if not ending.killed:
            return step


def test_wherever_a_backup_is_killed_what_it_leaves_is_whole_and_the_next_one_goes_on(
    server: ServerDir, dest: Path, tmp_path: Path
) -> None:
    backup(server, dest)
    places = tmp_path / "restored"
    places.mkdir()
    serial = iter(range(1000))

    def look() -> None:
        whole(mirror(dest))
        root = places / str(next(serial))
        restore(dest, root)
        whole(root / "repos" / "garden.git")
        shutil.rmtree(root)
        grow(server)

    grow(server)
    assert until_done(lambda: backup(server, dest), look, every=4) > 8
    grow(server)
    backup(server, dest)
    assert oid(mirror(dest)) == oid(server.repo_path("garden"))


def test_wherever_the_first_backup_is_killed_the_next_one_goes_on(server: ServerDir, dest: Path) -> None:
    def look() -> None:
        for path in (dest / "repos").glob("[!.]*.git"):
            subprocess.run(["git", "-C", str(path), "fsck", "--strict"], capture_output=True, check=True)

    assert until_done(lambda: backup(server, dest), look, every=5) > 15
    whole(mirror(dest))
    assert not [path for path in dest.rglob(".*") if path.name != ".lock"]


def test_log_and_journal_in_a_backup_move_as_one(
    server: ServerDir, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(server, dest)
    grow(server)
    copy = mirror(dest)
    before = oid(copy), oid(copy, lease_ref(SPACE))
    seen: dict[Point, list[object]] = {}
    monkeypatch.setattr(
        mirrors, "reached", lambda point: seen.setdefault(point, []).append((oid(copy), oid(copy, lease_ref(SPACE))))
    )
    backup(server, dest)
    after = oid(copy), oid(copy, lease_ref(SPACE))
    assert seen == {Point.BEFORE_MOVE: [before], Point.AFTER_MOVE: [after]}
    assert not set(before) & set(after)
    assert not [path for path in (copy / "refs").rglob("*") if path.is_file()], "one file holds them all"


@pytest.mark.parametrize("point", ["after-lock:1", "before-move:1", "after-move:1"])
def test_a_backup_killed_there_restores_and_goes_on(server: ServerDir, dest: Path, tmp_path: Path, point: str) -> None:
    backup(server, dest)
    grow(server)

    def job(say: Callable[[object], None]) -> None:
        backup(server, dest)

    assert Child(job, kill_at=point).ends().killed
    restore(dest, tmp_path / "back")
    whole(tmp_path / "back" / "repos" / "garden.git")
    backup(server, dest)
    assert oid(mirror(dest)) == oid(server.repo_path("garden"))
    whole(mirror(dest))


LEFT = [
    f"{space_ref(SPACE)}.lock", f"{lease_ref(SPACE)}.lock", "HEAD.lock", "packed-refs.lock", "packed-refs.new",
    "config.lock", "shallow.lock", "objects/info/commit-graph.lock", "objects/pack/tmp_pack_abc", ".HEAD.abcd1234",
    "shardd/leases/.whynot.abcd1234",
]  # fmt: skip


def test_what_a_killed_git_left_in_a_backup_does_not_block_it(server: ServerDir, dest: Path) -> None:
    backup(server, dest)
    grow(server)
    for name in LEFT:
        path = mirror(dest) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(0o444)  # as our own git makes them
    (dest / "repos" / ".new-x").mkdir()
    (dest / "files" / "host_keys" / ".ssh_host_ed25519_key.abcd1234").write_bytes(SECRET)
    with Repository(server.repo_path("garden")) as repository:
        repository.git.run("config", "--add", PLAIN_REFS, "refs/heads/wiki/*")
    backup(server, dest)
    assert oid(mirror(dest)) == oid(server.repo_path("garden"))
    assert not [name for name in LEFT if (mirror(dest) / name).exists()]
    assert git(mirror(dest), "config", PLAIN_REFS) == "refs/heads/wiki/*"
    assert not [path for path in dest.rglob(".*") if path.name != ".lock"]
    whole(mirror(dest))


def test_the_git_of_a_killed_backup_is_waited_for(
    server: ServerDir, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may yet move something: its lock files are not a dead one's, and the backup's own lock says so."""
    backup(server, dest)
    grow(server)

    def job(say: Callable[[object], None]) -> None:
        def stopped(self: Git, source: Path, oids: object, *, pass_fds: list[int]) -> None:
            child = subprocess.Popen(["sleep", "600"], pass_fds=pass_fds)
            say(child.pid)
            signal.pause()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Git, "fetch", stopped)
            backup(server, dest)

    child = Child(job)
    git = child.hears()
    child.kill()
    assert child.ends().killed
    try:
        with monkeypatch.context() as patch, pytest.raises(Unavailable, match=r"another backup into .* is running"):
            patch.setattr(backups, "PATIENCE", 0.0)
            backup(server, dest)
    finally:
        os.kill(git, signal.SIGKILL)
    backup(server, dest)
    assert oid(mirror(dest)) == oid(server.repo_path("garden"))


def test_a_killed_restore_leaves_no_copy_of_the_host_keys(server: ServerDir, dest: Path, tmp_path: Path) -> None:
    backup(server, dest)
    root = tmp_path / "again"

    def look() -> None:
        left = list(tmp_path.glob(".again.restoring-*"))
        assert len(left) <= 1, "the next one removes what the last one left"
        assert not [
            path for folder in left for path in folder.rglob("*") if path.is_file() and SECRET in path.read_bytes()
        ]
        if root.exists() and (root / RESTORING).exists():
            with pytest.raises(Misuse, match="has not come to its end"):
                ServerDir(root)

    assert until_done(lambda: restore(dest, root), look, every=9) > 40
    assert not list(tmp_path.glob(".again.restoring-*"))
    assert (root / "host_keys" / "ssh_host_ed25519_key").read_bytes() == SECRET


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_restore_that_is_told_to_end_removes_what_it_made(
    server: ServerDir, dest: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Also what the children of its git, which end a moment later, still write."""
    backup(server, dest)
    slow = tmp_path / "bin"
    slow.mkdir()
    wait = "while kill -0 $$ 2>/dev/null; do sleep 0.05; done; sleep 0.2"
    late = f"(d=$(echo {tmp_path}/.again.restoring-*); {wait}; mkdir -p $d/late; touch {tmp_path}/late) &"
    fetch = f"*fetch*) {late} touch {tmp_path}/there; exec sleep 600;;"
    (slow / "git").write_text(f'#!/bin/sh\ncase "$*" in {fetch} esac\nexec {shutil.which("git")} "$@"\n')
    (slow / "git").chmod(0o755)
    words = [sys.executable, "-m", "shardd.cli.main", "restore", str(dest), str(tmp_path / "again")]
    env = surroundings(tmp_path) | {"PATH": f"{slow}:{os.environ['PATH']}"}
    before = signal.signal(number, signal.SIG_DFL)  # it may be ignored where the tests run in the background
    try:
        child = subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL, start_new_session=True)
    finally:
        signal.signal(number, before)
    try:
        while not (tmp_path / "there").exists():
            assert child.poll() is None
        assert list(tmp_path.glob(".again.restoring-*"))
        child.send_signal(number)
        assert child.wait() == 128 + number
        wait_until((tmp_path / "late").exists, "the last of them ended")
        assert not list(tmp_path.glob(".again*"))
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@pytest.mark.parametrize("point", ["before-move", "after-move"])
def test_a_restore_killed_about_its_place_is_begun_anew(
    server: ServerDir, dest: Path, tmp_path: Path, point: str
) -> None:
    backup(server, dest)
    root = tmp_path / "again"

    def killed(at: Point) -> None:
        if at == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def job(say: Callable[[object], None]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(restores, "reached", killed)
            restore(dest, root)

    assert Child(job).ends().killed
    (left,) = tmp_path.glob(".again.restoring-*" if point == "before-move" else "again")
    assert not list((left / "host_keys").iterdir())
    restore(dest, root)
    assert not list(tmp_path.glob(".again.restoring-*"))
    assert (root / "host_keys" / "ssh_host_ed25519_key").read_bytes() == SECRET
    whole(root / "repos" / "garden.git")
