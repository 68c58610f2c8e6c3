"""Did you mean."""

from __future__ import annotations

import pytest

from shardd.core.nearest import did_you_mean, nearest

KNOWN = ["alice", "bob", "carol", "garden", "page.bound", "page.unbound"]


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("alcie", "alice"), ("Alice", "alice"), ("gardn", "garden"), ("carole", "carol"), ("bbo", "bob"),
        ("pgae.bound", "page.bound"), ("zoe", None), ("", None), ("alice", "alice"),
    ],
)  # fmt: skip
def test_the_nearest_known_word(word: str, near: str | None) -> None:
    assert nearest(word, KNOWN) == near
    assert did_you_mean(word, KNOWN) == (f"; did you mean {near}?" if near else "")
    assert nearest(word, []) is None
