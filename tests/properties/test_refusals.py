"""Errors over the wire: what a server refuses with arrives as the same class, with the same data and the same words."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardd.core.error_values import error_from, error_value
from shardd.core.event import Head
from shardd.core.limits import TooLarge
from shardd.core.refusals import Asked, HeadMoved, Met, NotHolder, Stale, StaleEpoch, Turn
from shardd.core.tenancy import Ended, Lease, milliseconds, stamp
from shardd.errors import BadEvent, Corrupt, Damaged, Misuse, Rejected, SharddError, Unavailable
from tests.clocks import NOON

PEOPLE = st.sampled_from(["alice", "bob"])
TIMES = st.integers(0, 200_000_000).map(lambda after: NOON + after)
LEASES = st.builds(Lease, st.just("whynot"), PEOPLE, st.integers(1, 99), TIMES, TIMES, st.booleans())
TURNS = st.builds(
    Turn,
    space=st.just("garden/whynot"),
    principal=PEOPLE,
    now=TIMES,
    lease=st.none() | LEASES,
    asked=st.sampled_from(Asked),
    ended=st.sampled_from(Ended),
    waiting=st.lists(PEOPLE, max_size=2).map(tuple),
    barred_until=st.none() | TIMES,
    may_append=st.booleans(),
)
HEADS = st.builds(Head, st.integers(-1, 2**53 - 1), st.sampled_from(["2" * 40, "f" * 64]))
TEXTS = st.text(max_size=20)
ERRORS: st.SearchStrategy[SharddError] = (
    st.builds(NotHolder, TURNS)
    | st.builds(
        HeadMoved,
        st.none() | HEADS,
        space=st.just("garden/whynot"),
        expected=st.none() | st.just("absent") | HEADS,
        met=st.sampled_from(Met),
    )
    | st.builds(
        StaleEpoch,
        st.sampled_from(Stale),
        st.just("garden/whynot"),
        st.integers(0, 99),
        st.none() | st.integers(0, 99),
        commit=st.just("2" * 12),
    )
    | st.builds(BadEvent, TEXTS, TEXTS, TEXTS, code=st.sampled_from(["bad-event", "duplicate-event"]), where=TEXTS)
    | st.builds(Damaged, TEXTS, st.none() | st.integers(0, 9), st.just("2" * 40), TEXTS, TEXTS)
    | st.builds(Rejected, st.sampled_from(["frozen", "not-holder", "stale-epoch", "non-fast-forward"]), TEXTS, TEXTS)
    | st.builds(Misuse, TEXTS, TEXTS)
    | st.builds(Unavailable, TEXTS, TEXTS)
    | st.builds(Corrupt, TEXTS, TEXTS)
)


def data(error: SharddError) -> dict[str, Any]:
    """What it carries besides its words."""
    return {name: value for name, value in vars(error).items() if not name.startswith("_")}


def over_the_wire(error: SharddError, reach: str = "shardd") -> SharddError:
    return error_from(json.loads(json.dumps(error_value(error, reach))))


@given(ERRORS)
def test_an_error_arrives_as_it_left(error: SharddError) -> None:
    arrived = over_the_wire(error)
    assert type(arrived) is type(error)
    assert (arrived.code, arrived.words(), arrived.exit_status) == (error.code, error.words(), error.exit_status)
    assert data(arrived) == data(error)


@given(ERRORS)
def test_an_error_is_the_same_from_another_process_of_ours(error: SharddError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.words(), data(again)) == (type(error), error.words(), data(error))


@given(TURNS)
def test_its_remedies_are_those_of_the_reader_for_whom_they_were_written(turn: Turn) -> None:
    arrived = over_the_wire(NotHolder(turn), "ssh -p 2222 host")
    assert "`shardd " not in arrived.remedy
    assert isinstance(arrived, NotHolder)
    assert arrived.lease == turn.lease


@pytest.mark.parametrize("code", ["not-holder", "non-fast-forward", "stale-epoch", "frozen", "no-such-thing"])
def test_what_says_no_more_than_its_words_is_a_refusal_by_its_code(code: str) -> None:
    found = error_from({"code": code, "message": "m", "remedy": "r"})
    assert type(found) is Rejected
    assert (found.code, found.words()) == (code, ("m", "r"))


@pytest.mark.parametrize("lease", ["x", {"holder": "bob"}, {"holder": "bob", "granted": "yesterday"}, []])
def test_data_that_do_not_read_are_left_out(lease: object) -> None:
    said: Any = error_value(NotHolder(Turn(space="garden/whynot", principal="alice", now=NOON)), "shardd")
    found = error_from(said | {"lease": lease})
    assert type(found) is Rejected
    assert found.code == "not-holder"


@pytest.mark.parametrize("said", [None, "x", [], {}, {"code": 1, "message": "m"}])
def test_what_is_no_error_is_corrupt(said: Any) -> None:
    assert isinstance(error_from(said), Corrupt)


@given(TIMES)
def test_a_time_is_read_back_as_it_was_written(time: int) -> None:
    assert milliseconds(stamp(time)) == time


def test_a_commit_that_is_too_large_says_its_size() -> None:
    error = TooLarge("2" * 40, 70_000, 65_536)
    assert (error.oid, error.size, error.limit) == ("2" * 40, 70_000, 65_536)
    assert error.message == "commit 222222222222 has 70000 bytes; 65536 are allowed"
    assert type(over_the_wire(error)) is Rejected
