"""Events of every allowed kind, for hypothesis to draw."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import accumulate

from hypothesis import strategies as st

from shardd.core.canonical import MAX_INT, Json
from shardd.core.event import MAX_SEQ, Draft, has_control
from shardd.core.jsonl import Numbered

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
visible = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)
actors = st.one_of(
    st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True),
    visible.map(str.strip).filter(lambda a: a and not has_control(a)),
    st.sampled_from(["Ada <ada@example.org>", "Ada <>", "<>", "a < b", "ἄλφα", "\U0001f331", "x" * 200]),
)
ids = st.one_of(
    st.uuids().map(str), st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)
)
times = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), timezones=st.just(UTC))
types = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}", fullmatch=True)
subjects = st.none() | visible
epochs = st.none() | st.integers(0, MAX_SEQ)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-MAX_INT, MAX_INT),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: abs(x) <= MAX_INT or abs(x) >= 1e21),
    text,
)
values: st.SearchStrategy[Json] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=12
)
data: st.SearchStrategy[dict[str, Json]] = st.dictionaries(text, values, max_size=5)

drafts = st.builds(Draft, type=types, data=data, subject=subjects, actor=actors, id=ids, time=times)


def numbered(*, gaps: bool) -> st.SearchStrategy[list[Numbered]]:
    """A whole log: ids unique, numbers ascending from anywhere. gaps: some are left out"""

    def number(drafts: list[Draft], first: int, steps: list[int], epochs: list[int | None]) -> list[Numbered]:
        seqs = accumulate(steps[: len(drafts) - 1], initial=first)
        return [Numbered(seq, draft, epoch) for seq, draft, epoch in zip(seqs, drafts, epochs, strict=False)]

    return st.builds(
        number,
        st.lists(drafts, min_size=1, max_size=8, unique_by=lambda d: d.id),
        st.integers(0, 10**12),
        st.lists(st.integers(1, 1000) if gaps else st.just(1), min_size=8, max_size=8),
        st.lists(epochs, min_size=8, max_size=8),
    )
