"""The fold's edges: order, foreign JSON, folds of one's own."""

from __future__ import annotations

import pytest

from shardd.core.canonical import Json
from shardd.core.fold import Reducer, fold
from shardd.core.state import EMPTY, CoordinationState
from shardd.core.statediff import diff_states
from shardd.errors import Corrupt, Misuse
from tests.backends import events_of

EVENTS = events_of([("page.bound", {"page": "Home"}), ("shard.attached", {"shard": "garden"})])


def test_an_event_folded_twice_is_refused() -> None:
    with pytest.raises(Misuse, match="the event 2 does not come after 2"):
        fold(EVENTS[1:], fold(EVENTS))


def test_the_head_is_the_last_event() -> None:
    head = fold(EVENTS).head
    assert head is not None
    assert (head.seq, head.oid) == (2, EVENTS[1].oid)
    assert fold([]) is EMPTY


def test_states_with_the_same_bytes_have_the_same_digest() -> None:
    assert fold(EVENTS).digest() == fold(EVENTS[1:], fold(EVENTS[:1])).digest()
    assert fold(EVENTS).digest() != fold(EVENTS[:1]).digest()


@pytest.mark.parametrize("value", [None, [], {}, {"head": 1}, {**EMPTY.to_json(), "shards": [{"shard": "x"}]}])
def test_json_that_is_no_state_is_corrupt(value: Json) -> None:
    with pytest.raises(Corrupt, match="not a coordination state"):
        CoordinationState.from_json(value)


def test_a_diff_as_json_and_back_in_time() -> None:
    before, after = fold(EVENTS[:1]), fold(EVENTS)
    there = diff_states(before, after)
    assert there.to_json()["before"] == {"seq": 1, "oid": EVENTS[0].oid}
    assert [(change.part, change.key) for change in there.changes] == [
        ("shards", "garden"),
        ("counts", "shard.attached"),
    ]
    back = diff_states(after, before)
    assert [(c.part, c.key, c.after, c.before) for c in back.changes] == [
        (c.part, c.key, c.before, c.after) for c in there.changes
    ]
    assert list(back.lines())[1] == "- shard garden [seq 2, Carol <carol@example.org>]"
    assert diff_states(after, after).changes == ()


def test_a_diff_shows_what_a_type_of_ones_own_keeps() -> None:
    diff = diff_states(fold(EVENTS).with_extra("stars", 1), fold(EVENTS).with_extra("stars", 2))
    assert diff.to_json()["changes"] == [{"part": "extra", "key": "stars", "before": 1, "after": 2}]


def test_a_reducer_needs_a_name_that_can_be_a_folder_and_a_version_that_can_be_a_file() -> None:
    with pytest.raises(Misuse, match="not a name for a fold"):
        Reducer(name="../x", version=1, initial=0, step=lambda state, event: state)
    with pytest.raises(Misuse, match="not a version of a fold"):
        Reducer(name="x", version="1/2", initial=0, step=lambda state, event: state)
