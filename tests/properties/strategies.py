"""Random events and JSON, of every allowed kind."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from shardd.core.canonical import MAX_INT
from shardd.core.event import Draft

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
ACTORS = LINE.filter(lambda text: text == text.strip()) | st.sampled_from(["alice", "Ada <ada@example.org>", "N <>"])
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), timezones=st.just(UTC))

DRAFTS = st.builds(Draft, type=TYPES, data=DATA, subject=st.none() | LINE, actor=ACTORS, id=IDS, time=TIMES)
