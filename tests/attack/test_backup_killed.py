"""Backups and restores killed at every step, backups that lack something, and refs that nobody should have made."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from shardd.core.lease import Acquire, Release
from shardd.core.names import lease_ref, space_ref
from shardd.core.roles import FileAccess
from shardd.errors import Corrupt, Misuse, Unavailable
from shardd.storage import backup as backups
from shardd.storage import durable
from shardd.storage import mirror as mirrors
from shardd.storage import restore as restores
from shardd.storage.backup import backup
from shardd.storage.facts import Pusher
from shardd.storage.git import Git
from shardd.storage.repository import PLAIN_REFS, Repository
from shardd.storage.restore import restore
from shardd.storage.seams import Point
from shardd.storage.serverdir import RESTORING, ServerDir
from shardd.storage.verify import spaces_in, verify
from tests.attack.children import Child
from tests.attack.test_crash import fsck
from tests.authorities import RIGHTS, commits
from tests.e2e.harness import surroundings, wait_until

P = ParamSpec("P")
T = TypeVar("T")
SPACE = "whynot"
SECRET = b"the host's own key"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two repos; in garden alice has held the space, appended under her epoch, and let it go."""
    server = ServerDir.create(tmp_path_factory.mktemp("made") / "server")
    for grant in RIGHTS.grants:
        server.access.grant(grant)
    (server.host_keys / "ssh_host_ed25519_key").write_bytes(SECRET)
    for repo in ("garden", "other"):
        server.create_repo(repo)
        authority = server.authority(repo, RIGHTS)
        with authority.place.repository:
            authority.create(SPACE)
    grow(server)
    return server.root


@pytest.fixture
def server(made: Path, tmp_path: Path) -> ServerDir:
    shutil.copytree(made, tmp_path / "server")
    return ServerDir(tmp_path / "server")


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "saved"


def grow(server: ServerDir, repo: str = "garden") -> None:
    """A new tenure, with an event under its epoch: log and journal of before and after do not go together."""
    authority = server.authority(repo, FileAccess())
    with authority.place.repository:
        epoch = authority.change(SPACE, Acquire("alice")).epoch
        with authority.hold([SPACE]) as held:
            head = authority.existing(SPACE)
            held.append(SPACE, head, commits(head, "alice", epoch=epoch), Pusher("alice"), epoch)
        authority.change(SPACE, Release("alice"))


def mirror(dest: Path, repo: str = "garden") -> Path:
    return dest / "repos" / f"{repo}.git"


def oid(path: Path, ref: str = space_ref(SPACE)) -> str | None:
    with Repository(path) as repository:
        return repository.read_ref(ref)


def whole(path: Path) -> None:
    """Every log is: nothing has been seen of a moment when log and journal did not go together."""
    fsck(path)
    with Repository(path) as repository:
        found = spaces_in(repository.git, bare=True)
        for refs in found:
            report = verify(repository, refs)
            assert report.broken is None, report.broken
            assert report.epochs is not None or refs.space != SPACE


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

    assert until_done(lambda: backup(server, dest), look, every=5) > 20
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
    child = subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL, start_new_session=True)
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


def drop(*names: str) -> Callable[[Path], None]:
    def change(dest: Path) -> None:
        for name in names:
            path = dest / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def cut(pattern: str) -> Callable[[Path], None]:
    def change(dest: Path) -> None:
        paths = [path for path in dest.glob(pattern) if path.is_file()]
        assert paths
        for path in paths:
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return change


def emptied(pattern: str) -> Callable[[Path], None]:
    def change(dest: Path) -> None:
        for path in dest.glob(pattern):
            if path.is_file():
                path.write_bytes(b"")

    return change


def without(prefix: str) -> Callable[[Path], None]:
    def change(dest: Path) -> None:
        path = mirror(dest) / "packed-refs"
        path.write_text("".join(line for line in path.read_text().splitlines(True) if prefix not in line))

    return change


def renamed(dest: Path) -> None:
    """A ref that names nothing."""
    path = mirror(dest) / "packed-refs"
    lines = path.read_text().splitlines(True)
    path.write_text("".join(f"{'1' * 40}{line[40:]}" if "/wiki/" in line else line for line in lines))


COPY = "repos/garden.git"
LEASE_FILES = f"{COPY}/shardd/leases"
LACKS = [
    (drop("files"), "files/access.toml is missing"),
    (drop("files/access.toml"), "files/access.toml is missing"),
    (drop("files/host_keys"), "files/host_keys/ssh_host_ed25519_key is missing"),
    (cut("files/access.toml"), "files/access.toml is not what was saved"),
    (emptied("files/host_keys/*"), "files/host_keys/ssh_host_ed25519_key is not what was saved"),
    (drop("repos"), f"{COPY} is missing"),
    (drop(COPY), f"{COPY} is missing"),
    (drop(f"{COPY}/HEAD"), f"{COPY}/HEAD is missing"),
    (emptied(f"{COPY}/HEAD"), f"{COPY}/HEAD is not what was saved"),
    (emptied(f"{COPY}/config"), f"{COPY}/config is not what was saved"),
    (drop(f"{COPY}/packed-refs"), f"{space_ref(SPACE)} of {COPY} is missing"),
    (emptied(f"{COPY}/packed-refs"), f"{space_ref(SPACE)} of {COPY} is missing"),
    (cut(f"{COPY}/packed-refs"), COPY),
    (without("refs/leases/"), f"{lease_ref(SPACE)} of {COPY} is missing"),
    (without("refs/heads/wiki/"), f"the refs of {COPY} are not what was saved"),
    (drop(f"{COPY}/shardd"), f"{LEASE_FILES}/{SPACE} is missing"),
    (drop(f"{LEASE_FILES}/{SPACE}"), f"{LEASE_FILES}/{SPACE} is missing"),
    (emptied(f"{LEASE_FILES}/*"), f"{LEASE_FILES}/{SPACE} cannot be read"),
    (cut(f"{LEASE_FILES}/*"), f"{LEASE_FILES}/{SPACE} cannot be read"),
    (drop(f"{COPY}/objects"), f"{COPY}/objects is missing"),
    (renamed, "names 111111111111, which is missing"),
]


@pytest.mark.parametrize(("change", "says"), LACKS, ids=lambda each: each if isinstance(each, str) else "")
def test_a_backup_that_lacks_something_is_not_restored(
    server: ServerDir, dest: Path, tmp_path: Path, change: Callable[[Path], None], says: str
) -> None:
    garden = server.repo_path("garden")
    make_ref(garden, b"refs/heads/wiki/page", oid(garden) or "")
    backup(server, dest)
    change(dest)
    before = set(tmp_path.iterdir())
    with pytest.raises(Corrupt, match=re.escape(says)) as found:
        restore(dest, tmp_path / "again")
    assert found.value.remedy
    assert set(tmp_path.iterdir()) == before, "nothing was made"
    if mirror(dest).exists() and not says.startswith("files"):
        with pytest.raises(Corrupt, match=re.escape(says)) as found:
            backup(server, dest)
        assert f"move {mirror(dest)} away" in found.value.remedy


def test_a_damaged_repo_of_a_backup_is_taken_anew_once_it_is_moved_away(
    server: ServerDir, dest: Path, tmp_path: Path
) -> None:
    backup(server, dest)
    (mirror(dest) / "HEAD").unlink()
    (dest / "files" / "access.toml").write_bytes(b"")
    grow(server)
    grow(server, "other")
    with pytest.raises(Corrupt, match=r"repos/garden\.git/HEAD is missing"):
        backup(server, dest)
    assert oid(mirror(dest, "other")) == oid(server.repo_path("other")), "the rest is taken"
    mirror(dest).rename(tmp_path / "moved")
    backup(server, dest)
    restore(dest, tmp_path / "again")
    assert oid(tmp_path / "again" / COPY) == oid(server.repo_path("garden"))


@pytest.mark.parametrize("way", ["cut", "dropped"])
def test_a_backup_whose_objects_are_gone_is_corrupt(server: ServerDir, dest: Path, tmp_path: Path, way: str) -> None:
    backup(server, dest)
    git(mirror(dest), "gc", "-q")
    restore(dest, tmp_path / "packed")
    parent = git(mirror(dest), "rev-parse", f"{space_ref(SPACE)}~1")
    if way == "cut":
        cut(f"{COPY}/objects/pack/*.pack")(dest)
    else:
        for pack in mirror(dest).glob("objects/pack/*.pack"):
            moved = pack.rename(tmp_path / "pack")
            for left in pack.parent.glob("*"):
                left.unlink()
            git(mirror(dest), "unpack-objects", "-q", stdin=moved.read_bytes())
            moved.unlink()
        (mirror(dest) / "objects" / parent[:2] / parent[2:]).unlink()
    before = set(tmp_path.iterdir())
    with pytest.raises(Corrupt, match=r"repos/garden\.git") as found:
        restore(dest, tmp_path / "again")
    assert found.value.remedy
    assert set(tmp_path.iterdir()) == before


def git(repo: Path, *words: str, stdin: bytes = b"") -> str:
    said = subprocess.run(["git", "-C", str(repo), *words], input=stdin, capture_output=True, check=True)
    return said.stdout.decode().strip()


def make_ref(path: Path, name: bytes, to: str) -> None:
    """As git writes one, whatever the name."""
    file = path / os.fsdecode(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{to}\n")


ODD = [
    b"refs/heads/spaces/Foo",
    b"refs/heads/spaces/whynot.x/y",
    "refs/heads/wiki/a\u2028b".encode(),
    "refs/heads/wiki/a\x85b\u2029".encode(),
    b"refs/heads/wiki/caf\xe9",
    "refs/heads/spaces/\u2028".encode(),
    b"refs/leases/nobody's",
    b"refs/odd",
    *(f"refs/heads/{folder}/{name}".encode() for folder in ("spaces", "plain") for name in ("a'b", "-dash", "UP/lo")),
]


def test_refs_of_odd_names_come_along_and_stop_nothing(server: ServerDir, dest: Path, tmp_path: Path) -> None:
    garden = server.repo_path("garden")
    tip = oid(garden)
    assert tip is not None
    for name in ODD:
        make_ref(garden, name, tip)
    backup(server, dest)
    root = tmp_path / "again"
    restore(dest, root)
    for path in (mirror(dest), root / "repos" / "garden.git"):
        with Repository(path) as repository:
            refs = repository.refs_below("refs/")
            assert [refs.get(os.fsdecode(name)) for name in ODD] == [tip] * len(ODD)
            assert repository.read_ref(os.fsdecode(ODD[4])) == tip
            assert [each.space for each in spaces_in(repository.git, bare=True)] == [SPACE]
        whole(path)
    backup(server, dest)
    doctor = subprocess.run(
        [sys.executable, "-m", "shardd.cli.main", "--dir", str(server.root), "doctor", "--json"],
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in doctor.stderr
    assert doctor.stdout.count(b"is none that this repo takes") == len(ODD)
    garden.joinpath("refs/odd").unlink()
    backup(server, dest)
    assert oid(mirror(dest), "refs/odd") is None, "what is no log goes as it came"


def test_what_cannot_be_copied_keeps_nothing_else_from_it(server: ServerDir, dest: Path, tmp_path: Path) -> None:
    backup(server, dest)
    garden = server.repo_path("garden")
    authority = server.authority("garden", FileAccess())
    with authority.place.repository:
        authority.create("second")
    grow(server)
    grow(server, "other")
    kept = oid(garden)
    assert kept is not None
    make_ref(garden, b"refs/heads/wiki/lost", "1" * 40)
    make_ref(garden, b"refs/heads/wiki/torn", "abc")
    (garden / "refs/heads/wiki/empty").touch()
    make_ref(garden, b"refs/heads/wiki/fine", kept)
    (garden / space_ref("third")).write_text(f"ref: {space_ref('second')}\n")
    with pytest.raises(Corrupt) as found:
        backup(server, dest)
    assert "refs/heads/wiki/lost in the repo garden cannot be copied" in found.value.message
    assert f"{space_ref('third')} in the repo garden cannot be copied: it is a symbolic ref" in found.value.message
    assert "refs/heads/wiki/torn in the repo garden cannot be copied" in found.value.message
    assert "refs/heads/wiki/empty in the repo garden cannot be copied" in found.value.message
    assert oid(mirror(dest)) == kept
    assert oid(mirror(dest), space_ref("second")) is not None
    assert oid(mirror(dest), "refs/heads/wiki/fine") == kept
    assert oid(mirror(dest, "other")) == oid(server.repo_path("other"))
    whole(mirror(dest))
    restore(dest, tmp_path / "again")


def test_a_space_that_went_back_keeps_the_others_from_nothing(server: ServerDir, dest: Path) -> None:
    garden = server.repo_path("garden")
    authority = server.authority("garden", FileAccess())
    with authority.place.repository:
        authority.create("second")
    backup(server, dest)
    kept = oid(mirror(dest))
    git(garden, "update-ref", space_ref(SPACE), f"{space_ref(SPACE)}~1")
    with authority.place.repository:
        epoch = authority.change("second", Acquire("alice")).epoch
    with pytest.raises(Corrupt, match="has gone back"):
        backup(server, dest)
    assert oid(mirror(dest)) == kept
    assert oid(mirror(dest), lease_ref("second")) is not None
    assert epoch == 1


def test_a_repo_that_is_gone_is_missed(server: ServerDir, dest: Path, tmp_path: Path) -> None:
    backup(server, dest)
    server.repo_path("garden").rename(tmp_path / "elsewhere")
    grow(server, "other")
    kept = oid(mirror(dest))
    for _ in range(2):
        with pytest.raises(
            Corrupt, match="the whole repo garden is in the backup and no longer on the server"
        ) as found:
            backup(server, dest)
        assert f"move {mirror(dest)} away" in found.value.remedy
    assert oid(mirror(dest, "other")) == oid(server.repo_path("other"))
    assert oid(mirror(dest)) == kept
    restore(dest, tmp_path / "again")
    mirror(dest).rename(tmp_path / "moved")
    backup(server, dest)
    restore(dest, tmp_path / "without")
