"""The contract of DecisionLog: every implementation, the same answers."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from shardd.authority.authorities import Authorities
from shardd.client.remote_log import RemoteLog
from shardd.core.event import Data, Draft, Event, Head
from shardd.core.jsonl import Numbered
from shardd.core.refusals import HeadMoved
from shardd.core.roles import Grant
from shardd.errors import BadEvent, Misuse, Rejected
from shardd.files.server_dir import ServerDir
from shardd.git.program import Git
from shardd.git.repository import Repository
from shardd.logs.decision_log import DecisionLog
from shardd.logs.git_log import GitLog
from shardd.logs.memory_log import MemoryLog
from tests.drafting import drafts
from tests.e2e.cutting_proxy import cutting_proxy
from tests.e2e.harness import Server

WHEN = datetime(2026, 6, 15, 10, 0, 0, 123456, tzinfo=UTC)
Make = Callable[[], DecisionLog]


@pytest.fixture(params=["memory", "git", "remote", "cut"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes handles on one log: in memory the same object, in git a new handle on one repo, over ssh a connection.

    cut: each connection is cut, sooner or later, and most of them more than once
    """
    if request.param == "memory":
        log = MemoryLog()
        yield lambda: log
    elif request.param == "git":
        yield lambda: GitLog(tmp_path / "embedded.git")
    else:
        server, keys = request.getfixturevalue("server"), request.getfixturevalue("keys")
        with ExitStack() as stack:
            port = server.port
            if request.param == "cut":
                port = stack.enter_context(cut_at_random(server.port, seed=request.node.name))
            known = tmp_path / "known_hosts"
            known.write_text(server.known_hosts().replace(f":{server.port} ", f":{port} "))
            url = f"ssh://127.0.0.1:{port}/{planted(server)}.git"
            yield lambda: stack.enter_context(RemoteLog(url, key=keys["alice"], known_hosts=known, create=True))


def planted(server: Server) -> str:
    """A fresh repo, whose spaces alice may begin."""
    folder, name = ServerDir(server.root), server.next_name()
    Authorities.open(folder).create(name)
    folder.access.grant(Grant("alice", "admin", name))
    return name


@contextmanager
def cut_at_random(target: int, *, seed: str) -> Iterator[int]:
    """The port of a way to `target`, whose connections break after some bytes to either side.

    The first ones in the handshake, which takes some 2,000; each carries more than the one before, so that the largest
    call has one that carries it.
    """
    chance = random.Random(seed)
    with cutting_proxy(target) as proxy:

        def cut_later() -> None:
            most = 2 ** (11 + 2 * proxy.connections)
            proxy.to_server, proxy.to_client = chance.randint(most // 8, most), chance.randint(most // 8, most)

        cut_later()
        proxy.on_cut = cut_later
        yield proxy.port
        assert proxy.connections > 1


@pytest.fixture
def log(make: Make) -> DecisionLog:
    return make()


def test_an_event_comes_back_as_it_went(log: DecisionLog) -> None:
    data: Data = {"page": "Home", "odd": ["é", "😀", None, True, 0.5, {"": 1}]}
    made = log.append("whynot", "page.bound", data, subject="Home", actor="alice", id="e1", time=WHEN)
    assert made == next(log.events("whynot"))
    assert (made.seq, made.type, made.subject, made.actor, made.id) == (1, "page.bound", "Home", "alice", "e1")
    assert (made.time, made.data, made.source_epoch) == (WHEN, data, None)
    assert log.head("whynot") == Head(1, made.oid)


def test_data_reads_back_in_canonical_form(log: DecisionLog) -> None:
    made = log.append("whynot", "note", {"b": 1.0, "a": [-0.0, 1e21]}, actor="alice")
    assert made.data == {"a": [0, 1e21], "b": 1}
    data = next(log.events("whynot")).data
    assert type(data["b"]) is int
    assert list(data) == ["a", "b"]


def test_changing_what_was_read_changes_nothing(log: DecisionLog) -> None:
    log.append("whynot", "note", {"n": 1}, actor="alice")
    data = next(log.events("whynot")).data
    assert isinstance(data, dict)
    data["n"] = 2
    assert next(log.events("whynot")).data == {"n": 1}


def test_what_is_left_out_is_filled_in(log: DecisionLog) -> None:
    before = datetime.now(UTC)
    one, two = log.append("whynot", "note"), log.append("whynot", "note")
    assert one.id != two.id
    assert one.data == {}
    assert one.subject is None
    assert before <= one.time <= datetime.now(UTC)


def test_order_and_numbers_are_dense(log: DecisionLog) -> None:
    log.append_many("whynot", drafts("alice", range(150)))
    log.append_many("whynot", drafts("alice", range(150, 153)))
    events = list(log.events("whynot"))
    assert [e.seq for e in events] == list(range(1, 154))
    assert [e.data["n"] for e in events] == list(range(153))


@pytest.mark.parametrize("after", [None, 0, 1, 99, 149, 150, 400])
def test_events_after(log: DecisionLog, after: int | None) -> None:
    log.append_many("whynot", drafts("alice", range(150)))
    assert [e.seq for e in log.events("whynot", after)] == list(range((after or 0) + 1, 151))


PARTS: list[dict[str, Any]] = [
    {"limit": 10}, {"after": 3, "limit": 2}, {"until": 5}, {"after": 3, "until": 5}, {"after": 5, "until": 5},
    {"reverse": True}, {"reverse": True, "limit": 3}, {"reverse": True, "after": 140}, {"limit": 0}, {"until": 400},
    {"reverse": True, "until": 70}, {"reverse": True, "until": 70, "after": 60, "limit": 4}, {"after": 149, "limit": 9},
    {"reverse": True, "until": 0}, {"until": -1}, {"after": 400, "reverse": True}, {"after": -1, "until": 1},
]  # fmt: skip


def test_a_part_of_the_events(log: DecisionLog) -> None:
    assert list(log.events("whynot", reverse=True, limit=3)) == []
    log.append_many("whynot", drafts("alice", range(150)))
    whole = list(log.events("whynot"))
    for part in PARTS:
        after, until = part.get("after", -1), part.get("until", 1000)
        wanted = [event for event in whole if after < event.seq <= until]
        wanted = (wanted[::-1] if part.get("reverse") else wanted)[: part.get("limit")]
        assert list(log.events("whynot", **part)) == wanted, part


@pytest.mark.parametrize("after", range(2))
def test_a_part_of_a_log_with_gaps(tmp_path: Path, after: int) -> None:
    numbers = [*range(7, 300, 3), *range(500, 700), 1000]
    log = GitLog(tmp_path / "log.git")
    log.import_events("whynot", map(Numbered, numbers, drafts("alice", len(numbers))), keep_gaps=True)
    by_hand(tmp_path / "log.git", 3)  # whose number follows from the one before
    if after:
        log.append_many("whynot", drafts("alice", 600))  # most of which the index has not in its database
    numbers += range(1001, 1004 + 600 * after)
    assert [event.seq for event in log.events("whynot")] == numbers
    for low, high in ((0, 50), (8, 600), (299, 499), (650, 1001), (1002, 2000), (None, 100), (500, None)):
        wanted = [n for n in numbers if (low is None or n > low) and (high is None or n <= high)]
        assert [event.seq for event in log.events("whynot", low, until=high)] == wanted
        assert [event.seq for event in log.events("whynot", low, until=high, reverse=True)] == wanted[::-1]


def by_hand(repo: Path, count: int) -> None:
    """Commit some as a person would, who leaves out what may be left out."""
    for _ in range(count):
        words = ["commit-tree", "-p", "spaces/whynot", "-m", "note", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"]
        tip = subprocess.run(["git", "-C", str(repo), *words], capture_output=True, text=True, check=True).stdout
        subprocess.run(["git", "-C", str(repo), "update-ref", "refs/heads/spaces/whynot", tip.strip()], check=True)


@pytest.mark.parametrize(
    ("part", "first"),
    [
        ({"after": 10}, 11),
        ({"limit": 10}, 1),
        ({"after": 1000, "until": 1010}, 1001),
        ({"until": 1000, "reverse": True}, 1000),
        ({"reverse": True}, 3000),
    ],
)
def test_what_a_few_events_cost_follows_their_number(
    long_log: Path, part: dict[str, Any], first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    chain, commits = Repository.chain, Git.commits

    def counted_chain(self: Repository, *args: Any, **more: Any) -> Any:
        read.append(more["at_most"])
        return chain(self, *args, **more)

    def counted_commits(self: Git, *args: Any, **more: Any) -> Any:
        read.append(more.get("newest") or 10**9)
        return commits(self, *args, **more)

    monkeypatch.setattr(Repository, "chain", counted_chain)
    monkeypatch.setattr(Git, "commits", counted_commits)
    found = [event.seq for event in islice(GitLog(long_log).events("whynot", **part), 10)]
    assert found == [first - n if part.get("reverse") else first + n for n in range(10)]
    assert sum(read) <= 200


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "log.git"
    GitLog(path).import_events("whynot", map(Numbered, range(1, 3001), drafts("alice", range(3000))))
    return path


def test_events_end_at_the_head_of_the_call(log: DecisionLog) -> None:
    log.append_many("whynot", drafts("alice", range(2)))
    reading = log.events("whynot")
    log.append_many("whynot", drafts("alice", range(2, 4)))
    assert len(list(reading)) == 2


def test_unknown_and_empty_spaces(log: DecisionLog) -> None:
    assert log.head("whynot") is None
    assert list(log.events("whynot")) == []
    assert log.append_many("whynot", []) == []
    assert log.head("whynot") is None
    log.append("other", "note", actor="alice")
    assert log.head("whynot") is None


def test_spaces_are_apart(log: DecisionLog) -> None:
    one = log.append("one", "note", actor="alice", id="same", time=WHEN)
    two = log.append("two", "note", actor="alice", id="same", time=WHEN)
    assert one.oid != two.oid, "their geneses differ"
    assert (one.seq, two.seq) == (1, 1)


@pytest.mark.parametrize("space", ["", "Upper", "a..b", "a/b", "x.lock", "-a", "a" * 64, "a\n"])
def test_names_that_are_none(log: DecisionLog, space: str) -> None:
    for call in (lambda: log.append(space, "note"), lambda: log.head(space), lambda: log.events(space)):
        with pytest.raises(Misuse):
            call()


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"type": "two words"}, "type"),
        ({"subject": "a\nb"}, "subject"),
        ({"actor": " x"}, "Actor"),
        ({"id": "two words"}, "Event-Id"),
        ({"time": datetime(1969, 12, 31, tzinfo=UTC)}, "Time"),
        ({"data": {"k": 2**60}}, "data"),
        ({"data": {"k": float("inf")}}, "data"),
        ({"data": {"k": object()}}, "data"),
    ],
)
def test_what_cannot_be_held_is_refused_and_leaves_nothing(
    log: DecisionLog, arguments: dict[str, object], field: str
) -> None:
    with pytest.raises(BadEvent) as caught:
        log.append("whynot", **({"type": "note", "actor": "alice"} | arguments))  # type: ignore[arg-type]
    assert caught.value.field == field
    assert log.head("whynot") is None


def test_too_much_is_refused_and_leaves_nothing(log: DecisionLog) -> None:
    log.append("whynot", "note", actor="alice")
    head = log.head("whynot")
    with pytest.raises(Rejected, match="bytes") as caught:
        log.append("whynot", "note", {"bulk": "x" * 70_000}, actor="alice")
    assert caught.value.code == "too-large"
    with pytest.raises(Rejected) as caught:
        log.append_many("whynot", drafts("alice", range(10_001)))
    assert caught.value.code == "too-large"
    assert log.head("whynot") == head
    log.append("whynot", "note", {"bulk": "x" * 60_000}, actor="alice")


def test_a_batch_is_all_or_nothing(log: DecisionLog) -> None:
    log.append_many("whynot", drafts("alice", range(2)))
    head = log.head("whynot")
    oversized = Draft(type="note", data={"x": "x" * 70_000}, actor="alice", id="big", time=WHEN)
    with pytest.raises(Rejected):
        log.append_many("whynot", [*drafts("alice", range(2, 4)), oversized])
    assert log.head("whynot") == head


def test_a_refused_first_append_creates_no_space(log: DecisionLog) -> None:
    with pytest.raises(HeadMoved):
        log.append("whynot", "note", actor="alice", expected=Head(3, "1" * 40))
    with pytest.raises(Rejected):  # too large
        log.append("whynot", "note", {"text": "x" * 70_000}, actor="alice")
    with pytest.raises(Rejected):
        log.append_many("whynot", [*drafts("alice", range(1)), *drafts("alice", range(1))])
    assert log.append_many("whynot", []) == []
    assert log.head("whynot") is None
    assert list(log.events("whynot")) == []
    assert log.append("whynot", "note", actor="alice", expected="absent").seq == 1


def test_the_expected_head(log: DecisionLog) -> None:
    one = log.append("whynot", "note", actor="alice", expected="absent")
    two = log.append("whynot", "note", actor="alice", expected=Head(1, one.oid))
    for wrong in (Head(1, one.oid), Head(2, one.oid), "absent"):
        with pytest.raises(HeadMoved) as caught:
            log.append("whynot", "note", actor="alice", expected=wrong)
        assert caught.value.head == Head(2, two.oid)
        assert caught.value.code == "non-fast-forward"
    with pytest.raises(HeadMoved) as caught:
        log.append("other", "note", actor="alice", expected=Head(1, one.oid))
    assert caught.value.head is None
    assert log.head("other") is None


def test_a_retry_is_answered_with_the_original(log: DecisionLog) -> None:
    first = log.append("whynot", "note", {"n": 1}, actor="alice", id="once", expected="absent")
    log.append("whynot", "note", actor="alice")
    again = log.append("whynot", "note", {"n": 1.0}, actor="alice", id="once", expected="absent")
    assert again == first
    batch = log.append_many("whynot", drafts("alice", range(3)))
    assert log.append_many("whynot", drafts("alice", range(3))) == batch
    assert [e.seq for e in log.events("whynot")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("other", [{"data": {"n": 2}}, {"type": "other"}, {"subject": "x"}, {"actor": "bob"}])
def test_an_id_is_never_two_events(log: DecisionLog, other: dict[str, object]) -> None:
    said = {"type": "note", "data": {"n": 1}, "actor": "alice"}
    first = log.append("whynot", id="once", **said)  # type: ignore[arg-type]
    with pytest.raises(Rejected, match=f"seq {first.seq}") as caught:
        log.append("whynot", id="once", **(said | other))  # type: ignore[arg-type]
    assert caught.value.code == "duplicate-event"


def test_a_batch_half_known_or_with_an_id_twice_is_refused(log: DecisionLog) -> None:
    log.append_many("whynot", drafts("alice", range(2)))
    for batch in (drafts("alice", range(3)), [*drafts("alice", range(7, 8)), *drafts("alice", range(7, 8))]):
        with pytest.raises(Rejected) as caught:
            log.append_many("whynot", batch)
        assert caught.value.code == "duplicate-event"
    assert [e.seq for e in log.events("whynot")] == [1, 2]


def test_an_older_handle_reads_what_a_newer_one_wrote(make: Make) -> None:
    old, new = make(), make()
    assert old.head("whynot") is None
    made = new.append("whynot", "note", actor="alice")
    assert old.head("whynot") == Head(1, made.oid)
    assert list(old.events("whynot")) == [made]
    assert new.append_many("whynot", drafts("alice", range(200)))[-1] == list(old.events("whynot"))[-1]


def test_racing_threads_get_contiguous_batches(make: Make) -> None:
    def write(name: int) -> None:
        log = make()
        for turn in range(5):
            log.append_many("whynot", drafts("alice", range(start := 1000 * name + 10 * turn, start + 3)))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = list(make().events("whynot"))
    assert [e.seq for e in events] == list(range(1, 61))
    numbers = [int(str(e.data["n"])) for e in events]
    for start in range(0, 60, 3):
        assert numbers[start : start + 3] == [numbers[start], numbers[start] + 1, numbers[start] + 2]


def test_the_same_events_have_the_same_oids_everywhere(tmp_path: Path) -> None:
    heads: set[Head | None] = set()
    for log in (MemoryLog(), GitLog(tmp_path / "a.git"), GitLog(tmp_path / "b.git")):
        batch = drafts("alice", range(120))
        log.append("whynot", "note", {"k": 1.0}, actor="Ada <ada@example.org>", id="x", time=WHEN)
        for one in batch[:5]:
            log.append_many("whynot", [one])
        log.append_many("whynot", batch[5:])
        heads.add(log.head("whynot"))
    assert len(heads) == 1


def test_two_processes_on_one_repo(tmp_path: Path) -> None:
    script = """
import sys
from shardd.logs.git_log import GitLog
log = GitLog(sys.argv[1])
for n in range(20):
    log.append("whynot", "note", {"by": sys.argv[2], "n": n}, actor="alice", id=f"{sys.argv[2]}-{n}")
"""
    repo = tmp_path / "shared.git"
    running = [subprocess.Popen([sys.executable, "-c", script, str(repo), name]) for name in ("one", "two")]
    assert [each.wait(60) for each in running] == [0, 0]
    events: list[Event] = list(GitLog(repo).events("whynot"))
    assert [e.seq for e in events] == list(range(1, 41))
    for name in ("one", "two"):
        assert [e.data["n"] for e in events if e.data["by"] == name] == list(range(20))
