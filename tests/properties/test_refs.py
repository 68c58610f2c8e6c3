"""The table of ref families: whatever a ref is called, it is in one row, and what the row says of it holds together."""

from __future__ import annotations

import re
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardd.core.names import is_id
from shardd.core.refs import (
    FAMILIES,
    PLAIN,
    Change,
    Family,
    IntentRef,
    LeaseRef,
    Lock,
    NotesRef,
    OtherRef,
    Ref,
    ReplacementRef,
    SpaceRef,
    classify,
    family_at,
    family_of,
    lease_ref,
    lock_of,
    name_of,
    refspecs,
    shown,
    space_ref,
)
from shardd.git.plain_refs import plainly

IDS = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True).filter(is_id)
INTENT_NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True)
OURS: st.SearchStrategy[Ref] = (
    st.builds(SpaceRef, IDS)
    | st.builds(LeaseRef, IDS)
    | st.builds(NotesRef, IDS)
    | st.builds(IntentRef, IDS, IDS, INTENT_NAMES)
    | st.builds(ReplacementRef, st.from_regex(r"[0-9a-f]{40}", fullmatch=True))
)
# Anything, and what only looks like one of ours.
NAMES = st.binary(max_size=80) | st.builds(
    lambda family, rest: family.prefix.encode() + rest, st.sampled_from(FAMILIES), st.binary(max_size=40)
)
ROWS = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@pytest.mark.parametrize(("one", "other"), list(permutations(FAMILIES, 2)), ids=lambda family: family.name)
def test_no_two_rows_are_about_the_same_refs(one: Family, other: Family) -> None:
    assert not one.prefix.startswith(other.prefix)
    assert one.name != other.name
    assert one.kind is not other.kind


@ROWS
def test_a_row_is_a_folder_of_refs_and_its_parts_are_those_of_its_kind(family: Family) -> None:
    assert re.fullmatch(r"refs/([a-z]+/)+", family.prefix)
    assert len(family.parts) == len(family.kind.__match_args__)  # type: ignore[attr-defined]
    needs = {Lock.SPACE: "space", Lock.OWNER: "principal"}
    assert needs.get(family.lock, "") in ("", *family.kind.__match_args__)  # type: ignore[attr-defined]


@given(NAMES)
def test_every_name_is_told_and_written_back_as_it_was(raw: bytes) -> None:
    ref = classify(raw)
    assert name_of(ref) == raw.decode("utf-8", "surrogateescape")
    assert classify(name_of(ref)) == ref
    assert isinstance(ref, OtherRef) or family_at(name_of(ref)) is family_of(ref)


@given(st.text(max_size=80))
def test_every_text_is_told_and_has_a_lock(name: str) -> None:
    change = Change(name, None, None)
    assert name_of(change.parsed) == name
    assert re.fullmatch(r"[a-z0-9@][a-z0-9._-]*", lock_of(change.parsed))


@given(OURS)
def test_what_is_ours_is_told_from_its_name(ref: Ref) -> None:
    assert classify(name_of(ref)) == ref
    assert family_of(ref) is not PLAIN


@given(OURS, OURS)
def test_a_lock_is_a_file_name_and_is_shared_by_what_belongs_together_alone(one: Ref, other: Ref) -> None:
    for ref in (one, other):
        assert re.fullmatch(r"[a-z0-9@][a-z0-9._-]{0,100}", lock_of(ref))
        assert lock_of(ref).startswith("@") != is_id(lock_of(ref))
    spaces = one.space, other.space
    owners = (one.principal, type(one)), (other.principal, type(other))
    if None not in spaces:
        assert (lock_of(one) == lock_of(other)) == (one.space == other.space)
    elif None not in (one.principal, other.principal) and spaces == (None, None):
        assert (lock_of(one) == lock_of(other)) == (owners[0] == owners[1])


def test_the_locks_of_plain_refs_are_several_and_not_without_end() -> None:
    found = {lock_of(OtherRef(f"refs/heads/topic-{i}")) for i in range(2000)}
    assert 32 <= len(found) <= 64


@given(NAMES, st.sampled_from(["*", "refs/*", "refs/heads/*", "refs/replace/*"]))
def test_no_configuration_leaves_a_ref_in_a_folder_of_ours_to_git(raw: bytes, pattern: str) -> None:
    name = raw.decode("utf-8", "surrogateescape")
    assert not plainly(name, [pattern]) or family_at(name) is None


@given(IDS, IDS)
def test_a_view_shows_what_belongs_to_its_space_and_its_reader(space: str, me: str) -> None:
    seen = shown(space, me)
    assert space_ref(space) in seen
    assert lease_ref(space) in seen
    assert f"refs/notes/{me}" in seen
    assert all(family_at(each) is not None for each in seen)


@given(IDS, IDS, IDS)
def test_a_clone_fetches_once_what_is_for_all_spaces(one: str, other: str, me: str) -> None:
    found = list(refspecs([one, other], me, "origin"))
    assert found.count("+refs/leases/*:refs/leases/*") == 1
    assert f"+refs/intents/{one}/{me}/*:refs/intents/{one}/{me}/*" in found
    assert all(re.fullmatch(r"\+refs/[^:{}]+\*:refs/[^:{}]+\*", each) for each in found)
