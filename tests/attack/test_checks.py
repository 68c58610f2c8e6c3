"""The checks of the attack are checked: whatever a system could do wrong to a history is found in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shardd.logs.git_log import GitLog
from tests.attack.actors.life import a_draft
from tests.attack.checks import Checker
from tests.attack.history import History
from tests.attack.model import Sight, Told
from tests.attack.records import Record, Seen
from tests.attack.stage import REPO, SHED, Stage
from tests.e2e.harness import Server

SPACE = f"{REPO}/one"
OIDS = ["0" * 40, *(f"{n:040x}" for n in range(1, 10))]


@pytest.fixture
def checker(tmp_path: Path) -> Checker:
    server = Server(tmp_path / "server", None)
    return Checker(Stage(tmp_path, server, History(tmp_path / "history.jsonl")))


def record(*ids: str, holder: str = "p1") -> Record:
    """Events 1, 2 … of these ids, all under one tenure of p1 that began at the genesis."""
    log = {seq: Seen(seq, OIDS[seq], id, holder, 1) for seq, id in enumerate(ids, 1)}
    entry: dict[str, Any] = {"epoch": 1, "holder": "p1", "resumed_at": {"seq": 0, "oid": OIDS[0]}}
    return Record(SPACE, log, {each.id: each.seq for each in log.values()}, [entry], (0, OIDS[0]), len(log))


def call(number: str, *ids: str, do: str = "append") -> dict[str, Any]:
    events = {SPACE: [[id, None, None] for id in ids]}
    return {"call": number, "do": do, "who": "p1", "way": "log", "events": events}


def done(number: str, how: str, *placed: tuple[str, int], code: str = "not-holder") -> dict[str, Any]:
    said = {"events": {SPACE: [[id, seq, OIDS[seq]] for id, seq in placed]}} if placed else {}
    return {"done": number, "how": how, "code": code, **said}


def found(checker: Checker, there: Record, *lines: dict[str, Any]) -> str:
    """What is wrong with these calls and answers, if this is there."""
    told = Told()
    told.read(lines)
    checker.records[SPACE] = there
    problems = [*told.problems, *(problem for group in told.groups() for problem in checker.judge(group))]
    problems += [problem for sight in told.sights for problem in there.sees(sight)]
    return "\n".join(problems)


RIGHT = (done("1", "ok", ("a", 1), ("b", 2)), done("1", "unknown"), done("1", "refused"))


@pytest.mark.parametrize(
    ("there", "lines", "what"),
    [
        (record("a", "b"), [call("1", "a", "b"), RIGHT[0]], ""),
        (record("a", "b"), [call("1", "a", "b"), RIGHT[1]], ""),
        (record("a", "b"), [call("1", "a", "b")], ""),
        (record(), [call("1", "a", "b")], ""),
        (record(), [call("1", "a", "b"), RIGHT[2]], ""),
        (record("a", "b"), [call("1", "a", "b"), RIGHT[1], call("2", "a", "b"), done("2", "refused")], ""),
        (record("a"), [call("1", "a", "b"), RIGHT[0]], "LOST: "),
        (record(), [call("1", "a", "b"), RIGHT[0]], "2 events are not there"),
        (record("a"), [call("1", "a", "b"), RIGHT[1]], "1 of 2 events landed"),
        (record("a"), [call("1", "a", "b")], "1 of 2 events landed"),
        (record("a", "b"), [call("1", "a", "b"), RIGHT[2]], "and yet"),
        (record("b", "a"), [call("1", "a", "b"), RIGHT[0]], "told as"),
        (record("a", holder="p2"), [call("1", "a")], "is not of p1"),
        (
            record("a", "b"),
            [call("1", "b"), done("1", "ok", ("b", 2)), call("2", "a"), done("2", "ok", ("a", 1))],
            "stands before seq 2",
        ),
        (record(), [call("1", "a"), done("1", "failed", code="corrupt")], "must not be answered like this"),
        (record(), [call("1", "a"), done("1", "refused", code="duplicate-event")], "must not be answered like this"),
        (record("a"), [call("1", "a"), done("1", "unknown"), done("1", "ok", ("a", 1))], "a second one"),
    ],
)
def test_appends(checker: Checker, there: Record, lines: list[dict[str, Any]], what: str) -> None:
    said = found(checker, there, *lines)
    assert (what in said) if what else not said, said


def read(number: str, seq: int | None, oid: str | None = None) -> list[dict[str, Any]]:
    head = None if seq is None else [seq, oid or OIDS[seq]]
    asked = {"call": number, "do": "read", "who": "p2", "way": "near", "space": SPACE}
    return [asked, {"done": number, "how": "ok", "head": head}]


def test_a_reader_sees_what_was_acknowledged_or_seen_before(checker: Checker) -> None:
    append = [call("1", "a", "b"), RIGHT[0]]
    there = record("a", "b", "c")
    assert found(checker, there, *append, *read("2", 2), *read("3", 3)) == ""
    assert "seq 2 had been acknowledged" in found(checker, there, *append, *read("2", 1))
    assert "seq 3 had been acknowledged or seen" in found(checker, there, *read("2", 3), *read("3", 2))
    assert "seq 2 had been acknowledged" in found(checker, there, *append, *read("2", None))
    assert "not in the log" in found(checker, there, *read("2", 2, OIDS[3]))


@pytest.mark.parametrize(
    ("verb", "epoch", "head", "holder", "what"),
    [
        ("grant", 1, 0, "p1", ""),
        ("release", 1, 2, "p1", ""),
        ("grant", 1, 1, "p1", "and the journal: "),
        ("grant", 1, 0, "p2", "and the journal: "),
        ("acquire", 2, 2, "p1", "the journal does not have it"),
        ("release", 1, 1, None, "its log went on to 2"),
    ],
)
def test_lease_answers(verb: str, epoch: int, head: int, holder: str | None, what: str) -> None:
    asked = {"call": "1", "do": "lease", "way": "ssh", "verb": verb, "words": [holder]}
    said = "\n".join(record("a", "b").sees(Sight(asked, SPACE, (head, OIDS[head]), 0, epoch, holder)))
    assert (what in said) if what else not said, said


def test_a_log_that_was_rewound(checker: Checker) -> None:
    label = f"{SHED}/two"
    log = GitLog(checker.stage.shed)
    events = [log.append_many("two", [a_draft("p1", f"id-{n}")])[0] for n in range(3)]
    there = Record(label)
    assert list(there.update(checker.stage)) == []
    assert [there.log[n].oid for n in (1, 2, 3)] == [event.oid for event in events]
    moved = checker.stage.git(checker.stage.shed, "update-ref", "refs/heads/spaces/two", events[1].oid)
    assert moved.ok
    assert "was rewound or forked" in next(there.update(checker.stage))


def test_a_torn_line_is_left_out(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.note(act="one")
    with history.path.open("ab") as file:
        file.write(b'\n{"t": 1, "act": "tor')
    history.note(act="two")
    lines, end = history.read(0)
    assert [line["act"] for line in lines] == ["one", "two"]
    assert history.read(end) == ([], end)
