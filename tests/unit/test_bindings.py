"""Which keys are one page, after bindings came and went."""

from __future__ import annotations

import pytest

from shardd.core.fold import fold
from shardd.core.state import CoordinationState
from tests.backends import events_of


def state_of(*steps: str) -> CoordinationState:
    """Steps like `a=b` (bind), `a!b` (unbind the two), `a!` (unbind all of a)."""
    said = []
    for step in steps:
        page, sign, other = step[0], step[1], step[2:]
        data = {"page": page, "same_as": other} if other else {"page": page}
        said.append(("page.bound" if sign == "=" else "page.unbound", dict(data)))
    return fold(events_of([(type, {**data}) for type, data in said]))


@pytest.mark.parametrize(
    ("steps", "pages"),
    [
        ("a=b", "ab"),
        ("a=b c=d", "ab cd"),
        ("a=b c=d b=c", "abcd"),
        ("a=b a=b", "ab"),
        ("a=b b=a", "ab"),
        ("a=b b=a a!b", ""),
        ("a=", "a"),
        ("a= b=", "a b"),
        ("a= a=b a!b", "a"),
        ("a= a!", ""),
        ("a=b b=c a!b", "bc"),
        ("a=b b=c b!c", "ab"),
        ("a=b b=c c=a a!b", "abc"),  # still joined the other way round
        ("a=b b=c c=a a!b b!c", "ac"),
        ("a=b b=c c=d d=e c!d", "abc de"),
        ("a=b a=c a=d a!", ""),
        ("a=b a=c b=c a!", "bc"),
        ("a=b b=c c=d b!", "cd"),
        ("a=b c=d b=c b!c a=c", "abcd"),
        ("a=b a!b a=c", "ac"),
    ],
)
def test_pages(steps: str, pages: str) -> None:
    state = state_of(*steps.split())
    assert ["".join(page) for page in state.bindings.pages()] == pages.split()
    for page in pages.split():
        assert all(state.page(key) == tuple(page) for key in page)
    assert state.page("z") == ("z",)


def test_the_newest_binding_of_two_keys_replaces_the_older() -> None:
    said = [("page.bound", {"page": "a", "same_as": "b", "shard": "x"}), ("page.bound", {"page": "b", "same_as": "a"})]
    state = fold(events_of([(type, {**data}) for type, data in said]))
    (binding,) = state.bindings
    assert (binding.page, binding.same_as, binding.shard, binding.by.seq) == ("b", "a", None, 2)


def test_the_newest_binding_that_names_a_shard_is_the_home_of_the_whole_page() -> None:
    state = fold(
        events_of(
            [
                ("page.bound", {"page": "a", "shard": "x"}),
                ("page.bound", {"page": "b", "shard": "y"}),
                ("page.bound", {"page": "a", "same_as": "b"}),
            ]
        )
    )
    home = state.home(state.page("a"))
    assert home is not None
    assert home.shard == "y"
