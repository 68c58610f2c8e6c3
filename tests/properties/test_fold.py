"""The fold gives one answer, however it is run."""

from __future__ import annotations

import json
from functools import reduce
from itertools import pairwise

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from shardd.core.bindings import Binding, Bindings
from shardd.core.fold import coordination, fold
from shardd.core.kinds.default import DEFAULT_KINDS
from shardd.core.stamp import stamp
from shardd.core.state import EMPTY, CoordinationState
from shardd.core.statediff import diff_states
from tests.backends import events_of
from tests.drafting import Said
from tests.properties.sequences import KEYS, key, sequences


@given(sequences, st.lists(st.integers(0, 40), max_size=4))
def test_any_split_folds_to_the_same(said: list[Said], cuts: list[int]) -> None:
    events = events_of(said)
    places = sorted({0, len(events), *(min(cut, len(events)) for cut in cuts)})
    pieces = [events[a:b] for a, b in pairwise(places)]
    at_once = fold(events)
    in_pieces = reduce(lambda state, piece: fold(piece, state), pieces, EMPTY)
    assert in_pieces == at_once
    assert in_pieces.canonical() == at_once.canonical()
    assert coordination().fold(events) == at_once


@given(sequences, sequences)
def test_a_state_read_from_json_is_the_state_and_folds_on_like_it(said: list[Said], more: list[Said]) -> None:
    events = events_of([*said, *more])
    before = fold(events[: len(said)])
    again = CoordinationState.from_json(json.loads(before.canonical()))
    assert again == before
    assert again.canonical() == before.canonical()
    assert CoordinationState.from_json(before.to_json()) == before
    assert fold(events[len(said) :], again).canonical() == fold(events).canonical()


@given(sequences)
def test_folding_on_changes_no_earlier_state(said: list[Said]) -> None:
    states, bytes_then = [EMPTY], [EMPTY.canonical()]
    for event in events_of(said):
        states.append(fold([event], states[-1]))
        bytes_then.append(states[-1].canonical())
    assert [state.canonical() for state in states] == bytes_then


@given(sequences)
def test_the_canonical_bytes_are_rfc_8785(said: list[Said]) -> None:
    plain = fold(events_of(said))
    # Beyond the BMP, names sort otherwise by UTF-16 than by code point; and 1.0 is written 1.
    odd = plain.with_extra("𝒵", 1.0).with_extra("\ufb33", {"b": 1, "a": [None]})
    for state in (plain, odd):
        assert state.canonical() == rfc8785.dumps(state.to_json())
        assert CoordinationState.from_json(json.loads(state.canonical())) == state


@given(sequences)
def test_every_event_is_counted_once_and_every_one_set_aside_is_listed(said: list[Said]) -> None:
    events = events_of(said)
    state = fold(events)
    assert state.events == len(events)
    assert {type: tally.events for type, tally in state.counts.items()} == {
        type: sum(event.type == type for event in events) for type, _ in said
    }
    listed = [(row.type, row.reason) for row in state.set_aside.values()]
    for type, tally in state.counts.items():
        assert listed.count((type, "unknown")) == tally.unknown
        assert listed.count((type, "malformed")) == tally.malformed
        assert listed.count((type, "no-effect")) == tally.no_effect


@given(sequences)
def test_an_event_set_aside_changes_nothing_but_the_counts_and_the_head(said: list[Said]) -> None:
    state = EMPTY
    for event in events_of(said):
        after = fold([event], state)
        parts = {change.part for change in diff_states(state, after).changes}
        if event.seq in after.set_aside:
            assert parts == {"counts", "set_aside"}
        else:
            assert "set_aside" not in parts
        state = after


@given(sequences)
def test_every_event_has_a_summary_of_one_safe_line(said: list[Said]) -> None:
    for event in events_of(said):
        line = DEFAULT_KINDS.summary(event)
        assert 1 <= len(line) <= 100
        assert line.isprintable()


_edges = st.lists(st.tuples(key, key), max_size=12)


@given(_edges, st.lists(st.tuples(key, key) | key, max_size=8))
def test_classes_follow_from_the_bindings_alone(
    edges: list[tuple[str, str]], cuts: list[tuple[str, str] | str]
) -> None:
    by = stamp(events_of([("x", {})])[0])
    found = Bindings.of(Binding(a, b, None, by) for a, b in edges)
    for cut in cuts:
        rest = found.unbind_all(cut) if isinstance(cut, str) else found.unbind(*cut)
        found = rest or found
    rebuilt = Bindings.of(sorted(found, key=lambda binding: (binding.same_as, binding.page)))
    assert rebuilt == found
    assert rebuilt.pages() == found.pages()
    assert sorted(key for page in found.pages() for key in page) == sorted(found.keys())
    for binding in found:
        assert binding.same_as in found.page(binding.page)
    for one in KEYS:
        assert all(found.page(other) == found.page(one) for other in found.page(one))
