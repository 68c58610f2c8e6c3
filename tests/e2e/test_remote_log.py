"""RemoteLog: the log's interface over ssh, with answers like those of a log at hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shardd import (
    GitLog,
    Head,
    HeadMoved,
    InformationSpace,
    MemoryLog,
    Misuse,
    NotHolder,
    Rejected,
    RemoteLog,
    StaleEpoch,
    Unavailable,
    import_log,
)
from shardd.client.link import Broken, Said
from shardd.client.remote_log import _values
from shardd.core.roles import Grant
from shardd.errors import BadEvent, Corrupt
from shardd.files.access import AccessFiles
from tests.drafting import drafts
from tests.e2e.cutting_proxy import CuttingProxy, cutting_proxy
from tests.e2e.harness import DEADLINE, Actor, Garden, Server, wait_until

WHEN = datetime(2026, 6, 15, 10, 0, 0, 123456, tzinfo=UTC)


def connect(who: Actor, garden: Garden, **options: bool | float) -> RemoteLog:
    known = who.home / "known_hosts"
    return RemoteLog(garden.url, key=who.key, known_hosts=known, **options)  # type: ignore[arg-type]


@pytest.fixture
def log(alice: Actor, garden: Garden) -> Iterator[RemoteLog]:
    with connect(alice, garden) as log:
        yield log


def test_what_is_appended_is_read_alike_from_near_and_far(log: RemoteLog, garden: Garden) -> None:
    empty = log.head("whynot")
    assert empty is not None
    assert (empty.seq, list(log.events("whynot"))) == (0, [])
    made = log.append("whynot", "page.bound", {"k": 1.0, "a": ["é", None, 1e21]}, subject="Home", time=WHEN)
    assert (made.seq, made.actor, made.data, made.time) == (1, "alice", {"k": 1, "a": ["é", None, 1e21]}, WHEN)
    log.append_many("whynot", drafts("alice", range(20)))
    near = GitLog(garden.path)
    assert list(log.events("whynot")) == list(near.events("whynot"))
    assert [e.seq for e in log.events("whynot", after=18)] == [19, 20, 21]
    assert log.head("whynot") == near.head("whynot")
    assert list(log.events("whynot", after=21)) == []


def test_each_append_takes_a_free_lease_for_itself(log: RemoteLog, garden: Garden, bob: Actor) -> None:
    assert [log.append("whynot", "note").epoch for _ in range(2)] == [1, 2]
    history = bob.ssh(f"lease history {garden}")
    assert history.count("alice") == 2
    assert "nobody" in bob.ssh(f"lease show {garden}")
    epoch = bob.acquire(garden)
    head = log.head("whynot")
    with pytest.raises(NotHolder, match="bob holds the lease") as caught:
        log.append("whynot", "note")
    assert (caught.value.code, log.head("whynot")) == ("not-holder", head)
    assert caught.value.lease is not None
    assert (caught.value.lease.holder, caught.value.lease.epoch) == ("bob", epoch)
    assert 0 < caught.value.turn.left <= 15 * 60_000
    assert "`ssh -p" in caught.value.remedy
    assert f" lease acquire {garden} --wait " in caught.value.remedy
    with connect(bob, garden, take_lease=False) as held:
        assert held.append("whynot", "note").epoch == epoch


def test_without_a_lease_and_without_taking_one_nothing_is_appended(alice: Actor, garden: Garden) -> None:
    with connect(alice, garden, take_lease=False) as log:
        with pytest.raises(NotHolder) as free:
            log.append("whynot", "note")
        assert free.value.lease is None
        epoch = alice.acquire(garden, "--fenced")
        with pytest.raises(StaleEpoch) as stale:
            log.append("whynot", "note")
        assert (stale.value.epoch, stale.value.named) == (epoch, None)
    with connect(alice, garden, take_lease=False, epoch=epoch) as log:
        assert log.append("whynot", "note").epoch == epoch


def test_heads_retries_and_batches(log: RemoteLog) -> None:
    start = log.head("whynot")
    one = log.append("whynot", "note", id="once", expected=start)
    with pytest.raises(HeadMoved) as moved:
        log.append("whynot", "note", expected=start)
    assert moved.value.head == Head(1, one.oid)
    assert log.append("whynot", "note", id="once", expected=start) == one
    with pytest.raises(Rejected) as caught:
        log.append_many("whynot", [*drafts("alice", range(1)), *drafts("alice", range(1))])
    assert caught.value.code == "duplicate-event"
    batch = log.append_many("whynot", drafts("alice", range(3)))
    assert log.append_many("whynot", drafts("alice", range(3))) == batch
    assert log.append_many("whynot", []) == []
    assert log.head("whynot") == Head(4, batch[-1].oid)


def test_refusals_come_as_what_they_are(log: RemoteLog, garden: Garden, mallory: Actor) -> None:
    with pytest.raises(BadEvent) as bad:
        log.append("whynot", "two words")
    assert bad.value.field == "type"
    with pytest.raises(Rejected) as caught:
        log.append("nowhere", "note")
    assert caught.value.code == "no-such-space"
    assert log.head("nowhere") is None
    assert list(log.events("nowhere")) == []
    with pytest.raises(Rejected) as caught:
        log.append("whynot", "note", actor="bob")
    assert caught.value.code == "forged-actor"
    with pytest.raises(Rejected) as caught:
        log.append("whynot", "note", {"bulk": "x" * 70_000})
    assert caught.value.code == "too-large"
    with connect(mallory, garden) as other, pytest.raises(Rejected) as caught:
        other.append("whynot", "note")
    assert caught.value.code == "not-permitted"


def test_a_server_that_was_restarted_is_found_again(log: RemoteLog, server: Server) -> None:
    one = log.append("whynot", "note", id="first")
    server.restart()
    assert log.append("whynot", "note", id="first") == one
    assert log.append("whynot", "note").seq == 2


@contextmanager
def far(who: Actor, garden: Garden, *, retry_seconds: float = DEADLINE) -> Iterator[tuple[CuttingProxy, RemoteLog]]:
    """A log behind a way that can be cut."""
    with cutting_proxy(garden.server.port) as proxy:
        known = who.home / "known_far"
        known.write_text(garden.server.known_hosts().replace(f":{garden.server.port} ", f":{proxy.port} "))
        url = f"ssh://127.0.0.1:{proxy.port}/{garden.repo}.git"
        with RemoteLog(url, key=who.key, known_hosts=known, retry_seconds=retry_seconds) as log:
            yield proxy, log


def test_a_call_is_made_once_wherever_its_connection_is_cut(alice: Actor, garden: Garden) -> None:
    """Cut at many places: in the handshake, in the request, in the answer, right before its end."""
    with far(alice, garden) as (proxy, log):
        log.append("whynot", "note", id="whole", actor="alice")
        whole = proxy.carried
        assert whole > 1500
        for n, size in enumerate([10, whole // 2, *range(whole - 520, whole, 80), whole - 1]):
            log.close()
            proxy.cut_once(to_client=size)
            made = log.append("whynot", "note", {"n": n}, actor="alice")
            assert (made.seq, made.data) == (n + 2, {"n": n})
            assert proxy.to_client > whole, "it was not cut at all"
    near = GitLog(garden.path).events("whynot")
    assert [event.data.get("n") for event in near] == [None, *range(n + 1)]


def test_a_batch_and_a_read_are_whole_wherever_the_connection_is_cut(alice: Actor, garden: Garden) -> None:
    with far(alice, garden) as (proxy, log):
        batch = log.append_many("whynot", drafts("alice", range(200)))
        read = proxy.carried
        assert list(log.events("whynot")) == batch
        whole = proxy.carried
        for size in range(read, whole, (whole - read) // 5):
            log.close()
            proxy.cut_once(to_client=size)
            assert list(log.events("whynot")) == batch
            log.close()
            proxy.cut_once(to_client=size)
            assert log.append_many("whynot", drafts("alice", range(200))) == batch
        for size in (3000, 20_000):
            log.close()
            proxy.cut_once(to_server=size)
            more = drafts("alice", range(start := batch[-1].seq, start + 200))
            batch += log.append_many("whynot", more)
    assert list(GitLog(garden.path).events("whynot")) == batch


def test_an_append_outlives_the_server_and_finds_it_again(log: RemoteLog, garden: Garden, server: Server) -> None:
    """Killed while the append waits for its lock; down for as long as it takes to start again."""
    log.head("whynot")
    made = []
    with garden.locked():
        waiting = threading.Thread(target=lambda: made.append(log.append("whynot", "note", {"n": 1})))
        waiting.start()
        wait_until(lambda: len(list(Path(f"/proc/{server.pid}/task").iterdir())) > 1, "a thread serves it")
        server.kill()
    refused = RemoteLog(garden.url, key=log._link._key, known_hosts=log._link._known_hosts)
    with pytest.raises(Unavailable):  # it is down indeed; who was never there is told at once
        refused.head("whynot")
    server.start()
    waiting.join(DEADLINE)
    assert [event.seq for event in made] == [1]
    assert garden.subjects() == ["note"]


def test_the_error_in_the_end_names_the_ids_for_the_callers_own_retry(alice: Actor, garden: Garden) -> None:
    with far(alice, garden, retry_seconds=0.2) as (proxy, log):
        log.append("whynot", "note", actor="alice")
        log.close()
        # Each connection is cut in the answer: the event lands, and nobody is told.
        proxy.to_client = whole = proxy.carried - 100
        with pytest.raises(Unavailable) as caught:
            log.append("whynot", "note", {"n": 1}, actor="alice")
        (id,) = caught.value.ids
        proxy.heal()
        log.append("whynot", "note", {"n": 1}, actor="alice", id=id)
        log.close()
        proxy.to_client = whole
        with pytest.raises(Unavailable) as caught:
            log.append_many("whynot", drafts("alice", range(3)))
        assert caught.value.ids == ("e-0", "e-1", "e-2")
        proxy.heal()
        log.append_many("whynot", drafts("alice", range(3)))
    assert garden.subjects() == ["note", "note", "note: Home", "note", "note"]


def test_an_import_whose_answer_was_lost_is_done_though_the_log_has_grown(
    server: Server, alice: Actor, garden: Garden
) -> None:
    AccessFiles(server.root).grant(Grant("alice", "import", garden.repo))
    old = MemoryLog()
    old.append_many("whynot", drafts("alice", range(20)))
    with connect(alice, garden) as log:
        done = import_log(log, "whynot", old.events("whynot"))
        assert import_log(log, "whynot", old.events("whynot")) == done
        log.append("whynot", "note")
        assert import_log(log, "whynot", old.events("whynot")) == done
        old.append("whynot", "note")
        with pytest.raises(Rejected) as caught:
            import_log(log, "whynot", old.events("whynot"))
        assert caught.value.code == "exists"


LINE_ENDS = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\x1eh"


def test_lines_end_at_the_newline_alone(log: RemoteLog, alice: Actor, garden: Garden) -> None:
    made = log.append("whynot", "note", {"t": LINE_ENDS})
    assert made.data == {"t": LINE_ENDS}
    assert list(log.events("whynot")) == [made]
    said = alice.ssh(
        f"append {garden} --lines --take-lease", input=f'{{"type":"n","data":{{"t":"{LINE_ENDS[:6]}"}}}}\n'.encode()
    )
    assert '"seq":2' in said
    assert [event.data["t"] for event in log.events("whynot")] == [LINE_ENDS, LINE_ENDS[:6]]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b'{"a":1}\nwhat\n', Corrupt),
        (b"\xff\n", Corrupt),
        (b"[]\n", Corrupt),
        (b'{"a":1}\n{"b"', Broken),
    ],
)
def test_an_answer_that_does_not_read_is_an_error_and_no_empty_one(said: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        _values(Said(0, said, ""))
    assert _values(Said(0, b"", "")) == []
    with pytest.raises(Broken):
        _values(Said(1, b"", ""))


def test_a_server_that_cannot_be_trusted_or_reached(alice: Actor, garden: Garden, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(Unavailable):
        RemoteLog(garden.url, key=alice.key, known_hosts=tmp_path / "empty").head("whynot")
    with pytest.raises(Unavailable):
        RemoteLog("ssh://127.0.0.1:1/garden.git", key=alice.key, known_hosts=tmp_path / "empty").head("whynot")
    for url in ("http://x/garden.git", "ssh://127.0.0.1:2222", "ssh://h/UPPER.git"):
        with pytest.raises(Misuse):
            RemoteLog(url)


def test_an_information_space_on_a_server(log: RemoteLog, alice: Actor, garden: Garden) -> None:
    space = InformationSpace("whynot", store=log)
    space.bind("Home", "Start")
    space.remark("Home", "looks right")
    assert space.state == InformationSpace.git_backed("whynot", garden.path).state
    assert [event.actor for event in space.explain("Home")] == ["alice", "alice"]
    assert isinstance(InformationSpace.remote("whynot", garden.url).log, RemoteLog)
