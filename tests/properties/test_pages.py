"""The union shows everything, and one and the same whatever keeps the log."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from shardd.core.canonical import Json
from shardd.logs.decision_log import DecisionLog
from shardd.logs.memory_log import MemoryLog
from shardd.wiki.shard import DictShard
from shardd.wiki.space import InformationSpace
from tests.backends import SPACE, Backend, appended, on_every_backend
from tests.drafting import Said
from tests.properties.sequences import SHARDS, key, sequences, text

Shards = dict[str, dict[str, str | bytes]]

contents = st.dictionaries(key, text | st.binary(max_size=5), max_size=6)
mounts: st.SearchStrategy[Shards] = st.dictionaries(st.sampled_from(SHARDS), contents, max_size=3)


def space_on(log: DecisionLog, shards: Shards) -> InformationSpace:
    space = InformationSpace(SPACE, store=log)
    for name, texts in shards.items():
        space.mount(name, DictShard(texts))
    return space


def answers(space: InformationSpace) -> bytes:
    """Everything a reader can be told about the pages, as bytes."""
    union: list[Json] = [page.to_json() for page in space.union()]
    return msgspec.json.encode([union, [[page.key, page.in_conflict()] for page in space.union()]])


@given(sequences, mounts)
def test_no_version_is_erased(said: list[Said], shards: Shards) -> None:
    log = MemoryLog()
    appended(log, said)
    space = space_on(log, shards)
    found = [
        (version.shard, version.key, version.content(), page.key) for page in space.union() for version in page.versions
    ]
    there = [
        (name, key, text.encode() if isinstance(text, str) else text, space.state.page(key)[0])
        for name, texts in shards.items()
        if name in space.state.shards
        for key, text in texts.items()
    ]
    assert sorted(found) == sorted(there)


@given(sequences, mounts)
def test_each_page_comes_once_and_by_any_of_its_keys(said: list[Said], shards: Shards) -> None:
    log = MemoryLog()
    appended(log, said)
    space = space_on(log, shards)
    union = list(space.union())
    assert [page.key for page in union] == sorted({page.key for page in union})
    for page in union:
        assert all(space.page(name) == page for name in page.keys)


@given(sequences, mounts)
def test_marks_hide_nothing(said: list[Said], shards: Shards) -> None:
    """A canonical mark, an overlay or a remark adds to a page; what the shards have shows as it does without."""
    with_marks, without = MemoryLog(), MemoryLog()
    appended(with_marks, said)
    appended(without, [one for one in said if one[0].startswith(("shard.", "page."))])
    there = {page.key: page.versions for page in space_on(with_marks, shards).union()}
    for page in space_on(without, shards).union():
        assert [
            version.to_json()["text" if "text" in version.to_json() else "base64"] for version in page.versions
        ] == [version.to_json()["text" if "text" in version.to_json() else "base64"] for version in there[page.key]]


@on_every_backend
def test_the_answers_are_alike_byte_for_byte(backend: Backend) -> None:
    @settings(max_examples=backend.examples)
    @given(said=sequences, shards=mounts)
    def holds(said: list[Said], shards: Shards) -> None:
        with tempfile.TemporaryDirectory() as folder:
            log, memory = backend.new(Path(folder, "log")), MemoryLog()
            appended(log, said)
            appended(memory, said)
            here, there = space_on(log, shards), space_on(memory, shards)
            assert here.state == there.state
            assert here.state.canonical() == there.state.canonical()
            assert answers(here) == answers(there)
            for page in here.union():
                assert here.explain(page.key) == there.explain(page.key)
                assert {event.seq for event in here.explain(page.key)} <= set(range(1, len(said) + 1))

    holds()
