"""Git cleaning up by hand (gc, repack, prune), at any speed and any moment: nothing of an append goes with it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dulwich.object_store import DiskObjectStore
from dulwich.pack import PackFileDisappeared

from shardd.authority.authorities import embedded_authority
from shardd.authority.facts import Options, Pusher
from shardd.authority.whole_log import import_events
from shardd.core.codec import genesis
from shardd.core.event import Draft, Head
from shardd.core.jsonl import Numbered
from shardd.core.lease import Acquire, Grant
from shardd.core.policy import Accept, Reject
from shardd.core.refs import Change, space_ref
from shardd.core.refusals import HeadMoved
from shardd.core.roles import FileAccess
from shardd.errors import Corrupt, Unavailable
from shardd.files.crash_points import Point
from shardd.files.space_locks import locked
from shardd.git import aside, kept_packs, pack_writer
from shardd.git import program as storage_git
from shardd.git import repository as storage_repository
from shardd.git.kept_packs import KeptPacks
from shardd.git.pushed_objects import PushedObjects
from shardd.git.repository import Repository
from shardd.logs.git_log import GitLog
from tests.attack.children import Child
from tests.attack.test_crash import SPACE, append, fsck, history
from tests.authorities import commits, embedded, make_repo, push
from tests.drafting import drafts

CLEANING = {
    "repack": ["repack", "-a", "-d", "-q"],
    "prune": ["prune", "--expire=now"],
    "gc": ["gc", "--quiet", "--prune=now"],
}
on_each_cleaning = pytest.mark.parametrize("cleaning", CLEANING.values(), ids=CLEANING)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    path = make_repo(tmp_path / "garden.git")
    with embedded(path) as authority:
        authority.create(SPACE)
        authority.change(SPACE, Acquire("alice"))
    return path


def git(path: Path, *words: str, stdin: bytes = b"") -> str:
    done = subprocess.run(["git", "-C", str(path), *words], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def seqs(path: Path) -> list[int]:
    return [event.seq for event in GitLog(path).events(SPACE)]


def numbered(count: int) -> Iterator[Numbered]:
    when = datetime(2026, 6, 15, 10, tzinfo=UTC)
    for n in range(1, count + 1):
        yield Numbered(n, Draft(type="note", actor="ann", id=f"e{n}", time=when), None, "")


def take_over(path: Path, log: Iterator[Numbered]) -> None:
    with Repository(path) as repository:
        authority = embedded_authority(repository, label="garden", rights=FileAccess)
        import_events(authority, "other", log, Pusher("local", unleased=True), create=True)


def one_event(path: Path) -> None:
    append(path, drafts("alice"))


def batch(path: Path) -> None:
    append(path, drafts("alice", 150))


def pushed(path: Path, count: int = 1) -> None:
    """As git leaves it to proc-receive: what was pushed lies loose in the repo, or in a pack of git's own."""
    with embedded(path) as authority:
        head = authority.existing(SPACE)
        brought = commits(head, "alice", count=count)
        for each in brought:
            assert git(path, "hash-object", "-w", "-t", "commit", "--stdin", stdin=each.raw) == each.oid
        move = Change(space_ref(SPACE), head.oid, brought[-1].oid)
        incoming = PushedObjects(authority.ledger.repository)
        decision = authority.push([move], Options(), lambda: Pusher("alice"), incoming)
        if isinstance(decision, Reject):
            raise decision.error()


def pushed_many(path: Path) -> None:
    pushed(path, 70)


def notes(path: Path) -> None:
    """A push to a ref whose commits are ordinary ones."""
    blob = git(path, "hash-object", "-w", "--stdin", stdin=b"a note")
    tree = git(path, "mktree", stdin=f"100644 blob {blob}\tnote\n".encode())
    oid = git(path, "commit-tree", tree, "-m", "notes")
    with embedded(path) as authority:
        assert isinstance(push(authority, "alice", [Change("refs/notes/alice", None, oid)]), Accept)


def lease(path: Path) -> None:
    with embedded(path) as authority:
        authority.change(SPACE, Grant("bob", force=True))


WRITES: dict[str, Callable[[Path], None]] = {
    each.__name__: each for each in (one_event, batch, pushed, pushed_many, notes, lease)
}
on_each_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)


def at(monkeypatch: pytest.MonkeyPatch, point: Point, act: Callable[[], object]) -> list[object]:
    """Act whenever this process comes to `point` of a ref move; what came of it."""
    done: list[object] = []

    def reached(here: Point) -> None:
        if here is point:
            done.append(act())

    monkeypatch.setattr(storage_repository, "reached", reached)
    return done


@on_each_cleaning
@on_each_write
def test_nothing_goes_between_the_write_and_the_move(
    repo: Path, write: Callable[[Path], None], cleaning: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one_event(repo)
    done = at(monkeypatch, Point.BEFORE_MOVE, lambda: git(repo, *cleaning))
    write(repo)
    assert done
    one_event(repo) if write is not lease else None
    fsck(repo)
    assert seqs(repo)
    assert history(repo)


def test_nothing_of_an_import_goes_between_the_write_and_the_move(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def clean() -> None:
        for cleaning in CLEANING.values():
            git(repo, *cleaning)

    done = at(monkeypatch, Point.BEFORE_MOVE, clean)
    take_over(repo, numbered(150))
    assert done
    assert [event.seq for event in GitLog(repo).events("other")] == list(range(1, 151))
    fsck(repo)


@contextmanager
def slow_prune(path: Path) -> Iterator[None]:
    """A `git prune` that has looked what is reachable, and is still removing when the block ends."""
    litter = path / "objects" / "00"
    litter.mkdir(exist_ok=True)
    for number in range(400):
        (litter / f"{number:038x}").write_bytes(b"")
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    # Its reports fill the pipe, and it waits for somebody to read them, with most of its work before it.
    child = subprocess.Popen(
        ["git", "-C", str(path), "prune", "--expire=now", "--verbose"], stdout=write, stderr=subprocess.DEVNULL
    )
    os.close(write)
    deadline = time.monotonic() + 60
    while len(list(litter.iterdir())) == 400:
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.005)
    try:
        yield
    finally:
        assert child.poll() is None
        while os.read(read, 4096):
            pass
        os.close(read)
        assert child.wait() == 0
    assert not litter.exists()


@on_each_write
def test_nothing_is_taken_by_a_prune_that_looked_before_the_move(repo: Path, write: Callable[[Path], None]) -> None:
    one_event(repo)
    with slow_prune(repo):
        write(repo)
    fsck(repo)
    one_event(repo) if write is not lease else None
    assert seqs(repo)


@contextmanager
def slow_repack(path: Path, folder: Path) -> Iterator[None]:
    """A `git repack -a -d` that has looked what is reachable, and removes the old packs when the block ends."""
    programs = Path(subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip())
    folder.mkdir()
    for program in programs.iterdir():
        if program.name != "git":
            (folder / program.name).symlink_to(program)
    ready, go = folder / "ready", folder / "go"
    os.mkfifo(ready)
    os.mkfifo(go)
    real = shutil.which("git")
    waits = f'if [ "$1" = pack-objects ]; then {real} "$@"; echo >{ready}; read -r word <{go}; exit 0; fi'
    (folder / "git").write_text(f'#!/bin/sh\n{waits}\nexec {real} "$@"\n')
    (folder / "git").chmod(0o755)
    words = ["git", "-C", str(path), "repack", "-a", "-d", "-q"]
    child = subprocess.Popen(words, env={**os.environ, "GIT_EXEC_PATH": str(folder)})
    ready.read_text()
    try:
        yield
    finally:
        go.write_text("on\n")
        assert child.wait() == 0


@on_each_write
def test_nothing_is_taken_by_a_repack_that_looked_before_the_move(
    repo: Path, write: Callable[[Path], None], tmp_path: Path
) -> None:
    one_event(repo)
    with slow_repack(repo, tmp_path / "programs"):
        write(repo)
    fsck(repo)
    one_event(repo) if write is not lease else None
    assert seqs(repo)


@pytest.mark.parametrize("count", [1, 150])
def test_a_retry_does_not_stand_on_what_a_repack_is_about_to_take(repo: Path, tmp_path: Path, count: int) -> None:
    """The same bytes lie there already, from an append that was killed, and a repack has noted them as garbage."""
    events = drafts("alice", count)
    assert Child(lambda say: say(len(append(repo, events))), kill_at=Point.BEFORE_MOVE).ends().killed
    for keep, _ in kept_packs.keeps(repo):
        kept_packs.discard(keep)
    with slow_repack(repo, tmp_path / "programs"), slow_prune(repo):
        assert len(append(repo, events)) == count
    fsck(repo)
    assert seqs(repo) == list(range(1, count + 1))


# --- keeps


def test_a_pack_is_kept_until_its_ref_has_moved(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = at(monkeypatch, Point.BEFORE_MOVE, lambda: [locks for _, locks in kept_packs.keeps(repo)])
    one_event(repo)
    assert done == [[frozenset({SPACE})]]
    assert not list(repo.glob("objects/pack/*.keep"))

    def fail() -> None:
        raise Unavailable("no")

    at(monkeypatch, Point.BEFORE_MOVE, fail)
    with pytest.raises(Unavailable):
        one_event(repo)
    assert not list(repo.glob("objects/pack/*.keep"))


@pytest.mark.parametrize("count", [1, 150])
def test_the_keep_of_a_killed_append_goes_with_the_next_one_of_its_space_alone(repo: Path, count: int) -> None:
    with embedded(repo) as authority:
        authority.create("other")
    events = drafts("alice", count)
    assert Child(lambda say: say(len(append(repo, events))), kill_at=Point.BEFORE_MOVE).ends().killed
    (keep,) = repo.glob("objects/pack/*.keep")
    keep.with_suffix(".idx").unlink()  # as if it had been killed a moment before
    with embedded(repo) as authority:
        authority.change("other", Acquire("alice"))
    assert keep.exists() and keep.with_suffix(".pack").exists()
    assert [event.seq for event in append(repo, events)] == list(range(1, count + 1))
    assert not list(repo.glob("objects/pack/*.keep"))
    assert not keep.with_suffix(".pack").exists()
    fsck(repo)


def test_a_killed_append_leaves_no_other_file(repo: Path) -> None:
    before = set(repo.glob("objects/**/*"))
    events = drafts("alice", 150)
    assert Child(lambda say: say(len(append(repo, events))), kill_at=Point.BEFORE_MOVE).ends().killed
    left = {path.suffix for path in set(repo.glob("objects/**/*")) - before if path.is_file()}
    assert left == {".keep", ".pack", ".idx"}


def test_a_refused_write_leaves_no_half_of_a_pack(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk each further try would take what is left of it."""
    before = set(repo.glob("objects/pack/*"))

    def full(path: Path, data: bytes, **_: object) -> None:
        path.write_bytes(data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kept_packs, "write_new", full)
    with pytest.raises(Unavailable, match=r"No space left.*make room on that disk"):
        one_event(repo)
    assert set(repo.glob("objects/pack/*")) == before


def test_the_keep_of_anybody_who_may_push_is_known(repo: Path) -> None:
    with KeptPacks(repo, [f"@notes-{'p' * 63}", "@refs"]) as its:
        its.write([genesis("other")])
        assert [locks for _, locks in kept_packs.keeps(repo)] == [frozenset({f"@notes-{'p' * 63}", "@refs"})]


def test_a_folder_aside_is_nobodys_once_its_maker_is_gone(tmp_path: Path) -> None:
    with aside.aside(tmp_path) as mine, aside.aside(tmp_path) as other:
        assert mine.is_dir() and other.is_dir()
    assert not aside.folders(tmp_path)

    def job(say: Callable[[object], None]) -> None:
        with aside.aside(tmp_path):
            say("ready")
            time.sleep(600)

    child = Child(job)
    assert child.hears() == "ready"
    (left,) = aside.folders(tmp_path)
    assert not aside.clear(left)
    child.kill()
    assert child.ends().killed
    with aside.aside(tmp_path):
        assert not left.exists()


def test_an_import_whose_packs_went_missing_is_refused(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody cleaned up where they were made: never a log that lacks its first part."""
    monkeypatch.setattr(pack_writer, "_MOST", 40)

    def log() -> Iterator[Numbered]:
        for each in numbered(150):
            if each.seq == 140:
                next(repo.glob("shardd/aside-*/pack/*.pack")).unlink()
            yield each

    with pytest.raises(Unavailable, match="went missing"):
        take_over(repo, log())
    assert GitLog(repo).head("other") is None
    fsck(repo)


# --- many small packs


@pytest.mark.slow
def test_many_appends_make_few_packs_and_a_reader_loses_none(repo: Path) -> None:
    one_event(repo)
    with Repository(repo) as reader:
        first = reader.read_ref(space_ref(SPACE)) or ""
        assert reader.commit(first)
        for _ in range(300):
            one_event(repo)
        packs = list(repo.glob("objects/pack/*.pack"))
        assert len(packs) < 3 * 16
        assert not [path for path in repo.glob("objects/??/*") if path.is_file()]
        newest = reader.read_ref(space_ref(SPACE)) or ""
        assert len(reader.chain(newest, None, at_most=400)[0]) == 302
    assert seqs(repo) == list(range(1, 302))
    fsck(repo)
    git(repo, "gc", "--quiet")
    assert len(list(repo.glob("objects/pack/*.pack"))) == 1
    assert seqs(repo) == list(range(1, 302))


def test_packs_are_gathered_by_one_at_a_time_and_nobody_waits(repo: Path) -> None:
    with locked(repo / "shardd" / "locks", [kept_packs.PACKS]):
        for _ in range(20):
            one_event(repo)
        assert len(list(repo.glob("objects/pack/*.pack"))) > 20
    one_event(repo)
    assert len(list(repo.glob("objects/pack/*.pack"))) < 16
    fsck(repo)


def test_large_packs_are_not_gathered(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gathers has them all in memory."""
    monkeypatch.setattr(kept_packs, "_LARGEST", 100)
    for _ in range(20):
        one_event(repo)
    assert len(list(repo.glob("objects/pack/*.pack"))) > 20


def test_a_pack_whose_keep_a_look_at_the_folder_has_missed_is_not_gathered(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows a name that was added while it went on, and not one that was there earlier."""
    with KeptPacks(repo, ["other"]) as its:
        its.write([genesis("other")])
        (keep,) = repo.glob("objects/pack/*.keep")
        looked = kept_packs.listing
        monkeypatch.setattr(kept_packs, "listing", lambda folder: looked(folder) - {keep.name})
        for _ in range(20):
            one_event(repo)
        assert keep.with_suffix(".idx").exists()
        assert len(list(repo.glob("objects/pack/*.pack"))) < 16


def test_packs_that_do_not_read_are_not_gathered(repo: Path) -> None:
    one_event(repo)
    for index in repo.glob("objects/pack/*.idx"):
        pack = index.with_suffix(".pack")
        pack.chmod(0o644)
        raw = bytearray(pack.read_bytes())
        raw[-25] ^= 1
        pack.write_bytes(raw)
    damaged = set(repo.glob("objects/pack/*.pack"))
    for _ in range(20):
        with embedded(repo) as authority:
            authority.create(f"s{_}")
    assert damaged <= set(repo.glob("objects/pack/*.pack"))


# --- reading beside it


def test_what_dulwich_raises_is_one_of_our_errors(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_event(repo)
    oid = git(repo, "rev-parse", space_ref(SPACE))
    git(repo, "repack", "-a", "-d", "-q")  # from here on git's own pack, which dulwich reads
    failing: list[Exception] = []
    with closing(DiskObjectStore(str(repo / "objects"))) as store:
        gone = PackFileDisappeared(store.packs[0])
    real = DiskObjectStore.get_raw

    def get_raw(store: DiskObjectStore, name: bytes) -> object:
        if failing:
            raise failing.pop()
        return real(store, name)  # type: ignore[arg-type]

    monkeypatch.setattr(DiskObjectStore, "get_raw", get_raw)
    with Repository(repo) as repository:
        failing += [gone] * 2
        assert repository.commit(oid), "looked for again"
        for error, ours in (
            (gone, Unavailable),
            (FileNotFoundError(2, "gone"), Unavailable),
            (PermissionError(13, "no"), Unavailable),
            (AssertionError("not a pack"), Corrupt),
            (ValueError("torn"), Corrupt),
        ):
            failing[:] = [error] * 20
            with pytest.raises(ours):
                repository.commit(oid)
            failing.clear()
        failing += [KeyError(oid)]
        assert repository.commit(oid), "it may have moved between two looks"
        with pytest.raises(Corrupt, match="is missing"):
            repository.commit("1" * 40)


def test_a_reader_finds_again_what_a_repack_has_moved(repo: Path) -> None:
    for _ in range(3):
        one_event(repo)
    git(repo, "repack", "-a", "-d", "-q")
    with Repository(repo) as reader:
        oids = git(repo, "rev-list", space_ref(SPACE)).split()
        assert reader.commit(oids[0])
        for _ in range(3):
            one_event(repo)
            git(repo, "repack", "-a", "-d", "-f", "-q")
            assert all(reader.commit(oid) for oid in oids)
            assert all(reader.has(oid) for oid in oids)


# --- the first append


@pytest.mark.parametrize("point", [Point.AFTER_LOCK, Point.AFTER_DECIDE, Point.BEFORE_MOVE])
def test_a_killed_first_append_creates_no_space(tmp_path: Path, point: Point) -> None:
    path = tmp_path / "log.git"
    ending = Child(lambda say: say(GitLog(path).append(SPACE, "note", id="one").seq), kill_at=point).ends()
    assert ending.killed
    assert GitLog(path).head(SPACE) is None
    assert GitLog(path).append(SPACE, "note", id="one", expected="absent").seq == 1
    fsck(path)


def test_the_ref_of_a_space_first_stands_at_an_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.git"
    stood: list[Head | None] = []
    real = storage_git.Git.move_refs

    def move_refs(self: storage_git.Git, *words: object, **more: object) -> None:
        real(self, *words, **more)  # type: ignore[arg-type]
        stood.append(GitLog(path).head(SPACE))

    monkeypatch.setattr(storage_git.Git, "move_refs", move_refs)
    made = GitLog(path).append(SPACE, "note")
    assert stood == [Head(1, made.oid)]
    with pytest.raises(HeadMoved):
        GitLog(path).append(SPACE, "note", expected="absent")


@pytest.mark.parametrize(
    ("killed", "how"),
    [
        ("rev-list", "true"),
        ("cat-file --batch", "true"),
        ("cat-file --batch", "printf 0123456789"),
        ("rev-list", "printf 1"),
    ],
)
def test_a_git_that_was_killed_while_it_read_says_nothing_of_the_log(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: str, how: str
) -> None:
    """By whoever needed its memory, for instance: the log is as it was."""
    append(repo, drafts("alice", 3))
    bin = tmp_path / "bin"
    bin.mkdir()
    git = shutil.which("git")
    (bin / "git").write_text(f'#!/bin/sh\ncase "$*" in *"{killed}"*) {how}; kill -9 $$;; esac\nexec {git} "$@"\n')
    (bin / "git").chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setattr(storage_git, "executable", lambda: str(bin / "git"))
        with pytest.raises(Unavailable, match="was ended by SIGKILL"):
            list(GitLog(repo).events(SPACE))
    assert len(list(GitLog(repo).events(SPACE))) == 3
