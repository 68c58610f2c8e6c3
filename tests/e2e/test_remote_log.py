"""RemoteLog: the log's interface over ssh, with answers like those of a log at hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shardd import (
    Draft,
    GitLog,
    Head,
    HeadMoved,
    InformationSpace,
    Misuse,
    NotHolder,
    Rejected,
    RemoteLog,
    StaleEpoch,
    Unavailable,
)
from shardd.errors import BadEvent
from tests.e2e.harness import Actor, Garden, Server

WHEN = datetime(2026, 6, 15, 10, 0, 0, 123456, tzinfo=UTC)


def connect(who: Actor, garden: Garden, **options: bool | int) -> RemoteLog:
    known = who.home / "known_hosts"
    return RemoteLog(garden.url, key=who.key, known_hosts=known, **options)  # type: ignore[arg-type]


@pytest.fixture
def log(alice: Actor, garden: Garden) -> Iterator[RemoteLog]:
    with connect(alice, garden) as log:
        yield log


def drafts(count: int, *, start: int = 0) -> list[Draft]:
    return [
        Draft(type="note", data={"n": n}, actor="alice", id=f"id-{n}", time=WHEN) for n in range(start, start + count)
    ]


def test_what_is_appended_is_read_alike_from_near_and_far(log: RemoteLog, garden: Garden) -> None:
    empty = log.head("whynot")
    assert empty is not None
    assert (empty.seq, list(log.events("whynot"))) == (0, [])
    made = log.append("whynot", "page.bound", {"k": 1.0, "a": ["é", None, 1e21]}, subject="Home", time=WHEN)
    assert (made.seq, made.actor, made.data, made.time) == (1, "alice", {"k": 1, "a": ["é", None, 1e21]}, WHEN)
    log.append_many("whynot", drafts(20))
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
        log.append_many("whynot", [*drafts(1), *drafts(1)])
    assert caught.value.code == "duplicate-event"
    batch = log.append_many("whynot", drafts(3))
    assert log.append_many("whynot", drafts(3)) == batch
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
