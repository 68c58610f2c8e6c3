"""The audit: what was recorded is read back in order, by whatever process, within bounds, whatever a crash tore."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from shardd.core.outcome import LONGEST, Kind, Outcome, refs_of, shortened, verdict_of
from shardd.core.refs import Change
from shardd.errors import BadEvent, Misuse, Rejected, Unavailable
from shardd.files.audit_log import Audit, AuditLog, Unreadable
from shardd.files.work import Work


def outcome(number: int) -> Outcome:
    return Outcome(kind=Kind.PUSH, at=number, who="alice", what=f"spaces/whynot {number}")


def test_it_reads_back_what_was_recorded(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit")
    assert list(audit.read()) == []
    told = [outcome(1), Outcome(kind=Kind.LOGIN, at=2, origin="ssh 127.0.0.1", key="SHA256:x", verdict="no-principal")]
    for each in told:
        audit.record(each)
    assert list(audit.read()) == told
    assert [each.accepted for each in told] == [True, False]


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit")
    audit.record(outcome(1))
    modes = {path.name: path.stat().st_mode & 0o777 for path in [tmp_path / "audit", *(tmp_path / "audit").iterdir()]}
    assert modes == {"audit": 0o700, "current.jsonl": 0o600}
    assert len(list(audit.read())) == 1


def test_it_is_bounded_and_forgets_the_oldest(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit", largest=1000, kept=3)
    for number in range(200):
        audit.record(outcome(number))
    files = [path for path in (tmp_path / "audit").iterdir() if path.suffix == ".jsonl"]
    assert len(files) <= 3
    assert all(path.stat().st_size < 1200 for path in files)
    seen = [each.at for each in audit.read() if isinstance(each, Outcome)]
    assert seen == list(range(seen[0], 200)), "none is missing between the oldest that is kept and the newest"
    assert len(seen) > 15


def test_a_torn_line_spoils_no_other(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit")
    audit.record(outcome(1))
    with (tmp_path / "audit" / "current.jsonl").open("ab") as file:
        file.write(b'{"kind":"push","at":2,"wh\xff')
    audit.record(outcome(3))
    found = list(audit.read())
    assert found == [outcome(1), Unreadable(tmp_path / "audit" / "current.jsonl", 2), outcome(3)]


def test_processes_that_record_at_once_lose_no_line(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from shardd.files.audit_log import AuditLog;"
        "from shardd.core.outcome import Kind, Outcome; audit = AuditLog(Path(sys.argv[1]), largest=20_000, kept=50);"
        "[audit.record(Outcome(kind=Kind.JOB, at=n, who=sys.argv[2])) for n in range(300)]"
    )
    names = ("one", "two", "three")
    running = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "audit"), name]) for name in names]
    assert [each.wait() for each in running] == [0, 0, 0]
    found = [each for each in AuditLog(tmp_path / "audit", kept=50).read() if isinstance(each, Outcome)]
    assert {name: [each.at for each in found if each.who == name] for name in names} == {
        name: list(range(300)) for name in names
    }


def test_a_full_disk_tears_one_line_and_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    audit, write = Audit(tmp_path, aloud=True), os.write
    audit.tell(outcome(1))

    def half(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[: len(data) // 2])

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for number, how in ((2, half), (3, full), (4, full)):
        monkeypatch.setattr(os, "write", how)
        audit.tell(outcome(number))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "No space left on device" in caplog.text
    monkeypatch.setattr(os, "write", write)
    audit.tell(outcome(5))
    audit.tell(outcome(6))
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "lacks 3 outcomes" in caplog.text
    torn = Unreadable(tmp_path / "audit" / "current.jsonl", 2)
    assert list(audit.read()) == [outcome(1), torn, outcome(5), outcome(6)]


def test_it_is_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def synced(descriptor: int) -> None:
        raise AssertionError("a push would wait for that")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "fdatasync", synced)
    audit = Audit(tmp_path, largest=200, kept=3)
    for number in range(20):
        audit.tell(outcome(number))
    assert list(audit.read())[-1] == outcome(19)


def test_a_process_that_is_stopped_amid_a_rotation_holds_up_nobody(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit", largest=500, kept=3)
    audit.record(outcome(0))
    with (tmp_path / "audit" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for number in range(1, 20):
            audit.record(outcome(number))
        assert list(audit.read()) == [outcome(number) for number in range(20)]
    audit.record(outcome(20))
    audit.record(outcome(21))
    assert list(audit.read()) == [outcome(number) for number in range(22)]
    assert (tmp_path / "audit" / "1.jsonl").exists()


def test_a_rotation_while_it_is_read_hides_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = AuditLog(tmp_path / "audit", largest=400, kept=50)
    for number in range(20):
        audit.record(outcome(number))
    opened = Path.open
    more = iter(range(20, 28))  # that is more than one file of them

    def and_rotate(path: Path, mode: str) -> IO[Any]:
        file = opened(path, mode)
        for number in more:
            audit.record(outcome(number))
        return file

    monkeypatch.setattr(Path, "open", and_rotate)
    seen = [each.at for each in audit.read() if isinstance(each, Outcome)]
    assert next(more, None) is None
    assert seen[:20] == list(range(20)), "what came meanwhile may be there or not"


def test_it_is_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    """As on a disk that is full or was mounted read-only: just then somebody wants to know what happened."""
    audit = AuditLog(tmp_path / "audit")
    audit.record(outcome(1))
    (tmp_path / "audit" / "lock").mkdir()  # which cannot be opened either, by root as by anybody
    assert list(audit.read()) == [outcome(1)]


def test_strangers_push_out_nobody_else(tmp_path: Path) -> None:
    audit = Audit(tmp_path, largest=500, kept=2)
    audit.tell(outcome(1))
    for number in range(2, 200):
        audit.tell(Outcome(kind=Kind.LOGIN, at=number, origin="ssh 192.0.2.7", verdict="no-principal"))
    audit.tell(outcome(200))
    found = [each for each in audit.read() if isinstance(each, Outcome)]
    assert (found[0], found[-1]) == (outcome(1), outcome(200))
    assert [each.at for each in found] == sorted(each.at for each in found)
    assert 1 < len(found) < 50


def test_what_another_version_adds_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "current.jsonl").write_bytes(b'{"kind":"push","at":1,"who":"alice","new":[1]}\n')
    assert list(Audit(tmp_path).read()) == [Outcome(kind=Kind.PUSH, at=1, who="alice")]


def test_a_disk_that_refuses_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("in the way")
    with pytest.raises(Unavailable):
        AuditLog(tmp_path / "audit").record(outcome(1))


def test_verdicts() -> None:
    assert verdict_of(None) == ("ok", "")
    assert verdict_of(Rejected("frozen", "read-only")) == ("frozen", "read-only")
    assert verdict_of(ValueError("x")) == ("internal", "ValueError: x")
    assert verdict_of(Misuse("'secret' is no option")) == ("usage", "")
    assert verdict_of(BadEvent("data", "'secret' is no JSON", where="line 3")) == ("bad-event", "line 3: data")
    assert len(verdict_of(Rejected("frozen", "x" * 9999))[1]) == LONGEST
    assert shortened("short") == "short"
    assert shortened("a\x1b\n\udcff\u202eb") == "a????b"


def test_what_a_push_asks_for() -> None:
    changes = [Change("refs/heads/spaces/a", "1" * 40, "2" * 40), Change("refs/notes/alice", None, "3" * 40)]
    said = f"spaces/a {'1' * 12}..{'2' * 12}, refs/notes/alice none..{'3' * 12} -o lease=acquire -o epoch=7"
    assert refs_of(changes, ["lease=acquire", "theirs=secret", "epoch=7"]) == said
    assert len(refs_of(changes * 5000)) < 2 * LONGEST


def test_the_first_verdict_counts() -> None:
    work = Work(Kind.PUSH, who="alice")
    work.waited(0.25)
    work.failed(Rejected("frozen", "moving"))
    work.ended_as("gone")
    work.done()
    found = work.outcome()
    assert (found.verdict, found.why, found.who, found.waited) == ("frozen", "moving", "alice", 250)
    moved = Work(Kind.PUSH)
    moved.done()
    moved.ended_as("gone")
    assert moved.outcome().accepted
