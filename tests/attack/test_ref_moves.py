"""Moving refs: beside a git that others run at any speed, by a git that is killed, under a lock that was lost."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path

import pytest

from shardd.authority.appending import append_drafts
from shardd.authority.authorities import EmbeddedAuthority
from shardd.authority.facts import Pusher
from shardd.authority.ledger import Effects
from shardd.authority.receive import Receiver
from shardd.core.hook_protocol import FLUSH, packet
from shardd.core.lease import Acquire, Grant, Release, Renew
from shardd.core.objects import commit_oid
from shardd.core.policy import Accept
from shardd.core.push_facts import Candidate
from shardd.core.refs import Change, lease_ref, space_ref
from shardd.errors import SharddError, Unavailable
from shardd.files.crash_points import Point
from shardd.files.space_locks import PACKED_REFS, Lock, locked
from shardd.git import program as storage_git
from shardd.git import ref_locks
from shardd.git import repository as storage_repository
from shardd.git.kept_packs import KeptPacks
from shardd.git.repository import NEAR, Repository
from shardd.upkeep.repo_checkup import examine_repo
from tests.attack import slow_git
from tests.attack.children import Child
from tests.attack.test_crash import SPACE, append, fsck, history
from tests.authorities import RIGHTS, bring, commits, embedded, make_repo, push
from tests.drafting import drafts
from tests.e2e.needs import need

REF = space_ref(SPACE)
OTHER = "other"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """HEAD points at the space; alice holds it and the other one under epoch 1."""
    path = make_repo(tmp_path / "garden.git")
    with embedded(path) as authority:
        for space in (SPACE, OTHER):
            authority.create(space)
            authority.change(space, Acquire("alice"))
    return path


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Git gives up at once where another holds a ref."""
    short = {name: "50" if value == "5000" else value for name, value in storage_git._PATIENT.items()}
    monkeypatch.setattr(storage_git, "_PATIENT", short)


def seq(path: Path, space: str = SPACE) -> int:
    with embedded(path) as authority:
        return authority.existing(space).seq


def lock_files(path: Path) -> list[str]:
    return sorted(str(lock.relative_to(path)) for lock in path.rglob("*.lock"))


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


# --- beside another git


@pytest.mark.parametrize(
    "command", [["pack-refs", "--all", "--prune"], ["gc", "--quiet", "--prune=now"]], ids=lambda words: words[0]
)
@pytest.mark.usefixtures("impatient")
def test_a_push_beside_a_git_that_stalls_while_it_packs_the_ref_is_not_lost(repo: Path, command: list[str]) -> None:
    """It has locked the ref and found it packed as it stands, and takes its time to remove the loose one."""
    strace = need("strace")
    append(repo, drafts("alice"))
    stalls = [strace, "-qq", "-f", "-o", os.devnull, "-P", REF, "-P", f"./{REF}", "-P", str(repo / REF)]
    stalls += ["-e", "trace=unlink,unlinkat", "-e", "inject=unlink,unlinkat:delay_enter=1000000000"]
    acknowledged = 1
    with subprocess.Popen([*stalls, "git", *command], cwd=repo, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        until(lambda: (repo / f"{REF}.lock").exists())
        with suppress(Unavailable):
            acknowledged = append(repo, drafts("alice"))[0].seq
        assert (repo / REF).exists(), "it stalls"
        other.kill()  # strace alone: what it delays goes on
        other.stdout.read()
    assert not (repo / REF).exists()
    assert seq(repo) == acknowledged
    assert append(repo, drafts("alice"))[0].seq == acknowledged + 1
    fsck(repo)


def test_a_lock_that_git_holds_for_a_moment_is_waited_for(repo: Path) -> None:
    lock = repo / f"{REF}.lock"
    lock.touch()

    def job(say: Callable[[object], None]) -> None:
        say("ready")
        say(append(repo, drafts("alice"))[0].seq)

    child = Child(job)
    assert child.hears() == "ready"
    assert lock.exists()
    lock.unlink()
    assert child.ends().said == [1]


@pytest.mark.parametrize("left", [f"{REF}.lock", f"{lease_ref(SPACE)}.lock", "HEAD.lock"])
@pytest.mark.usefixtures("impatient")
def test_a_lock_of_another_git_is_waited_for_and_never_removed(repo: Path, left: str) -> None:
    (repo / left).touch()
    with pytest.raises(Unavailable, match=f"another git holds {left} in .*ten minutes"):
        append(repo, drafts("alice"))
    assert lock_files(repo) == [left]
    assert seq(repo) == 0
    (repo / left).unlink()
    assert append(repo, drafts("alice"))[0].seq == 1


@pytest.mark.usefixtures("impatient")
def test_a_lease_call_that_cannot_be_published_never_was(repo: Path) -> None:
    lock = repo / f"{lease_ref(SPACE)}.lock"
    lock.touch()
    with embedded(repo) as authority:
        with pytest.raises(Unavailable, match="another git holds"):
            authority.change(SPACE, Grant("bob", force=True))
        lease = authority.standing(SPACE).tenancy.lease
        assert lease is not None
        assert lease.holder == "alice"
        lock.unlink()
        assert authority.change(SPACE, Grant("bob", force=True)).epoch == 2
    assert [entry.tenure.holder for entry in history(repo)] == ["alice", "bob"]


def test_a_lease_call_is_undone_whose_git_dies_each_time(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored by then, and must not be answered with a no that is a yes."""
    with monkeypatch.context() as patched:
        slow_git.install(tmp_path / "bin", patched, at_commit=f"os.unlink(once); {slow_git.KILLED_BEFORE}")
        with embedded(repo) as authority, pytest.raises(Unavailable):
            authority.change(SPACE, Grant("bob", force=True))
    with embedded(repo) as authority:
        lease = authority.standing(SPACE).tenancy.lease
        assert lease is not None
        assert lease.holder == "alice"
    assert append(repo, drafts("alice"))[0].seq == 1
    assert [entry.tenure.holder for entry in history(repo)] == ["alice"]


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.mark.usefixtures("impatient")
def test_an_old_lock_is_removed_if_no_git_is_at_work(repo: Path) -> None:
    lock = repo / f"{REF}.lock"
    lock.touch()
    age(lock, ref_locks.OLD + 60)
    with subprocess.Popen(["git", "update-ref", "--stdin"], cwd=repo, stdin=subprocess.PIPE) as other:
        until(lambda: Path(f"/proc/{other.pid}/comm").read_bytes() == b"git\n")
        with pytest.raises(Unavailable, match="another git holds"):
            append(repo, drafts("alice"))
        assert lock.exists()
    assert append(repo, drafts("alice"))[0].seq == 1
    for seconds in (0, -3600):  # a clock that was set back makes none old
        lock.touch()
        age(lock, seconds)
        with pytest.raises(Unavailable):
            append(repo, drafts("alice"))
    assert lock.exists()


def test_a_git_that_is_told_of_the_repo_from_elsewhere_is_at_work_there(repo: Path, tmp_path: Path) -> None:
    def work(git_dir: Path) -> bool:
        words = ["git", f"--git-dir={git_dir}", "update-ref", "--stdin"]
        with subprocess.Popen(words, cwd=tmp_path, stdin=subprocess.PIPE) as other:
            until(lambda: Path(f"/proc/{other.pid}/comm").read_bytes() == b"git\n")
            return ref_locks._may_work_in(Path(f"/proc/{other.pid}"), repo)

    assert work(repo)
    assert not work(make_repo(tmp_path / "elsewhere.git"))


def test_the_folders_of_refs_stay_writable(tmp_path: Path) -> None:
    """Our git runs with a umask under which it would make folders that only root can use."""
    repo = make_repo(tmp_path / "garden.git")
    with embedded(repo) as authority:
        authority.create(SPACE)
        (repo / "refs/leases").chmod(0o555)  # as it does where another git has removed it in between
        authority.change(SPACE, Acquire("alice"))
    folders = [path for path in (repo / "refs").rglob("*") if path.is_dir()]
    assert repo / "refs/leases" in folders
    assert all(path.stat().st_mode & 0o200 for path in folders)


# --- by a git that is killed


def test_a_git_that_is_killed_before_it_moves_is_tried_again(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_git.install(tmp_path / "bin", monkeypatch, at_commit=slow_git.KILLED_BEFORE)
    assert append(repo, drafts("alice"))[0].seq == 1
    assert lock_files(repo) == []


def test_the_locks_of_our_killed_git_stop_nobody(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed together with whoever had started it."""
    with monkeypatch.context() as patched:
        slow_git.install(
            tmp_path / "bin", patched, at_commit=f"os.kill(os.getppid(), signal.SIGKILL); {slow_git.KILLED_BEFORE}"
        )
        assert Child(lambda say: say(append(repo, drafts("alice"))[0].seq)).ends(group=True).killed
    assert lock_files(repo) == ["HEAD.lock", f"{REF}.lock", f"{lease_ref(SPACE)}.lock"]
    assert append(repo, drafts("alice"))[0].seq == 1
    assert lock_files(repo) == []


def test_an_event_that_landed_is_not_refused(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_git.install(tmp_path / "bin", monkeypatch, at_end=slow_git.KILLED_AFTER)
    assert append(repo, drafts("alice"))[0].seq == 1
    assert seq(repo) == 1


@pytest.mark.parametrize("both", [False, True])
def test_what_has_moved_is_not_refused_where_its_record_cannot_be_cleared(
    repo: Path, monkeypatch: pytest.MonkeyPatch, both: bool
) -> None:
    write = Lock.write

    def fails(self: Lock, content: bytes, *, durable: bool = False) -> None:
        if not content:
            raise Unavailable("the disk fails")
        write(self, content, durable=durable)

    events = drafts("alice")
    with monkeypatch.context() as patch, embedded(repo) as authority:
        patch.setattr(Lock, "write", fails)
        if both:
            push_to_both(authority)
        else:
            append(repo, events)
    assert seq(repo) == 1
    with embedded(repo) as authority, authority.hold([SPACE]):
        assert (repo / "shardd" / "locks" / SPACE).read_bytes() == b""


def test_a_lease_that_was_taken_is_not_refused(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_git.install(tmp_path / "bin", monkeypatch, at_end=slow_git.KILLED_AFTER)
    with embedded(repo) as authority:
        assert authority.change(SPACE, Grant("bob", force=True)).epoch == 2
    assert [entry.tenure.holder for entry in history(repo)] == ["alice", "bob"]


def store(path: Path, raws: list[bytes]) -> None:
    """As git leaves what was pushed: there, and no ref names it yet."""
    with KeptPacks(path, ["@pushed"]) as kept:
        kept.write(raws)


def push_to_both(authority: EmbeddedAuthority) -> None:
    moves: list[Change] = []
    brought: list[Candidate] = []
    for space in (SPACE, OTHER):
        head = authority.existing(space)
        brought += commits(head, "alice")
        moves.append(Change(space_ref(space), head.oid, brought[-1].oid))
    assert isinstance(push(authority, "alice", moves, brought), Accept)


def test_a_push_to_two_spaces_that_landed_in_part_is_finished(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_git.install(tmp_path / "bin", monkeypatch, at_commit=slow_git.KILLED_BETWEEN.format(then="pass"))
    with embedded(repo) as authority:
        push_to_both(authority)
    assert (seq(repo), seq(repo, OTHER)) == (1, 1)


def killed_in_part(repo: Path, bin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push to two spaces of which the first one has moved."""

    def job(say: Callable[[object], None]) -> None:
        with embedded(repo) as authority:
            push_to_both(authority)
        say("pushed")

    with monkeypatch.context() as patched:
        dying = slow_git.KILLED_BETWEEN.format(then="os.kill(os.getppid(), signal.SIGKILL)")
        slow_git.install(bin, patched, at_commit=dying)
        assert Child(job).ends(group=True).said == []
    drafts("alice", 2)  # passes over the ids that the child has used
    assert (seq(repo), seq(repo, OTHER)) == (1, 0)


@pytest.mark.parametrize("first", [SPACE, OTHER])
def test_a_push_to_two_spaces_that_was_killed_in_part_is_finished_by_whoever_comes_next(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    killed_in_part(repo, tmp_path / "bin", monkeypatch)
    with embedded(repo) as authority, authority.hold([first]):
        pass
    assert (seq(repo), seq(repo, OTHER)) == (1, 1)
    assert lock_files(repo) == []
    assert [path.read_bytes() for path in (repo / "shardd" / "locks").iterdir()] == [b""] * 3


def clean_up(path: Path) -> None:
    """As a `git gc` that an operator runs, with nothing spared."""
    for command in (["repack", "-a", "-d", "-q"], ["prune", "--expire=now"]):
        subprocess.run(["git", *command], cwd=path, check=True)


@pytest.mark.usefixtures("impatient")
def test_what_a_push_has_yet_to_show_outlives_a_git_that_cleans_up(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One space has moved, and another git holds the ref of the second one: the one that is about to clean up."""
    held = repo / f"{space_ref(OTHER)}.lock"
    with monkeypatch.context() as patched, embedded(repo) as authority:
        hold_it = f"os.chmod({str(held)!r}, 0o644)"
        slow_git.install(tmp_path / "bin", patched, at_commit=slow_git.KILLED_BETWEEN.format(then=hold_it))
        with pytest.raises(Unavailable, match="was begun"):
            push_to_both(authority)
    assert (seq(repo), seq(repo, OTHER)) == (1, 0)
    clean_up(repo)
    held.unlink()
    append(repo, drafts("alice"))
    assert (seq(repo), seq(repo, OTHER)) == (2, 1)
    assert not list(repo.glob("objects/pack/*.keep"))
    fsck(repo)


def test_the_doctor_finishes_a_push_before_it_lets_go_of_its_pack(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_in_part(repo, tmp_path / "bin", monkeypatch)
    with embedded(repo) as authority:
        for found in list(examine_repo(authority, hooks="refused")):
            if found.where.endswith(".keep") and found.mend:
                found.mend()
    assert not list(repo.glob("objects/pack/*.keep"))
    clean_up(repo)
    append(repo, drafts("alice"))
    assert (seq(repo), seq(repo, OTHER)) == (2, 1)
    fsck(repo)


def test_a_push_that_cannot_be_finished_blocks_no_space(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_in_part(repo, tmp_path / "bin", monkeypatch)
    for keep in repo.glob("objects/pack/*.keep"):
        keep.unlink()
    clean_up(repo)
    for space in (SPACE, OTHER):
        with embedded(repo) as authority:
            append_drafts(authority, space, drafts("alice"), Pusher("alice"))
    assert (seq(repo), seq(repo, OTHER)) == (2, 1)
    fsck(repo)


def test_a_refused_move_is_not_made_by_the_next_holder_of_the_locks(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody without our locks has moved one of the refs: that is why it was refused, and no part of it."""
    with Repository(repo) as repository:
        base = repository.read_ref(REF)
    with embedded(repo) as authority:
        elsewhere = commits(authority.existing(OTHER), "bob", epoch=1)
        store(repo, [commit.raw for commit in elsewhere])
    by_hand = ["git", "--git-dir", str(repo), "update-ref", space_ref(OTHER), elsewhere[-1].oid]
    with monkeypatch.context() as patched, embedded(repo) as authority:
        slow_git.install(tmp_path / "bin", patched, at_start=f"subprocess.run({by_hand!r}, check=True)")
        with pytest.raises(Unavailable):
            push_to_both(authority)
    with embedded(repo) as authority, authority.hold([SPACE]), Repository(repo) as repository:
        assert repository.read_ref(REF) == base


def test_a_move_of_which_nothing_happened_leaves_no_record(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever comes next to either space would have to wait for the other."""

    def fails(*_: object, **__: object) -> None:
        raise Unavailable("git fails, time and again")

    with monkeypatch.context() as patched, embedded(repo) as authority:
        patched.setattr(storage_git.Git, "move_refs", fails)
        with pytest.raises(Unavailable):
            push_to_both(authority)
    for space in (SPACE, OTHER):
        assert (repo / "shardd" / "locks" / space).read_bytes() == b""


@pytest.mark.parametrize("point", [Point.BEFORE_MOVE, Point.AFTER_MOVE])
def test_a_push_to_two_spaces_that_was_killed_whole_needs_no_finishing(repo: Path, point: Point) -> None:
    events = drafts("alice")

    def job(say: Callable[[object], None]) -> None:
        with embedded(repo) as authority:
            push_to_both(authority)

    assert Child(job, kill_at=point).ends().killed
    landed = int(point is Point.AFTER_MOVE)
    append(repo, events)
    assert (seq(repo), seq(repo, OTHER)) == (1 + landed, landed)


# --- what is found may not be on disk yet


@contextmanager
def synced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths that are synced in the block."""
    paths: list[str] = []
    original = os.fsync

    def fsync(descriptor: int) -> None:
        original(descriptor)
        paths.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        yield paths


@pytest.mark.parametrize("how", ["retried", "renewed", "granted"])
def test_nothing_is_answered_from_what_a_killed_push_left_unsynced(
    repo: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    events = drafts("alice")
    assert Child(lambda say: say(append(repo, events)), kill_at=Point.AFTER_MOVE).ends().killed
    with synced(monkeypatch) as paths, embedded(repo) as authority:
        if how == "retried":
            assert append_drafts(authority, SPACE, events, Pusher("alice"))[0].seq == 1
        elif how == "renewed":
            assert authority.change(SPACE, Renew("alice")).head.seq == 1
        else:
            assert authority.change(SPACE, Grant("bob", force=True)).head.seq == 1
    # The objects were on disk before git was asked to move the ref.
    assert [name for name in (REF, "refs/heads/spaces") if str(repo / name) not in paths] == []
    with synced(monkeypatch) as paths:
        append(repo, events)
    assert paths == [], "once is enough"


def receiver(repo: Path) -> Receiver:
    return Receiver(repo, "garden", lambda: (Pusher("alice"), RIGHTS))


def test_a_push_is_told_of_an_earlier_event_only_when_that_is_on_disk(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = drafts("alice")
    assert Child(lambda say: say(append(repo, events)), kill_at=Point.AFTER_MOVE).ends().killed
    with embedded(repo) as authority:
        head = authority.existing(SPACE)
        again = commits(head, "alice", events=events)[0]
        bring(authority, [again])
    said = [packet("version=1\0push-options atomic"), FLUSH, packet(f"{head.oid} {again.oid} {REF}"), FLUSH, FLUSH]
    answer = BytesIO()
    with synced(monkeypatch) as paths:
        receiver(repo).proc_receive(BytesIO(b"".join(said)), answer)
    assert f"ng {REF} duplicate-event".encode() in answer.getvalue()
    assert str(repo / REF) in paths


@pytest.mark.parametrize("ref", [REF, "refs/notes/alice"])
def test_a_push_whose_objects_were_pruned_on_the_way_is_told_so(repo: Path, ref: str) -> None:
    """A prune by hand may take what git has just taken in: no word about what was pushed would be true."""
    old = (repo / REF).read_text().strip() if ref == REF else "0" * 40
    said = [packet("version=1\0push-options atomic"), FLUSH, packet(f"{old} {'1' * 40} {ref}"), FLUSH, FLUSH]
    answer = BytesIO()
    receiver(repo).proc_receive(BytesIO(b"".join(said)), answer)
    assert f"ng {ref} unavailable: what was pushed is gone".encode() in answer.getvalue()


def told_of(repo: Path, old: str, new: str, ref: str) -> str:
    """What a push hears whose objects are as they are in the repo."""
    said = [packet("version=1\0push-options atomic"), FLUSH, packet(f"{old} {new} {ref}"), FLUSH, FLUSH]
    answer = BytesIO()
    receiver(repo).proc_receive(BytesIO(b"".join(said)), answer)
    return answer.getvalue().decode()


@pytest.mark.parametrize("count", [2, NEAR + 2])
def test_a_push_of_which_a_part_was_pruned_on_the_way_is_told_so(repo: Path, count: int) -> None:
    with embedded(repo) as authority:
        head = authority.existing(SPACE)
        _, *rest = commits(head, "alice", count=count)
    store(repo, [commit.raw for commit in rest])
    assert f"ng {REF} unavailable: " in told_of(repo, head.oid, rest[-1].oid, REF)


def test_notes_of_which_a_part_was_pruned_on_the_way_are_told_so(repo: Path) -> None:
    """The tree that the commit names is gone."""
    author = "alice <alice@example.org> 1750000000 +0000"
    raw = f"tree {'1' * 40}\nauthor {author}\ncommitter {author}\n\nnotes\n".encode()
    store(repo, [raw])
    said = told_of(repo, "0" * 40, commit_oid(raw), "refs/notes/alice")
    assert "ng refs/notes/alice unavailable: " in said


def test_a_push_of_nothing_takes_no_lease(repo: Path) -> None:
    """No git sends one; whoever speaks for himself may."""
    with embedded(repo) as authority:
        authority.change(SPACE, Release("alice"))
    oid = (repo / REF).read_text().strip()
    said = [packet("version=1\0push-options atomic"), FLUSH, packet(f"{oid} {oid} {REF}"), FLUSH]
    answer = BytesIO()
    receiver(repo).proc_receive(BytesIO(b"".join([*said, packet("lease=acquire"), FLUSH])), answer)
    assert f"ok {REF}".encode() in answer.getvalue()
    assert [entry.tenure.epoch for entry in history(repo)] == [1]


# --- a lock that was lost


def replace(path: Path) -> None:
    spare = path.with_name("spare")
    spare.touch()
    spare.replace(path)


def test_a_lock_on_a_file_that_was_replaced_is_none(repo: Path) -> None:
    folder = repo / "shardd" / "locks"
    results: list[bool] = []

    def wait() -> None:
        try:
            with locked(folder, [SPACE], patience=0.5):
                results.append(True)
        except Unavailable:
            results.append(False)

    waiter = threading.Thread(target=wait)
    with ExitStack() as new:
        with locked(folder, [SPACE]):
            waiter.start()
            inode = (folder / SPACE).stat().st_ino
            until(lambda: _open_files().count(inode) == 2)
            replace(folder / SPACE)
            new.enter_context(locked(folder, [SPACE]))
        waiter.join()
    assert results == [False], "the file that it waited for is free, and is not the lock"


def _open_files() -> list[int]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(entry.stat().st_ino)
    return found


@pytest.mark.parametrize("who", ["push", "lease"])
def test_git_itself_fences_off_an_old_epoch_where_a_lock_was_lost(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """Decided under a lock, which somebody else then gets as well, by another file."""
    gate = slow_git.Gate(tmp_path / "gate")

    def job(say: Callable[[object], None]) -> None:
        try:
            if who == "push":
                append(repo, drafts("alice"))
            else:
                with embedded(repo) as authority:
                    authority.change(SPACE, Grant("bob", force=True))
            say("landed")
        except SharddError as error:
            say(type(error).__name__)

    with monkeypatch.context() as patched:
        slow_git.install(tmp_path / "bin", patched, at_start=gate.code)
        child = Child(job)
        stopped = gate.reached()
    replace(repo / "shardd" / "locks" / SPACE)
    if who == "push":
        with embedded(repo) as authority:
            changed = authority.change(SPACE, Grant("bob", force=True))
        assert (changed.epoch, changed.head.seq) == (2, 0)
    else:
        append(repo, drafts("alice"))
    stopped.close()
    assert child.ends().said == ["Unavailable"]
    assert seq(repo) == (0 if who == "push" else 1)
    assert len(history(repo)) == (2 if who == "push" else 1)


def test_a_lock_file_that_was_replaced_while_it_was_held_moves_nothing(repo: Path) -> None:
    with embedded(repo) as authority, authority.hold([SPACE]) as held:
        replace(repo / "shardd" / "locks" / SPACE)
        with pytest.raises(Unavailable, match="was replaced"):
            held.change(SPACE, Grant("bob", force=True))
    with embedded(repo) as authority:
        assert authority.change(SPACE, Release("alice")).epoch == 1


def test_a_stuck_space_does_not_hold_up_another_through_those_who_want_both(repo: Path) -> None:
    folder = repo / "shardd" / "locks"
    wait, go = os.pipe()

    def stick(say: Callable[[object], None]) -> None:
        with locked(folder, [SPACE]):
            say("stuck")
            os.read(wait, 1)

    def wait_for_both(say: Callable[[object], None]) -> None:
        with locked(folder, [OTHER, SPACE]):
            say("both")

    stuck = Child(stick)
    assert stuck.hears() == "stuck"
    both = Child(wait_for_both)
    until(lambda: not _is_free(folder / OTHER))
    try:
        with locked(folder, [OTHER], patience=20):
            assert not _is_free(folder / SPACE)
    finally:
        os.write(go, b".")
        stuck.ends()
        assert both.ends().said == ["both"]
    os.close(wait)
    os.close(go)


def test_a_deletion_that_stands_still_holds_up_no_other_for_long(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one waits with its locks held."""
    intent = f"refs/intents/{OTHER}/alice/x"
    with Repository(repo) as repository:
        base = repository.read_ref(REF)
        repository.move_refs([Change(intent, None, base)])

    def at_once(folder: Path, names: list[str], *, patience: float) -> AbstractContextManager[list[Lock]]:
        assert patience < 10
        return locked(folder, names, patience=0)

    monkeypatch.setattr(storage_repository, "locked", at_once)
    with embedded(repo) as authority, locked(repo / "shardd" / "locks", [PACKED_REFS]):
        with pytest.raises(Unavailable, match="stays taken"), authority.ledger.transaction([OTHER]) as transaction:
            transaction.commit(Effects(refs=[Change(intent, base, None)]))
        append(repo, drafts("alice"))
    with embedded(repo) as authority, authority.ledger.transaction([OTHER]) as transaction:
        transaction.commit(Effects(refs=[Change(intent, base, None)]))


def _is_free(path: Path) -> bool:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
