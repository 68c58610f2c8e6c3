"""The audit: what was recorded is read back in order, by whatever process, within bounds, whatever a crash tore."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shardd.core.outcome import LONGEST, Kind, Outcome, shortened, verdict_of
from shardd.errors import Rejected, Unavailable
from shardd.files.audit_log import AuditLog, Unreadable


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


def test_a_disk_that_refuses_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("in the way")
    with pytest.raises(Unavailable):
        AuditLog(tmp_path / "audit").record(outcome(1))


def test_verdicts() -> None:
    assert verdict_of(None) == ("ok", "")
    assert verdict_of(Rejected("frozen", "read-only")) == ("frozen", "read-only")
    assert verdict_of(ValueError("x")) == ("internal", "ValueError: x")
    assert len(verdict_of(Rejected("frozen", "x" * 9999))[1]) == LONGEST
    assert shortened("short") == "short"
