"""The index of ids between writers and readers that come at the wrong moment, and after a loss of power."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shardd.authority import event_index as module
from shardd.authority.index_file import Row, Tail, opened, stands_at
from shardd.core.event import Draft, Head
from shardd.core.lease import Acquire
from shardd.core.refs import Change, space_ref
from shardd.errors import Rejected, Unavailable
from shardd.files.crash_points import Point
from shardd.git.repository import Repository
from tests.attack.children import Child
from tests.attack.test_crash import SPACE, append, fsck, git
from tests.authorities import embedded, make_repo
from tests.drafting import drafts


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    path = make_repo(tmp_path / "garden.git")
    with embedded(path) as authority:
        authority.create(SPACE)
        authority.change(SPACE, Acquire("alice"))
    append(path, drafts("alice", 2))
    return path


def files(repo: Path) -> dict[str, tuple[int, int, bytes]]:
    """What lies in the index, down to inode and time."""
    folder = repo / "shardd" / "index"
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.iterdir())}


def head(repo: Path) -> Head:
    with embedded(repo) as authority:
        return authority.existing(SPACE)


@pytest.fixture
def anew(caplog: pytest.LogCaptureFixture) -> Callable[[], int]:
    """How often an index was made anew in this process."""
    caplog.set_level(logging.INFO, "shardd.index")
    return lambda: sum("made anew" in record.message for record in caplog.records)


def between_statements(monkeypatch: pytest.MonkeyPatch, word: str, meanwhile: Callable[[], None]) -> list[str]:
    """Let something happen each time before a database is asked for `word`; the statements before which it did."""
    met: list[str] = []
    connect = sqlite3.connect
    busy = False

    class Watched(sqlite3.Connection):
        def execute(self, sql: str, *more: Any) -> sqlite3.Cursor:
            nonlocal busy
            if word in sql and not busy:
                busy = True
                try:
                    met.append(sql)
                    meanwhile()
                finally:
                    busy = False
            return super().execute(sql, *more)

    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Watched, **k))
    return met


def test_a_stale_reader_between_catching_up_and_looking_up_hides_no_id(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = head(repo)
    events = drafts("alice", 90)
    append(repo, events)
    append(repo, drafts("alice"))  # which brings the index up to them

    def reader() -> None:
        with embedded(repo) as authority:
            assert authority.ledger.index.head(authority.ledger.repository, SPACE, old.oid) == old

    met = between_statements(monkeypatch, "SELECT id, seq, oid FROM event", reader)
    assert [event.seq for event in append(repo, events)] == list(range(3, 93)), "answered, and not appended again"
    assert met
    other = [Draft(type="page.bound", actor="alice", id=events[0].id, time=events[0].time, subject="other")]
    with pytest.raises(Rejected) as refused:
        append(repo, other)
    assert refused.value.code == "duplicate-event"
    assert head(repo).seq == 93


def test_readers_at_older_heads_never_write_the_index(repo: Path, anew: Callable[[], int]) -> None:
    heads = [head(repo)]
    for _ in range(4):
        append(repo, drafts("alice", 40))
        heads.append(head(repo))
    before = files(repo)
    for at in heads * 10:
        with embedded(repo) as authority:
            place = authority.ledger
            assert place.index.head(place.repository, SPACE, at.oid) == at
            assert place.index.peek(place.repository, SPACE, at, ["unheard of"]) == {}
            assert authority.standing(SPACE).head == heads[-1]
    assert files(repo) == before
    append(repo, drafts("alice"))
    assert anew() == 0
    assert files(repo)["whynot.db"] == before["whynot.db"], "it was only made longer, by a tail"


def test_readers_and_writers_in_many_processes(repo: Path) -> None:
    """Nobody makes the index anew while a log only grows, whoever reads beside."""
    old = head(repo)
    append(repo, drafts("alice", 100))
    inode = files(repo)["whynot.db"][0]

    def reads(say: Callable[[object], None]) -> None:
        for _ in range(60):
            with embedded(repo) as authority:
                assert authority.ledger.index.head(authority.ledger.repository, SPACE, old.oid) == old
                assert authority.existing(SPACE).seq >= 102

    def writes(say: Callable[[object], None]) -> None:
        for _ in range(10):
            append(repo, drafts("alice", 70))

    children = [Child(reads), Child(reads), Child(writes)]
    for child in children:
        assert not child.ends().killed
    assert head(repo).seq == 802
    assert files(repo)["whynot.db"][0] == inode


# --- numbers


def by_hand(repo: Path, count: int) -> None:
    """Commits that leave out everything, as people make them; moved there as a push would, without asking for ids."""
    with embedded(repo) as authority, authority.hold([SPACE]) as held:
        at = held.standing(SPACE).head
        assert at is not None
        oid = at.oid
        for number in range(count):
            # A type may be called like the trailer; that makes it none.
            said = git(repo, "commit-tree", git(repo, "mktree").stdout.strip(), "-p", oid, "-m", f"Seq: {number}")
            oid = said.stdout.strip()
        authority.ledger.repository.move_refs([Change(space_ref(SPACE), at.oid, oid)])


@pytest.mark.parametrize("count", [1, 3, 70])
@pytest.mark.parametrize("index", ["", "behind", "there", "gone", "wrong"])
def test_the_number_of_a_head_that_says_none(repo: Path, index: str, count: int) -> None:
    with embedded(repo) as authority, authority.hold([SPACE]) as held:
        if index == "behind":
            held.find(SPACE, authority.existing(SPACE), ["x"])
    by_hand(repo, count)
    first = head(repo)
    assert first.seq == 2 + count
    if index == "there":
        with embedded(repo) as authority, authority.hold([SPACE]) as held:
            assert held.find(SPACE, first, [first.oid]) == {first.oid: first}
    by_hand(repo, 2)
    folder = repo / "shardd" / "index"
    if index == "gone":
        for path in folder.iterdir():
            path.unlink()
    elif index == "wrong":
        for path in folder.iterdir():
            path.write_bytes(b"nonsense" * 2000)
    before = files(repo)
    assert head(repo).seq == 4 + count
    with embedded(repo) as authority:
        assert authority.ledger.index.head(authority.ledger.repository, SPACE, first.oid) == first
    assert files(repo) == before


# --- what is made anew, and what is not


def rows_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many commits were read at each catching up."""
    read: list[int] = []
    original = module.EventIndex._rows

    def counted(self: module.EventIndex, *where: Any) -> Iterator[Row]:
        rows = list(original(self, *where))
        read.append(len(rows))
        return iter(rows)

    monkeypatch.setattr(module.EventIndex, "_rows", counted)
    return read


def long_index(repo: Path, monkeypatch: pytest.MonkeyPatch) -> list[Draft]:
    """A database with a hundred events and a tail with nineteen; the events."""
    monkeypatch.setattr(module, "FOLD", 50)
    events = drafts("alice", 100)
    append(repo, events)
    for _ in range(20):
        one = drafts("alice")
        append(repo, one)
        events += one
    with opened(repo / "shardd/index/whynot.db", patience=0) as connection:
        assert stands_at(connection).seq == 102
        assert len(Tail(repo / "shardd/index/whynot.tail", stands_at(connection)).rows) == 19
    return events


@pytest.mark.parametrize("cut", [0, 1, 40, 80, 200, 1000, -1])
@pytest.mark.parametrize("torn", ["short", "zeros", "older page"])
def test_a_loss_of_power_costs_the_end_of_the_tail_and_no_more(
    repo: Path, monkeypatch: pytest.MonkeyPatch, anew: Callable[[], int], torn: str, cut: int
) -> None:
    events = long_index(repo, monkeypatch)
    path = repo / "shardd/index/whynot.tail"
    whole = path.read_bytes()
    kept = whole[:cut]
    lost = whole[len(kept) :]
    after = {"short": b"", "zeros": bytes(len(lost)), "older page": whole[7 : 7 + len(lost)]}[torn]
    path.write_bytes(kept + after)
    anew_before = anew()
    read = rows_read(monkeypatch)
    assert [event.seq for event in append(repo, events)] == list(range(3, 123))
    append(repo, drafts("alice"))
    assert read == [20 - max(kept.count(b"\n") - 1, 0)], "and is whole again"
    assert anew() == anew_before


def test_a_process_killed_while_it_makes_the_database_longer(
    repo: Path, monkeypatch: pytest.MonkeyPatch, anew: Callable[[], int]
) -> None:
    long_index(repo, monkeypatch)
    events = drafts("alice", 40)
    append(repo, events)
    before = anew()

    def job(say: Callable[[object], None]) -> None:
        append(repo, drafts("alice"))

    assert Child(job, kill_at=Point.IN_INDEX).ends().killed
    with embedded(repo) as authority:
        assert authority.ledger.index.head(authority.ledger.repository, SPACE, head(repo).oid).seq == 162
    assert append(repo, events)[0].seq == 123
    assert append(repo, drafts("alice"))[0].seq == 163
    assert anew() == before
    with embedded(repo) as authority:
        assert authority.ledger.index.problem(authority.ledger.repository, SPACE) is None


def test_a_journal_of_a_database_that_was_replaced_is_not_rolled_back_into_the_new_one(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it grew, and then damaged besides."""
    events = long_index(repo, monkeypatch)
    more = drafts("alice", 40)
    append(repo, more)

    def job(say: Callable[[object], None]) -> None:
        # So little memory that the change is on its way to the disk before it is whole.
        connect = sqlite3.connect

        def small(*words: Any, **more: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*words, **more)
            connection.execute("PRAGMA cache_size = 1")
            connection.execute("PRAGMA cache_spill = 1")
            return connection

        sqlite3.connect = small  # type: ignore[assignment]
        append(repo, drafts("alice"))

    assert Child(job, kill_at=Point.IN_INDEX).ends().killed
    path = repo / "shardd/index/whynot.db"
    assert path.with_name("whynot.db-journal").exists()
    path.write_bytes(b"nonsense" * 2000)
    assert append(repo, events)[0].seq == 3
    assert append(repo, more)[0].seq == 123
    assert not path.with_name("whynot.db-journal").exists()


@pytest.mark.parametrize("what", ["removed", "disk I/O error", "database disk image is malformed"])
@pytest.mark.parametrize("when", ["BEGIN", "SELECT seq, oid", "SELECT id, seq, oid", "REPLACE INTO head", "COMMIT"])
def test_an_index_that_fails_while_it_is_in_use_is_made_anew(
    repo: Path, monkeypatch: pytest.MonkeyPatch, what: str, when: str
) -> None:
    events = long_index(repo, monkeypatch)
    events += (more := drafts("alice", 35))
    append(repo, more)  # the next one makes the database longer
    failed: list[str] = []

    def fails() -> None:
        if failed:
            return
        failed.append(when)
        if what != "removed":
            raise sqlite3.OperationalError(what)
        for path in (repo / "shardd" / "index").iterdir():
            path.unlink()

    between_statements(monkeypatch, when, fails)
    assert [event.seq for event in append(repo, events)] == list(range(3, 158))
    assert failed
    assert append(repo, drafts("alice"))[0].seq == 158
    fsck(repo)


def test_the_whole_folder_removed(repo: Path) -> None:
    events = drafts("alice")
    append(repo, events)
    subprocess.run(["rm", "-r", str(repo / "shardd" / "index")], check=True)
    assert append(repo, events)[0].seq == 3


def test_a_reader_that_was_stopped_holds_nobody_up(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be put into the database meanwhile stays in the tail."""
    monkeypatch.setattr(module, "_FOLDING", 0.0)
    long_index(repo, monkeypatch)
    path = repo / "shardd/index/whynot.db"
    with opened(path, patience=0) as reader:
        at = stands_at(reader)
        events = drafts("alice", 120)
        append(repo, events)
        assert append(repo, events)[0].seq == 123
        assert stands_at(reader) == at
    append(repo, drafts("alice", 60))
    append(repo, drafts("alice"))
    with opened(path, patience=0) as reader:
        assert stands_at(reader).seq == 302


def test_whoever_has_it_locked_for_long_is_named(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    inode = files(repo)["whynot.db"][0]
    with sqlite3.connect(repo / "shardd/index/whynot.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable, match="is locked"):
            append(repo, drafts("alice"))
        assert head(repo).seq == 2
        other.execute("ROLLBACK")
    other.close()
    assert append(repo, drafts("alice"))[0].seq == 3
    assert files(repo)["whynot.db"][0] == inode


def test_making_one_index_anew_touches_no_other(repo: Path) -> None:
    with embedded(repo) as authority:
        authority.create("other")
        with authority.hold(["other"]) as held:
            held.find("other", authority.existing("other"), ["x"])
    before = {name: it for name, it in files(repo).items() if name.startswith("other")}
    assert before
    (repo / "shardd/index/whynot.db").unlink()
    append(repo, drafts("alice"))
    assert {name: it for name, it in files(repo).items() if name.startswith("other")} == before


def test_the_first_look_at_a_push_believes_no_index_of_another_history(repo: Path) -> None:
    """A restore by hand put the log back: what the index knows beyond is no duplicate."""
    old = head(repo)
    events = drafts("alice", 3)
    append(repo, events)
    append(repo, drafts("alice"))
    ids = [event.id for event in events]
    with embedded(repo) as authority:
        place = authority.ledger
        newest = authority.existing(SPACE)
        assert authority.find(SPACE, newest, ids)[ids[0]].seq == 3
        assert authority.find(SPACE, old, ids) == {}
        for number in range(5):
            said = git(repo, "commit-tree", git(repo, "mktree").stdout.strip(), "-p", old.oid, "-m", f"x{number}")
            old = Head(old.seq + 1, said.stdout.strip())
        assert authority.find(SPACE, old, ids) == {}
        with Repository(repo) as other:
            assert place.index.head(other, SPACE, old.oid) == old
