"""Random events and JSON, of every allowed kind."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import accumulate

from hypothesis import strategies as st

from shardd.core.canonical import MAX_INT
from shardd.core.event import MAX_SEQ, Draft
from shardd.core.jsonl import Numbered

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda x: not (x.is_integer() and MAX_INT < abs(x) < 1e21)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INT, MAX_INT) | _FLOATS | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)
DATA = st.dictionaries(_TEXT, JSON, max_size=4)

LINE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=60)
TYPES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._/-]{0,99}\Z")
IDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)
ACTORS = LINE.filter(lambda text: text == text.strip()) | st.sampled_from(
    ["alice", "Ada <ada@example.org>", "N <>", "<>", "a < b"]
)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), timezones=st.just(UTC))

DRAFTS = st.builds(Draft, type=TYPES, data=DATA, subject=st.none() | LINE, actor=ACTORS, id=IDS, time=TIMES)
EPOCHS = st.none() | st.integers(0, MAX_SEQ)


def numbered(*, gaps: bool) -> st.SearchStrategy[list[Numbered]]:
    """A whole log: ids unique, numbers ascending from anywhere. gaps: some are left out"""

    def number(drafts: list[Draft], first: int, steps: list[int], epochs: list[int | None]) -> list[Numbered]:
        seqs = accumulate(steps[: len(drafts) - 1], initial=first)
        return [Numbered(seq, draft, epoch) for seq, draft, epoch in zip(seqs, drafts, epochs, strict=False)]

    return st.builds(
        number,
        st.lists(DRAFTS, min_size=1, max_size=8, unique_by=lambda d: d.id),
        st.integers(0, 10**12),
        st.lists(st.integers(1, 1000) if gaps else st.just(1), min_size=8, max_size=8),
        st.lists(EPOCHS, min_size=8, max_size=8),
    )
