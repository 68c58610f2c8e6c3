"""Taking over whole logs: the same refusals and the same bytes in memory and in git."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from shardd.core.canonical import encode_data
from shardd.core.event import Event, Head
from shardd.core.importing import Imported
from shardd.core.jsonl import Numbered
from shardd.core.lease import Acquire
from shardd.core.limits import Limits
from shardd.core.roles import FileAccess
from shardd.errors import BadEvent, Misuse, Rejected
from shardd.storage.aside import aside, folders
from shardd.storage.authority import EmbeddedAuthority
from shardd.storage.gitlog import GitLog
from shardd.storage.memory import MemoryLog
from shardd.storage.repository import Repository
from shardd.storage.transfer import export_jsonl, import_jsonl, import_log, migrate_space
from tests.properties.strategies import numbered

Log = MemoryLog | GitLog


def plain(seq: int, **changes: Any) -> dict[str, Any]:
    return {
        "seq": seq,
        "timestamp": f"2026-06-15T10:00:00.{seq:06d}Z",
        "actor": ["alice", "Bob B. <bob@example.org>", "ἄλφα"][seq % 3],
        "type": "page.bound",
        "payload": {"page": f"Page{seq}"},
        **changes,
    }


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def git(repo: Path, *words: str) -> str:
    env = {"PATH": os.environ["PATH"], "HOME": str(repo.parent), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", "-C", str(repo), *words], env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(params=["memory", "git"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Log]:
    return lambda name: MemoryLog() if request.param == "memory" else GitLog(tmp_path / f"{name}.git")


def same(one: Iterator[Event], other: Iterator[Event]) -> None:
    assert list(one) == list(other)


def test_everything_is_kept_and_two_imports_meet(make: Callable[[str], Log], tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", [plain(n) for n in range(1, 151)])
    one, other = make("one"), make("other")
    done = import_jsonl(one, "whynot", path)
    assert done == import_jsonl(other, "whynot", path)
    assert (done.events, done.head) == (150, one.head("whynot"))
    events = list(one.events("whynot"))
    for n, event in enumerate(events, 1):
        line = plain(n)
        assert (event.seq, event.actor, event.type, event.data) == (n, line["actor"], line["type"], line["payload"])
        assert event.time.isoformat(timespec="microseconds") == line["timestamp"].replace("Z", "+00:00")
        assert event.epoch is None
    export_jsonl(one, "whynot", tmp_path / "out.jsonl")
    third = make("third")
    assert import_jsonl(third, "whynot", tmp_path / "out.jsonl") == done
    assert export_jsonl(third, "whynot", tmp_path / "again.jsonl") == done.head
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()


@settings(max_examples=15)
@given(numbered(gaps=True))
def test_memory_to_git_to_lines_to_memory_is_the_identity(
    tmp_path_factory: pytest.TempPathFactory, log: list[Numbered]
) -> None:
    folder = tmp_path_factory.mktemp("identity")
    first, repo, last = MemoryLog(), GitLog(folder / "log.git"), MemoryLog()
    done = first.import_events("whynot", log, keep_gaps=True)
    assert migrate_space(first, repo, "whynot", keep_gaps=True) == done
    assert export_jsonl(repo, "whynot", folder / "log.jsonl") == done.head
    assert import_jsonl(last, "whynot", folder / "log.jsonl", keep_gaps=True) == done
    same(first.events("whynot"), last.events("whynot"))
    same(first.events("whynot"), repo.events("whynot"))
    for mine, event in zip(log, last.events("whynot"), strict=True):
        assert (event.seq, event.source_epoch, event.epoch) == (mine.seq, mine.epoch, None)
        assert (event.id, event.actor, event.time, event.subject) == (
            mine.draft.id,
            mine.draft.actor,
            mine.draft.time,
            mine.draft.subject,
        )
        assert encode_data(event.data) == encode_data(mine.draft.data)
    git(folder / "log.git", "fsck", "--strict", "--no-dangling")
    export_jsonl(last, "whynot", folder / "again.jsonl")
    assert (folder / "again.jsonl").read_bytes() == (folder / "log.jsonl").read_bytes()


REFUSED: list[tuple[str, list[dict[str, Any]], str, str]] = [
    ("gap", [plain(1), plain(2), plain(4)], "seq-gap", "line 3: seq: 4 comes after 2"),
    ("repeat", [plain(1), plain(2), plain(2, type="other")], "seq-gap", "line 3: seq: 2 comes after 2"),
    ("descent", [plain(5), plain(6), plain(4)], "seq-gap", "line 3: seq: 4 comes after 6"),
    ("id", [plain(1, id="x"), plain(2), plain(3, id="x")], "duplicate-event", "line 3: id: the event x is also at"),
    ("field", [plain(1), plain(2, actor=" x"), plain(3, id="x")], "bad-event", "line 2: actor: "),
    ("id first", [plain(1, id="x"), plain(2, id="x"), plain(3, actor="")], "duplicate-event", "line 2: id: "),
    ("large", [plain(1), plain(2, payload={"a": "x" * 70_000})], "too-large", "line 2: data: the event has 70"),
    ("empty", [], "usage", "no events"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "code", "says"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
@pytest.mark.parametrize("dry_run", [False, True], ids=["import", "dry run"])
def test_a_refusal_leaves_nothing(
    make: Callable[[str], Log], tmp_path: Path, lines: list[dict[str, Any]], code: str, says: str, dry_run: bool
) -> None:
    log = make("log")
    log.append("other", "t", actor="alice")
    before = litter(tmp_path)
    with pytest.raises(Rejected) as caught:
        import_jsonl(log, "whynot", write(tmp_path / "bad.jsonl", lines), dry_run=dry_run)
    assert caught.value.code == code
    assert says in caught.value.message
    assert log.head("whynot") is None
    assert litter(tmp_path) == before


def litter(folder: Path) -> set[str]:
    """All files but those that any look at a repo touches."""
    return {str(p) for p in folder.rglob("*") if p.suffix != ".jsonl" and "shardd" not in p.parts}


def test_a_dry_run_foretells_and_leaves_nothing(make: Callable[[str], Log], tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", [plain(n) for n in range(7, 20)])
    log = make("log")
    before = litter(tmp_path)
    foretold = import_jsonl(log, "whynot", path, dry_run=True)
    assert litter(tmp_path) == before
    assert log.head("whynot") is None
    assert import_jsonl(log, "whynot", path) == foretold == Imported(13, Head(19, foretold.head.oid))


def test_gaps_are_kept_when_asked_for(make: Callable[[str], Log], tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", [plain(n) for n in (3, 4, 9, 10, 17)])
    log = make("log")
    import_jsonl(log, "whynot", path, keep_gaps=True)
    assert [e.seq for e in log.events("whynot")] == [3, 4, 9, 10, 17]
    for after, seqs in ((2, [3, 4, 9, 10, 17]), (4, [9, 10, 17]), (5, [9, 10, 17]), (9, [10, 17]), (17, [])):
        assert [e.seq for e in log.events("whynot", after=after)] == seqs
    assert log.append("whynot", "t", actor="alice").seq == 18
    assert [e.seq for e in log.events("whynot", after=10)] == [17, 18]


def test_only_a_space_without_events_takes_a_log(make: Callable[[str], Log], tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", [plain(1)])
    log = make("log")
    log.append("whynot", "t", actor="alice")
    head = log.head("whynot")
    for dry_run in (False, True):
        with pytest.raises(Rejected, match="has events already, up to seq 1") as caught:
            import_jsonl(log, "whynot", path, dry_run=dry_run)
        assert caught.value.code == "exists"
    assert log.head("whynot") == head


def test_the_log_goes_on_where_the_import_ended(make: Callable[[str], Log], tmp_path: Path) -> None:
    log = make("log")
    import_jsonl(log, "whynot", write(tmp_path / "log.jsonl", [plain(n, id=f"e{n}") for n in range(1, 6)]))
    [third] = [e for e in log.events("whynot") if e.seq == 3]
    again = log.append("whynot", third.type, third.data, subject=third.subject, actor=third.actor, id="e3")
    assert again == third
    with pytest.raises(Rejected, match="the event e3 is already in the log, at seq 3"):
        log.append("whynot", "other", actor="alice", id="e3")
    assert log.append("whynot", "t", actor="alice").seq == 6


def test_the_epoch_of_the_source_is_kept_beside_none_of_ours(make: Callable[[str], Log]) -> None:
    source = MemoryLog()
    events = [
        replace(event, epoch=7) for event in (source.append("whynot", "t", actor="a"), source.append("whynot", "u"))
    ]
    log, third = make("log"), make("third")
    import_log(log, "whynot", events)
    assert [(e.epoch, e.source_epoch) for e in log.events("whynot")] == [(None, 7), (None, 7)]
    assert migrate_space(log, third, "whynot").head == log.head("whynot")


def test_events_that_were_not_read_by_us_are_checked_too(make: Callable[[str], Log]) -> None:
    source = MemoryLog()
    good = source.append("whynot", "t", actor="a")
    log = make("log")
    with pytest.raises(BadEvent, match=r"^event 2: Actor: "):
        import_log(log, "whynot", [good, replace(good, seq=2, actor="a\n", id="x")])
    assert log.head("whynot") is None


def test_a_source_without_the_space_is_refused(make: Callable[[str], Log], tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="no space whynot"):
        migrate_space(make("empty"), MemoryLog(), "whynot")
    with pytest.raises(Rejected, match="no space whynot"):
        export_jsonl(make("empty"), "whynot", tmp_path / "out.jsonl")
    with pytest.raises(Misuse, match="cannot be read"):
        import_jsonl(make("empty"), "whynot", tmp_path / "missing.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def embedded(path: Path, limits: Limits | None = None) -> EmbeddedAuthority:
    return EmbeddedAuthority(Repository(path), label="log", rights=FileAccess(), limits=limits)


def test_a_space_that_was_made_before_must_begin_where_the_log_does(tmp_path: Path) -> None:
    GitLog(tmp_path / "log.git").append("other", "t", actor="a")
    authority = embedded(tmp_path / "log.git")
    authority.create("one")
    authority.create("seven", seq=6)
    path = write(tmp_path / "log.jsonl", [plain(n) for n in (7, 8)])
    with pytest.raises(Rejected, match="begins after seq 0") as caught:
        import_jsonl(GitLog(tmp_path / "log.git"), "one", path)
    assert "--first" in caught.value.remedy
    done = import_jsonl(GitLog(tmp_path / "log.git"), "seven", path)
    assert done == import_jsonl(MemoryLog(), "seven", path)


def test_whoever_holds_the_lease_keeps_an_import_out(tmp_path: Path) -> None:
    GitLog(tmp_path / "log.git").append("other", "t", actor="a")
    authority = embedded(tmp_path / "log.git")
    authority.create("whynot")
    authority.change("whynot", Acquire("bob"))
    path = write(tmp_path / "log.jsonl", [plain(1)])
    with pytest.raises(Rejected, match="bob holds the lease") as caught:
        import_jsonl(GitLog(tmp_path / "log.git"), "whynot", path)
    assert caught.value.code == "not-holder"
    assert import_jsonl(GitLog(tmp_path / "log.git", principal="bob"), "whynot", path).events == 1


def test_many_packs_make_one_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardd.storage.packs._MOST", 40)
    path = write(tmp_path / "log.jsonl", [plain(n) for n in range(1, 151)])
    log = GitLog(tmp_path / "log.git")
    assert import_jsonl(log, "whynot", path) == import_jsonl(MemoryLog(), "whynot", path)
    assert len(list((tmp_path / "log.git/objects/pack").glob("*.pack"))) == 4
    assert [e.seq for e in log.events("whynot")] == list(range(1, 151))
    git(tmp_path / "log.git", "fsck", "--strict", "--no-dangling")


def test_a_killed_import_leaves_only_litter(tmp_path: Path) -> None:
    """Killed while it reads: the space is not there, the import can be run again, and what was left goes then.

    Or with the one after: the git of the killed one may still write while its folder is being removed."""
    script = textwrap.dedent("""
        import sys
        from shardd.storage import packs
        from shardd.storage.gitlog import GitLog
        from shardd.storage.transfer import import_jsonl
        packs._MOST = 40
        import_jsonl(GitLog(sys.argv[1]), "whynot", "/dev/stdin")
    """)
    repo = tmp_path / "log.git"
    child = subprocess.Popen([sys.executable, "-c", script, str(repo)], stdin=subprocess.PIPE)
    assert child.stdin is not None
    lines = [json.dumps(plain(n)).encode() + b"\n" for n in range(1, 1001)]
    child.stdin.writelines(lines)
    child.stdin.flush()
    deadline = time.monotonic() + 30
    while not list(repo.glob("shardd/aside-*/pack/*.idx")):
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdin.close()
    assert GitLog(repo).head("whynot") is None
    assert not [path for path in repo.rglob("objects/**/*") if path.is_file()]
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(lines))
    assert import_jsonl(GitLog(repo), "whynot", path) == import_jsonl(MemoryLog(), "whynot", path)
    while folders(repo / "shardd"):
        assert time.monotonic() < deadline
        with aside(repo / "shardd"):
            pass


@pytest.mark.slow
def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    """With small buffers, so that it would show: six times the events, and the peak stays."""
    script = textwrap.dedent("""
        import re, sys
        from shardd.storage import packs, seen
        from shardd.storage.gitlog import GitLog
        from shardd.storage.repository import Repository
        from shardd.storage.transfer import import_jsonl
        from shardd.storage.verify import spaces_in, verify
        packs._MOST, seen._CACHE_KIB = 1000, 256
        repo = GitLog(sys.argv[1])
        assert import_jsonl(repo, "whynot", sys.argv[2]).events == int(sys.argv[3])
        from pathlib import Path
        with Repository(Path(sys.argv[1])) as repository:
            [refs] = spaces_in(repository.git, bare=True)
            assert verify(repository, refs).broken is None
        # (Not getrusage: that remembers the parent from before exec.)
        print(re.search("VmHWM: *\t *(\\d+) kB", Path("/proc/self/status").read_text())[1])
    """)
    peaks = []
    for count in (10_000, 60_000):
        path = write(tmp_path / f"{count}.jsonl", [plain(n) for n in range(1, count + 1)])
        words = [sys.executable, "-c", script, str(tmp_path / f"{count}.git"), str(path), str(count)]
        peaks.append(int(subprocess.run(words, capture_output=True, check=True).stdout))
    assert peaks[1] - peaks[0] < 6_000, f"{peaks} KiB"
