"""`log`, `show`, `explain`: what they find and how they say it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from shardd.authority.appending import append_drafts
from shardd.authority.facts import Pusher
from shardd.commands import events
from shardd.core.event import Event
from shardd.core.roles import Grant
from shardd.errors import Misuse
from shardd.logs.as_of import find_event
from shardd.logs.memory_log import MemoryLog
from shardd.logs.snapshots import SnapshotStore
from tests.asking import Asked, server_of
from tests.drafting import Said, drafts

SPACE = "garden/whynot"
SAID: list[Said] = [
    ("shard.attached", {"shard": "garden"}),
    ("page.bound", {"page": "Home", "same_as": "Start"}),
    ("overlay.drafted", {"overlay": "o1", "page": "Start", "text": "x"}),
    ("page.bound", {"page": "Other"}),
    ("overlay.applied", {"overlay": "o1"}),
    ("wip", {"a": "b\x1b"}),
    ("conflict.settled", {"page": "Home", "shard": "garden"}),
    ("page.bound", {}),
]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    ask = server_of(tmp_path_factory.mktemp("reading"))
    ask.context.server.access.grant(Grant("bob", "append", "garden"))
    with ask.context.authority("garden") as authority:
        append_drafts(authority, "whynot", drafts("alice", SAID[:5], prefix="e"), Pusher("alice", unleased=True))
        append_drafts(authority, "whynot", drafts("bob", SAID[5:], prefix="f"), Pusher("bob", unleased=True))
    return ask


CASES = {
    "": [1, 2, 3, 4, 5, 6, 7, 8],
    "-n 2": [7, 8],
    "-n 2 --reverse": [8, 7],
    "-n 0": [],
    "--reverse": [8, 7, 6, 5, 4, 3, 2, 1],
    "--after 6": [7, 8],
    "--after 2 -n 99 --reverse": [8, 7, 6, 5, 4, 3],
    "--actor bob": [6, 7, 8],
    "--actor b*": [6, 7, 8],
    "--type page.bound": [2, 4, 8],
    "--type overlay.*": [3, 5],
    "--type page.bound -n 1": [8],
    "--since 2026-06-15T10:05:00Z": [5],
    "--until 2026-06-15T10:01:00Z": [1, 6],
    "--since 2026-06-15T10:02:00Z --until 2026-06-15T10:03:00Z": [2, 3, 7, 8],
    "--about Home": [1, 2, 3, 5, 7, 8],
    "--about Start --actor alice": [1, 2, 3, 5],
    "--about Nowhere": [],
}


@pytest.mark.parametrize("words", CASES)
def test_a_log_is_asked_for_what_one_looks_for(ask: Asked, words: str) -> None:
    told = ask("log", SPACE, *words.split(), "--json")
    assert [value["seq"] for value in told.values] == CASES[words]
    lines = ask("log", SPACE, *words.split()).said
    assert [int(line.split()[0]) for line in lines] == CASES[words], "the same for people, where it is no terminal"


@pytest.mark.parametrize("held", [1, 2, 8])
def test_of_many_events_the_newest_are_read_and_not_held(
    ask: Asked, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    for words, seqs in CASES.items():
        if "-n" in words:
            monkeypatch.setattr(events, "_MOST_HELD", held)
            assert [value["seq"] for value in ask("log", SPACE, *words.split(), "--json").values] == seqs
    log = MemoryLog()
    log.append_many(
        SPACE.partition("/")[2], [event for each in range(9) for event in drafts("a", SAID, prefix=str(each))]
    )
    source = events.Source(log, "whynot", SnapshotStore(Path("nowhere")))
    kept: list[int] = []

    def counted(each: Iterator[Event], most: int) -> Iterator[Event]:
        for event in islice(each, most):
            kept.append(event.seq)
            yield event

    monkeypatch.setattr(events, "islice", counted)
    assert [event.seq for event in source.picked(events.Picks(count=10**9), newest=False)] == list(range(1, 73))
    assert len(kept) == held


def test_times_are_marked_and_a_line_may_be_short(ask: Asked) -> None:
    assert "  2026-06-15 10:02:00Z  alice " in ask("log", SPACE, "--after", "1", "-n", "99").said[0]
    oid = ask("log", SPACE, "--json").values[1]["oid"]
    assert ask("log", SPACE, "--oneline", "--type", "page.*").said[0] == f"2 {oid[:12]} page.bound"


def test_one_event_is_shown_by_any_of_its_names(ask: Asked) -> None:
    values = ask("log", SPACE, "--json").values
    for value in values:
        for name in (str(value["seq"]), value["id"], value["oid"], value["oid"][:10], value["oid"][:7].upper()):
            assert ask("show", SPACE, name, "--json").values == [value]
    text = ask("show", SPACE, "2").said
    assert text[0] == "page.bound"
    assert "  says          Home and Start are one page" in text
    assert '      "same_as": "Start"' in text
    assert "  says          set aside: data.page: is missing" in ask("show", SPACE, "8").said
    assert all(line.isprintable() for line in ask("show", SPACE, "6").said)
    for wrong in ("0", "9", "99999", "nosuch", "ffffffff"):
        assert (ask("show", SPACE, wrong).status, wrong in ask("show", SPACE, wrong).text) == (2, True)


def test_a_page_is_explained_by_any_of_its_names(ask: Asked) -> None:
    for name in ("Home", "Start"):
        assert [value["seq"] for value in ask("explain", SPACE, name, "--json").values] == [1, 2, 3, 5, 7, 8]
    assert ask("explain", SPACE, "Nowhere").said == []


def test_a_fold_names_the_field_of_what_is_set_aside(ask: Asked) -> None:
    assert "  seq 8 page.bound: malformed (data.page)" in ask("fold", SPACE).said
    (state,) = ask("fold", SPACE, "--json").values
    assert [(each["seq"], each["field"]) for each in state["set_aside"]] == [(6, None), (8, "data.page")]


@pytest.mark.parametrize("command", ["log", "show", "explain", "fold", "lease show", "append"])
def test_a_name_that_is_nearly_that_of_a_space_is_answered_with_it(ask: Asked, command: str) -> None:
    more = {"show": ["1"], "explain": ["Home"], "append": ["wip"]}.get(command, [])
    told = ask(*command.split(), "garden/whynto", *more)
    assert told.status == 1
    assert "no-such-space: there is no space garden/whynto; did you mean garden/whynot?" in told.complaints[0]


def test_of_times_and_numbers_that_are_none_the_words_are_told(ask: Asked) -> None:
    for words, says in (
        (["--since", "soon"], "is no time"),
        (["-n", "x"], "whole number"),
        (["--until", ""], "no time"),
    ):
        told = ask("log", SPACE, *words)
        assert (told.status, says in told.text) == (2, True)


def test_an_oid_that_begins_several_is_asked_about() -> None:
    log = MemoryLog()
    log.append_many("whynot", drafts("alice", range(3000)))
    oids = [event.oid[:4] for event in log.events("whynot")]
    twice = next((oid for oid in oids if oids.count(oid) > 1 and not oid.isdigit()), None)
    assert twice is not None
    with pytest.raises(Misuse, match="give more digits"):
        find_event(log, "whynot", twice)


def test_a_state_is_as_of_a_time_as_people_say_it(ask: Asked) -> None:
    first = ask("fold", SPACE, "--at", "2026-06-15 10:01Z", "--json").values
    assert first[0]["head"]["seq"] == 1
    (diff,) = ask("diff", SPACE, "1", "2.days.ago", "--json").values
    assert diff["before"]["seq"] == 1
    told = ask("fold", SPACE, "--at", "someday")
    assert (told.status, "'someday' is no point in a log" in told.text) == (2, True)
