"""Every event that the format holds goes out as a line and comes back the same; and every line is canonical."""

from __future__ import annotations

from itertools import pairwise

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from shardd.core.canonical import parse_object
from shardd.core.codec import decode_event
from shardd.core.import_chain import chain
from shardd.core.jsonl import Numbered, decode_lines, encode_line
from shardd.errors import BadEvent
from tests.properties.strategies import numbered


@given(numbered(gaps=True))
def test_lines_are_canonical_and_come_back_as_the_same_chain(log: list[Numbered]) -> None:
    placed = list(chain("whynot", log, keep_gaps=True))
    events = [decode_event(p.raw, oid=p.oid, parent_seq=before.seq) for before, p in pairwise(placed)]
    lines = [encode_line(event, "whynot") for event in events]
    for line in lines:
        assert line == rfc8785.dumps(parse_object(line.decode(), "json")) + b"\n"
    again = list(chain("whynot", decode_lines(lines, "whynot"), keep_gaps=True))
    assert [p.oid for p in again] == [p.oid for p in placed]


@given(st.lists(st.binary(max_size=40) | st.text(max_size=40).map(lambda t: t.encode("utf-8", "replace")), max_size=3))
def test_garbage_yields_our_own_error(lines: list[bytes]) -> None:
    try:
        list(decode_lines(lines, "whynot"))
    except BadEvent as error:
        assert error.where.startswith("line ")
