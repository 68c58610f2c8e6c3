"""What killed processes, full disks and lost files leave behind: the next call puts it in order, or says what to do."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from shardd.authority.appending import append_drafts
from shardd.authority.embedded_repo import prepare
from shardd.authority.facts import Pusher
from shardd.authority.lease_store import LeaseStore
from shardd.authority.ledger import Effects
from shardd.core.event import Head
from shardd.core.journal import encode_entry, entry_of
from shardd.core.lease import Acquire, Grant, OneShot, Release
from shardd.core.objects import commit_oid
from shardd.core.refs import Change, lease_ref, space_ref
from shardd.core.tenancy import Ended, Reason, Tenure
from shardd.errors import Corrupt, Rejected, SharddError, Unavailable
from shardd.files.space_locks import locked
from shardd.git.kept_packs import KeptPacks
from shardd.git.ref_locks import MARK
from shardd.logs.git_log import GitLog
from tests.attack import slow_git
from tests.attack.children import Child
from tests.attack.test_crash import SPACE, append, fsck, history
from tests.authorities import embedded, loosen, make_repo
from tests.drafting import drafts


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """HEAD points at the space; alice holds it under epoch 2 and has appended two events."""
    path = make_repo(tmp_path / "garden.git")
    with embedded(path) as authority:
        authority.create(SPACE)
        authority.change(SPACE, OneShot("bob"))
        authority.change(SPACE, Acquire("alice"))
    append(path, drafts("alice", 2))
    return path


def seq(path: Path) -> int:
    with embedded(path) as authority:
        head = authority.head(SPACE)
        assert head is not None
        return head.seq


def epoch_after_grant(path: Path) -> int:
    with embedded(path) as authority:
        return authority.change(SPACE, Grant("carol", force=True)).epoch


def left_locked(path: Path) -> None:
    """As our git leaves it when it is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o666 & ~MARK)


@pytest.mark.parametrize("left", [f"{space_ref(SPACE)}.lock", f"{lease_ref(SPACE)}.lock", "HEAD.lock"])
def test_a_lock_file_of_a_killed_git_does_not_stop_a_push(repo: Path, left: str) -> None:
    left_locked(repo / left)
    append(repo, drafts("alice"))
    assert seq(repo) == 3
    fsck(repo)


def test_a_lock_file_of_a_killed_git_does_not_stop_a_lease_change(repo: Path) -> None:
    left_locked(repo / f"{lease_ref(SPACE)}.lock")
    assert epoch_after_grant(repo) == 3
    assert [entry.tenure.epoch for entry in history(repo)] == [1, 2, 3]


@pytest.mark.parametrize("left", ["refs/notes/alice.lock", "packed-refs.lock", "packed-refs.new"])
def test_a_lock_file_of_a_killed_git_does_not_stop_a_deletion(repo: Path, left: str) -> None:
    with embedded(repo) as authority, authority.ledger.transaction([], also=["@notes-alice"]) as transaction:
        repository = authority.ledger.repository
        oid = repository.read_ref(space_ref(SPACE))
        transaction.commit(Effects(refs=[Change("refs/notes/alice", None, oid)]))
        left_locked(repo / left)
        transaction.commit(Effects(refs=[Change("refs/notes/alice", oid, None)]))
        assert repository.read_ref("refs/notes/alice") is None


def test_a_lock_file_stops_a_new_space_no_more_than_a_push(repo: Path) -> None:
    left_locked(repo / "refs/heads/spaces/other.lock")
    with embedded(repo) as authority:
        assert authority.create("other") == authority.head("other")


def test_the_lock_files_of_others_are_left_alone(repo: Path) -> None:
    others = [repo / "refs/heads/spaces/other.lock", repo / "refs/heads/main.lock", repo / "packed-refs.lock"]
    for other in others:
        left_locked(other)
    left_locked(repo / f"{space_ref(SPACE)}.lock")
    append(repo, drafts("alice"))
    assert all(other.exists() for other in others)


def test_git_keeps_the_lock_of_a_space_when_we_die(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between git's start and its end: nobody else gets in before that git is done."""
    gate = slow_git.Gate(tmp_path / "gate")
    events = drafts("alice")
    with monkeypatch.context() as patched:
        slow_git.install(tmp_path / "bin", patched, at_commit=gate.code)
        child = Child(lambda say: say(append(repo, events)))
        stopped = gate.reached()
    child.kill()
    assert child.ends().said == []
    with pytest.raises(Unavailable, match="stays taken"), locked(repo / "shardd" / "locks", [SPACE], patience=0.2):
        pytest.fail("the space was free while a git was about to move its ref")
    assert seq(repo) == 2
    stopped.close()
    with locked(repo / "shardd" / "locks", [SPACE], patience=20):
        assert seq(repo) == 3
    assert append(repo, events)[0].seq == 3


# --- the index


def garbage(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + os.urandom(4000))


def nonsense(path: Path) -> None:
    path.write_text("not a database at all, and long enough to be read as one " * 20)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def torn(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[4096:] = os.urandom(len(raw) - 4096)
    path.write_bytes(raw)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def missing(path: Path) -> None:
    path.unlink()


def hot_journal(path: Path) -> None:
    nonsense(path)
    path.with_name(f"{path.name}-journal").write_bytes(os.urandom(2000))


def of_the_future(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


DAMAGE = [garbage, nonsense, truncated, torn, empty, missing, hot_journal, of_the_future]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_index_is_made_anew_at_once(repo: Path, damage: Callable[[Path], None]) -> None:
    one = drafts("alice")
    append(repo, one)
    damage(repo / "shardd/index/whynot.db")
    assert append(repo, one)[0].seq == 3, "known by its id"
    assert append(repo, drafts("alice"))[0].seq == 4


def test_an_index_that_is_behind_catches_up(repo: Path) -> None:
    index = repo / "shardd" / "index"
    old = repo.parent / "index"
    shutil.copytree(index, old)
    events = drafts("alice", 5)
    append(repo, events)
    append(repo, drafts("alice"))
    shutil.rmtree(index)
    old.rename(index)
    assert append(repo, events)[-1].seq == 7
    assert seq(repo) == 8


def test_an_index_of_another_history_is_not_believed(repo: Path, tmp_path: Path) -> None:
    """A restore put other refs under the index: what is gone is no duplicate, and what is there is."""
    twin = tmp_path / "twin.git"
    shutil.copytree(repo, twin)
    gone, there = drafts("alice", 3), drafts("alice", 90)
    append(twin, gone)
    append(repo, there)
    with embedded(twin) as authority, authority.hold([SPACE]) as held:
        assert len(held.find(SPACE, authority.existing(SPACE), [event.id for event in gone])) == 3
    shutil.rmtree(repo / "shardd" / "index")
    shutil.copytree(twin / "shardd" / "index", repo / "shardd" / "index")
    shutil.copytree(twin / "objects", repo / "objects", dirs_exist_ok=True)  # so that its head is here, and a stranger
    assert append(repo, there)[-1].seq == 92
    assert [event.seq for event in append(repo, gone)] == [93, 94, 95]


def test_an_index_that_ran_ahead_of_a_restored_log(repo: Path) -> None:
    before = (repo / space_ref(SPACE)).read_text()
    events = drafts("alice", 3)
    append(repo, events)
    (repo / space_ref(SPACE)).write_text(before)
    assert seq(repo) == 2
    assert [event.seq for event in append(repo, events)] == [3, 4, 5]


# --- the leases


def test_a_lost_file_ends_leases_and_never_takes_an_epoch_back(repo: Path) -> None:
    (repo / "shardd/leases/whynot").unlink()
    with embedded(repo) as authority:
        with pytest.raises(Rejected) as refused:
            append_drafts(authority, SPACE, drafts("alice"), Pusher("alice"))
        assert refused.value.code == "not-holder"
        assert "ended when the repo was restored" in refused.value.message
    assert epoch_after_grant(repo) == 3
    entries = history(repo)
    assert [entry.tenure.epoch for entry in entries] == [1, 2, 3]
    assert entries[-1].tenure.previous is Ended.RESTORED


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def of_another_space(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"whynot", b"another"))


@pytest.mark.parametrize(
    "damage", [nonsense, garbage, cut_short, empty, of_another_space], ids=lambda damage: damage.__name__
)
def test_damaged_leases_refuse_everything_in_their_space_and_say_what_mends_it(
    repo: Path, damage: Callable[[Path], None]
) -> None:
    path = repo / "shardd/leases/whynot"
    damage(path)
    with embedded(repo) as authority:
        for call in (lambda: authority.standing(SPACE), lambda: epoch_after_grant(repo)):
            with pytest.raises(Corrupt, match="move the file away: the lease of whynot ends"):
                call()
        authority.create("other")
        assert authority.change("other", Acquire("bob")).epoch == 1
    with pytest.raises(Corrupt):
        append(repo, drafts("alice"))
    path.rename(repo.parent / "damaged")
    assert epoch_after_grant(repo) == 3


def test_looking_makes_no_leases(tmp_path: Path) -> None:
    path = make_repo(tmp_path / "garden.git")
    with embedded(path) as authority:
        assert authority.standing(SPACE).head is None
    assert not (path / "shardd" / "leases").exists()


def test_leases_from_a_newer_shardd_are_not_touched(repo: Path) -> None:
    path = repo / "shardd/leases/whynot"
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":3'))
    raw = path.read_bytes()
    with pytest.raises(Corrupt, match="newer shardd"):
        epoch_after_grant(repo)
    assert path.read_bytes() == raw


def test_an_older_file_does_not_bring_its_lease_back(repo: Path) -> None:
    path = repo / "shardd/leases/whynot"
    old = path.read_bytes()
    assert epoch_after_grant(repo) == 3
    path.write_bytes(old)
    with pytest.raises(Rejected) as refused:
        append(repo, drafts("alice"))
    assert refused.value.code == "not-holder"
    assert epoch_after_grant(repo) == 4


# --- the database of the first shardd


def as_the_first_shardd_kept_it(repo: Path, *spaces: str) -> Path:
    """The leases of these spaces in its one database, and nowhere else."""
    path = repo / "shardd" / "authority.db"
    store = LeaseStore(repo / "shardd")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "CREATE TABLE space (space TEXT PRIMARY KEY, tenancy BLOB NOT NULL, journal TEXT, entry BLOB, frozen TEXT) "
            "WITHOUT ROWID"
        )
        connection.execute("CREATE TABLE clock (one INTEGER PRIMARY KEY, boot TEXT, uptime INTEGER, time INTEGER)")
        connection.execute("PRAGMA user_version = 1")
        for space in spaces:
            record, mark = store.look(space)
            assert record is not None
            assert mark is not None
            row = (space, msgspec.json.encode(record.tenancy), record.journal, record.entry, record.frozen)
            connection.execute("INSERT INTO space VALUES (?, ?, ?, ?, ?)", row)
            connection.execute("REPLACE INTO clock VALUES (1, ?, ?, ?)", (mark.boot, mark.uptime, mark.time))
            store.path(space).unlink()
    return path


def test_the_database_of_the_first_shardd_counts_until_a_space_has_a_file(repo: Path) -> None:
    with embedded(repo) as authority:
        authority.create("other")
        authority.change("other", Acquire("bob"))
        authority.freeze("other", "moving")
    database = as_the_first_shardd_kept_it(repo, SPACE, "other")
    with embedded(repo) as authority:
        lease = authority.standing(SPACE).tenancy.lease
        assert lease is not None
        assert (lease.holder, lease.epoch) == ("alice", 2)
        assert authority.standing("other").frozen == "moving"
        assert authority.held_by("bob") == ["other"]
    raw = database.read_bytes()
    assert append(repo, drafts("alice"))[0].seq == 3
    assert epoch_after_grant(repo) == 3
    assert [entry.tenure.epoch for entry in history(repo)] == [1, 2, 3]
    assert database.read_bytes() == raw, "nobody writes it any more"
    with embedded(repo) as authority:
        assert authority.change("other", Grant("carol", force=True)).epoch == 2
        assert authority.standing("other").frozen == "moving"
        assert not database.exists(), "each space in it has a file now"
        assert authority.held_by("carol") == ["other", SPACE]
        entries = list(authority.history("other"))
    assert [entry.tenure.previous for entry in entries] == [Ended.FIRST, Ended.REVOKED]


@pytest.mark.parametrize("damage", [nonsense, garbage, of_the_future], ids=lambda damage: damage.__name__)
def test_a_damaged_database_of_the_first_shardd(repo: Path, damage: Callable[[Path], None]) -> None:
    with embedded(repo) as authority:
        authority.create("other")
    database = as_the_first_shardd_kept_it(repo, SPACE)
    damage(database)
    with pytest.raises(Corrupt, match=r"move the file away|newer shardd"):
        append(repo, drafts("alice"))
    with embedded(repo) as authority:
        assert authority.change("other", Acquire("bob")).epoch == 1, "which has a file"
    database.unlink()
    assert epoch_after_grant(repo) == 3


def test_a_journal_that_lags_is_published_before_anything_else(repo: Path) -> None:
    behind = (repo / lease_ref(SPACE)).read_text()
    assert epoch_after_grant(repo) == 3
    published = (repo / lease_ref(SPACE)).read_text()
    (repo / lease_ref(SPACE)).write_text(behind)
    (loosen(repo) / "objects" / published[:2] / published[2:].strip()).unlink()
    with embedded(repo) as authority, authority.hold([SPACE]):
        pass
    assert (repo / lease_ref(SPACE)).read_text() == published
    assert [entry.tenure.holder for entry in history(repo)] == ["bob", "alice", "carol"]
    fsck(repo)


def test_a_journal_that_was_deleted_is_published_again(repo: Path) -> None:
    published = (repo / lease_ref(SPACE)).read_text()
    (repo / lease_ref(SPACE)).unlink()
    append(repo, drafts("alice"))
    assert (repo / lease_ref(SPACE)).read_text() == published


def test_a_journal_whose_past_is_gone_goes_on_above_the_store(repo: Path) -> None:
    """Refs and objects came back from an older backup, the database did not: its lease is over."""
    oldest = history(repo)[0]
    raw = encode_entry(oldest, parent=None)
    for _ in range(3):
        newest = epoch_after_grant(repo)
    loosen(repo)
    with embedded(repo) as authority:
        repository = authority.ledger.repository
        for oid, _ in list(repository.history(repository.read_ref(lease_ref(SPACE)) or ""))[1:]:
            (repo / "objects" / oid[:2] / oid[2:]).unlink()
    (repo / lease_ref(SPACE)).write_text(f"{commit_oid(raw)}\n")
    with embedded(repo) as authority:
        with pytest.raises(Rejected):
            append_drafts(authority, SPACE, drafts("carol"), Pusher("carol"))
        assert [e.tenure.reason for e in authority.history(SPACE)] == [Reason.ACQUIRE, Reason.RESTORE]
    assert epoch_after_grant(repo) == newest + 2
    fsck(repo)


def test_a_journal_that_is_no_journal_is_corrupt(repo: Path) -> None:
    (repo / lease_ref(SPACE)).write_text((repo / space_ref(SPACE)).read_text())
    with pytest.raises(Corrupt, match="refs/leases/whynot"):
        epoch_after_grant(repo)


def test_a_foreign_journal_entry_above_ours_ends_our_lease(repo: Path) -> None:
    """An epoch that we do not know was given out by somebody: nothing from before it may append."""
    with embedded(repo) as authority:
        repository = authority.ledger.repository
        published = repository.read_ref(lease_ref(SPACE))
        tenure = Tenure(9, "dave", 1_781_517_600_000, Reason.GRANT, Ended.REVOKED)
        raw = encode_entry(entry_of(tenure, Head(2, "1" * 40)), parent=published)
        KeptPacks(repo, []).write([raw])
        repository.move_refs([Change(lease_ref(SPACE), published, commit_oid(raw))])
    with pytest.raises(Rejected):
        append(repo, drafts("alice"))
    assert epoch_after_grant(repo) == 10


# --- spaces and repos half made


def test_a_space_whose_creation_was_killed_is_created_by_the_next_try(tmp_path: Path) -> None:
    path = make_repo(tmp_path / "garden.git")

    def create(say: Callable[[object], None]) -> None:
        with embedded(path) as authority:
            authority.create(SPACE)

    for point in ("after-lock", "before-move"):
        assert Child(create, kill_at=point).ends().killed
    with embedded(path) as authority:
        assert authority.head(SPACE) is None
        authority.create("other")
        authority.create(SPACE)
    assert (path / "HEAD").read_text() == "ref: refs/heads/spaces/other\n"
    fsck(path)


def test_a_killed_git_config_does_not_stop_the_making_of_an_embedded_repo(tmp_path: Path) -> None:
    path = make_repo(tmp_path / "garden.git")
    (path / "config").write_text("[core]\n\tbare = true\n\trepositoryformatversion = 0\n")
    (path / "config.lock").write_text("half")
    prepare(path)
    assert GitLog(path).append(SPACE, "page.bound").seq == 1


# --- disks


LIMITS = [0, 40, 100, 200, 400, 1_000, 4_096, 8_192, 12_288, 16_384, 40_000]


@pytest.mark.parametrize("limit", LIMITS)
def test_a_full_disk_refuses_and_nothing_is_torn(repo: Path, limit: int) -> None:
    """No file may grow beyond so many bytes: each write in turn is the one that fails."""
    events = drafts("alice", 3)
    with embedded(repo) as authority:
        authority.change(SPACE, Release("alice"))
        authority.change(SPACE, Acquire("alice"))

    def attempt(say: Callable[[object], None], work: Callable[[], object]) -> None:
        try:
            say(("done", work()))
        except SharddError as error:
            say((type(error).__name__, str(error)))

    def job(say: Callable[[object], None]) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        attempt(say, lambda: len(append(repo, events)))
        attempt(say, lambda: epoch_after_grant(repo))

    (appended, what), (changed, epoch) = Child(job).ends().said
    assert {appended, changed} <= {"done", "Unavailable"}, (what, epoch)
    with embedded(repo) as authority:
        head = authority.head(SPACE)
        assert head is not None
        assert head.seq in (2, 5)
        assert appended != "done" or head.seq == 5
        lease = authority.standing(SPACE).tenancy.lease
        assert lease is not None
        assert changed != "done" or lease.holder == "carol"
        authority.change(SPACE, Grant("alice", force=True))
    assert [event.seq for event in append(repo, events)] == [3, 4, 5]
    assert [entry.tenure.epoch for entry in history(repo)] == list(range(1, len(history(repo)) + 1))
    fsck(repo)


def test_the_limits_above_cut_at_the_first_write_and_at_none(repo: Path) -> None:
    """A sweep that never fails, or never succeeds, would prove nothing."""

    def under(limit: int) -> bool:
        def job(say: Callable[[object], None]) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            try:
                append(repo, drafts("alice"))
                say(True)
            except SharddError:
                say(False)

        return bool(Child(job).ends().said[0])

    assert [under(LIMITS[0]), under(LIMITS[-1])] == [False, True]
