"""What each event type does to the state, what it is about, and how it reads in a log."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from shardd.core.canonical import Json
from shardd.core.fold import coordination, fold
from shardd.core.kinds import page_bound
from shardd.core.kinds.default import DEFAULT_KINDS
from shardd.core.kinds.kind import Kind, Line, NoEffect, PageKey, Ref, one_line
from shardd.core.stamp import Stamp
from shardd.core.state import CoordinationState
from shardd.core.statediff import StateDiff, diff_states
from shardd.core.statetext import state_lines
from shardd.errors import Misuse
from tests.backends import events_of
from tests.drafting import Said

ATTACHED: Said = ("shard.attached", {"shard": "garden", "kind": "folder", "title": "The garden"})
BOUND: Said = ("page.bound", {"page": "Home", "same_as": "Start"})
DRAFTED: Said = ("overlay.drafted", {"overlay": "o1", "page": "Home", "text": "Closed today"})
DRAFTED_2: Said = ("overlay.drafted", {"overlay": "o2", "page": "Home", "text": "Open again"})
APPLIED: Said = ("overlay.applied", {"overlay": "o1"})
WITHDRAWN: Said = ("overlay.withdrawn", {"overlay": "o1", "reason": "over"})
SUPERSEDED: Said = ("overlay.superseded", {"overlay": "o1", "by": "o2"})
SETTLED: Said = ("conflict.settled", {"page": "Home", "shard": "garden", "reason": "newer"})
REOPENED: Said = ("conflict.reopened", {"page": "Start"})
REMARKED: Said = ("remark.added", {"remark": "r1", "page": "Home", "text": "Who\nsays?"})
RETRACTED: Said = ("remark.retracted", {"remark": "r1"})

# The events before; the event; what it changes, as a reader of a diff sees it; its line in a log.
EFFECTS: list[tuple[list[Said], Said, list[str], str]] = [
    (
        [],
        ATTACHED,
        ["+ shard garden (The garden, folder) [seq 1, bob]"],
        "shard garden attached (The garden, folder)",
    ),
    (
        [ATTACHED],
        ("shard.attached", {"shard": "garden"}),
        ["~ shard garden [seq 2, Carol <carol@example.org>] (was: shard garden (The garden, folder) [seq 1, bob])"],
        "shard garden attached",
    ),
    (
        [ATTACHED],
        ("shard.detached", {"shard": "garden"}),
        ["- shard garden (The garden, folder) [seq 1, bob]"],
        "shard garden detached",
    ),
    ([], BOUND, ["+ Home and Start are one page [seq 1, bob]"], "Home and Start are one page"),
    ([], ("page.bound", {"page": "Home"}), ["+ Home is a page [seq 1, bob]"], "Home is a page"),
    (
        [],
        ("page.bound", {"page": "Home", "shard": "garden"}),
        ["+ Home is a page, canonical in garden [seq 1, bob]"],
        "Home is a page, canonical in garden",
    ),
    (
        [BOUND],
        ("page.unbound", {"page": "Start", "same_as": "Home"}),
        ["- Home and Start are one page [seq 1, bob]"],
        "Start and Home unbound",
    ),
    (
        [BOUND],
        ("page.unbound", {"page": "Start"}),
        ["- Home and Start are one page [seq 1, bob]"],
        "Start unbound from everything",
    ),
    ([], DRAFTED, ["+ overlay o1 on Home: drafted [seq 1, bob]"], "overlay o1 drafted for Home: Closed today"),
    (
        [DRAFTED],
        APPLIED,
        [
            "~ overlay o1 on Home: applied [seq 2, Carol <carol@example.org>] "
            "(was: overlay o1 on Home: drafted [seq 1, bob])"
        ],
        "overlay o1 applied",
    ),
    (
        [DRAFTED],
        WITHDRAWN,
        [
            "~ overlay o1 on Home: withdrawn [seq 2, Carol <carol@example.org>] "
            "(was: overlay o1 on Home: drafted [seq 1, bob])"
        ],
        "overlay o1 withdrawn: over",
    ),
    (
        [DRAFTED, DRAFTED_2],
        SUPERSEDED,
        ["~ overlay o1 on Home: superseded by o2 [seq 3, alice] (was: overlay o1 on Home: drafted [seq 1, bob])"],
        "overlay o1 superseded by o2",
    ),
    ([], SETTLED, ["+ Home: garden is canonical [seq 1, bob]"], "Home: garden is canonical: newer"),
    (
        [BOUND, SETTLED],
        REOPENED,
        ["- Home: garden is canonical [seq 2, Carol <carol@example.org>]"],
        "Start: conflict reopened",
    ),
    ([], REMARKED, ["+ remark r1 on Home: Who says? [seq 1, bob]"], "remark r1 on Home: Who says?"),
    (
        [REMARKED],
        RETRACTED,
        [
            "~ remark r1 on Home: retracted [seq 2, Carol <carol@example.org>] "
            "(was: remark r1 on Home: Who says? [seq 1, bob])"
        ],
        "remark r1 retracted",
    ),
]


@pytest.mark.parametrize(("before", "event", "changes", "summary"), EFFECTS)
def test_an_event_has_its_effect_and_no_other(
    before: list[Said], event: Said, changes: list[str], summary: str
) -> None:
    events = events_of([*before, event])
    *found, counted = diff_states(fold(events[:-1]), fold(events)).changes
    diff = StateDiff(None, None, tuple(found))
    assert list(diff.lines())[1:] == changes
    assert counted.part == "counts"
    assert DEFAULT_KINDS.summary(events[-1]) == summary


NOTHING_TO_ACT_ON: list[tuple[list[Said], Said]] = [
    ([], ("shard.detached", {"shard": "garden"})),
    ([], ("page.unbound", {"page": "Home"})),
    ([BOUND], ("page.unbound", {"page": "Home", "same_as": "Other"})),
    ([], APPLIED),
    ([DRAFTED, APPLIED], APPLIED),
    ([DRAFTED, WITHDRAWN], APPLIED),
    ([DRAFTED, WITHDRAWN], WITHDRAWN),
    ([DRAFTED], SUPERSEDED),
    ([DRAFTED], ("overlay.superseded", {"overlay": "o1", "by": "o1"})),
    ([DRAFTED, APPLIED], DRAFTED),
    ([DRAFTED], ("overlay.drafted", {"overlay": "o1", "page": "Other", "text": ""})),
    ([], REOPENED),
    ([SETTLED], REOPENED),  # Start is not Home here
    ([REMARKED], REMARKED),
    ([], RETRACTED),
    ([REMARKED, RETRACTED], RETRACTED),
]


@pytest.mark.parametrize(("before", "event"), NOTHING_TO_ACT_ON)
def test_an_event_with_nothing_to_act_on_is_set_aside(before: list[Said], event: Said) -> None:
    events = events_of([*before, event])
    state = fold(events)
    assert state.set_aside[len(events)].reason == "no-effect"
    assert {change.part for change in diff_states(fold(events[:-1]), state).changes} == {"counts", "set_aside"}


MALFORMED: list[Said] = [
    ("shard.attached", {}),
    ("shard.attached", {"shard": ""}),
    ("shard.attached", {"shard": "gar\nden"}),
    ("shard.attached", {"shard": "x" * 201}),
    ("page.bound", {"page": 1}),
    ("page.bound", {"page": "Home", "same_as": ["Start"]}),
    ("page.bound", {"page": "Home", "v": 0}),
    ("page.bound", {"page": "Home", "v": True}),
    ("page.bound", {"page": "Home", "v": "1"}),
    ("overlay.drafted", {"overlay": "o1", "page": "Home"}),
    ("remark.added", {"remark": None, "page": "Home", "text": ""}),
]


@pytest.mark.parametrize("event", MALFORMED)
def test_malformed_data_is_set_aside(event: Said) -> None:
    events = events_of([event])
    state = fold(events)
    assert state.set_aside[1].reason == "malformed"
    assert state.counts[event[0]].malformed == 1
    assert DEFAULT_KINDS.summary(events[0]).startswith(event[0])


def test_fields_that_a_type_does_not_have_do_no_harm() -> None:
    assert fold(events_of([("page.bound", {"page": "Home", "mood": {"deep": [1]}})])).page("Home") == ("Home",)
    assert not fold(events_of([("page.bound", {"page": "Home", "mood": 1})])).set_aside


def test_a_version_newer_than_known_is_unknown_and_not_malformed() -> None:
    state = fold(events_of([("page.bound", {"v": 2, "pages": ["Home"]})]))
    assert state.set_aside[1].reason == "unknown"
    assert DEFAULT_KINDS.summary(events_of([("page.bound", {"v": 2})])[0]) == (
        "page.bound (data.v: version 2; 1 is the newest known here)"
    )


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    old: PageKey
    new: PageKey
    why: Line


def _move(state: CoordinationState, data: Moved, by: Stamp) -> CoordinationState | NoEffect:
    return NoEffect("it stays") if data.old == data.new else state.with_extra(f"moved/{data.old}", data.new)


def _v1(data: dict[str, Json]) -> dict[str, Json]:
    return {"old": data.pop("from"), "new": data.pop("to")}


def _v2(data: dict[str, Json]) -> dict[str, Json]:
    return {**data, "why": "not said"}


MOVED = Kind(
    name="page.moved",
    data=Moved,
    effect=_move,
    about=lambda data: (Ref("page", data.old), Ref("page", data.new)),
    summary=lambda data: f"{data.old} is {data.new} now: {data.why}",
    version=3,
    upcasts={1: _v1, 2: _v2},
)
KINDS = DEFAULT_KINDS.with_kind(MOVED)


def test_every_older_version_is_lifted_to_the_newest() -> None:
    events = events_of(
        [
            ("page.moved", {"from": "a", "to": "b"}),
            ("page.moved", {"v": 2, "old": "c", "new": "d"}),
            ("page.moved", {"v": 3, "old": "e", "new": "f", "why": "tidy"}),
            ("page.moved", {"v": 4}),
            ("page.moved", {"from": "a"}),
            ("page.moved", {"v": 3, "old": "g", "new": "g", "why": ""}),
        ]
    )
    state = fold(events, kinds=KINDS)
    assert dict(state.extra) == {"moved/a": "b", "moved/c": "d", "moved/e": "f"}
    assert [state.set_aside[seq].reason for seq in sorted(state.set_aside)] == ["unknown", "malformed", "no-effect"]
    assert [KINDS.summary(event) for event in events[:3]] == [
        "a is b now: not said",
        "c is d now: not said",
        "e is f now: tidy",
    ]
    assert events[0].data == {"from": "a", "to": "b"}
    assert MOVED.write(Moved(old="a", new="b", why="w")) == {"old": "a", "new": "b", "why": "w", "v": 3}


def test_adding_a_type_leaves_the_registry_as_it_was() -> None:
    assert "page.moved" in KINDS.kinds
    assert "page.moved" not in DEFAULT_KINDS.kinds
    assert coordination(KINDS).version != coordination().version


def test_a_type_that_is_there_cannot_be_given_another_meaning() -> None:
    with pytest.raises(Misuse, match=r"page\.bound is there already"):
        DEFAULT_KINDS.with_kind(page_bound.KIND)


def test_a_version_needs_all_its_upcasts() -> None:
    with pytest.raises(Misuse, match="version 3 needs an upcast from each of 1 to 2"):
        Kind(
            name="x",
            data=Moved,
            effect=_move,
            about=lambda data: (),
            summary=lambda data: "",
            version=3,
            upcasts={2: _v2},
        )


def test_a_raised_revision_makes_old_snapshots_useless() -> None:
    raised = DEFAULT_KINDS.with_kind(dataclasses.replace(MOVED, revision=2))
    assert raised.fingerprint() != KINDS.fingerprint()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\n\n b\t", "a b"),
        ("\x1b[31mred", "[31mred"),
        ("left\u202eright", "left right"),
        ("x" * 101, "x" * 99 + "…"),
        ("x" * 100, "x" * 100),
        (" " * 5000 + "far", "…"),
    ],
)
def test_one_line(text: str, line: str) -> None:
    assert one_line(text) == line


def test_a_state_in_lines_for_people() -> None:
    events = events_of([ATTACHED, BOUND, DRAFTED, SETTLED, REMARKED, ("acme.seen", {}), ("page.bound", {})])
    assert list(state_lines(fold(events))) == [
        f"seq 7 {events[-1].oid[:12]}, 7 events",
        "shards:",
        "  shard garden (The garden, folder) [seq 1, bob]",
        "pages under several keys, or named by a binding:",
        "  Home = Start",
        "settled:",
        "  Home: garden is canonical [seq 4, bob]",
        "overlays:",
        "  overlay o1 on Home: drafted [seq 3, alice]",
        "remarks:",
        "  remark r1 on Home: Who says? [seq 5, Carol <carol@example.org>]",
        "event types:",
        "  acme.seen: 1 event (1 unknown)",
        "  conflict.settled: 1 event",
        "  overlay.drafted: 1 event",
        "  page.bound: 2 events (1 malformed)",
        "  remark.added: 1 event",
        "  shard.attached: 1 event",
        "set aside:",
        "  seq 6 acme.seen: unknown",
        "  seq 7 page.bound: malformed (data.page)",
    ]
