"""A wiki of realistic size comes to one state, however it is kept."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from shardd.core.fold import fold
from shardd.core.kinds.default import DEFAULT_KINDS
from shardd.logs.memory_log import MemoryLog
from shardd.logs.snapshots import SnapshotStore
from shardd.wiki.folder_shard import FolderShard
from shardd.wiki.shard import DictShard, Shard
from shardd.wiki.space import InformationSpace
from tests.backends import SPACE, Backend, on_every_backend
from tests.wiki_example import wiki_example


def test_the_example_is_what_it_says() -> None:
    example = wiki_example()
    assert example.drafts == wiki_example().drafts != wiki_example(8).drafts
    assert (len(example.shards), len(example.drafts)) == (3, 2000)
    assert len({key for texts in example.shards.values() for key in texts}) == 200
    log = MemoryLog()
    log.append_many(SPACE, example.drafts)
    state = fold(log.events(SPACE))
    reasons = Counter(row.reason for row in state.set_aside.values())
    assert set(reasons) == {"unknown", "malformed", "no-effect"}
    assert sum(reasons.values()) < 1000
    assert set(state.counts) == {*DEFAULT_KINDS.kinds, "acme.reviewed"}


@on_every_backend
def test_it_folds_to_one_state_everywhere(backend: Backend, tmp_path: Path) -> None:
    example = wiki_example()
    memory, log = MemoryLog(), backend.new(tmp_path / "log")
    memory.append_many(SPACE, example.drafts)
    for start in range(0, len(example.drafts), 300):
        log.append_many(SPACE, example.drafts[start : start + 300])
        space = InformationSpace(SPACE, store=log, snapshots=SnapshotStore(tmp_path / "snapshots"))
        assert space.state.events == min(start + 300, 2000)
    assert space.state == fold(memory.events(SPACE))
    assert space.state.digest() == fold(memory.events(SPACE)).digest()


def test_a_clone_folds_to_the_same_state_as_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, repo, clone = tmp_path / "cache", tmp_path / "wiki.git", tmp_path / "clone"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    space = InformationSpace.git_backed(SPACE, repo)
    space.log.append_many(SPACE, wiki_example().drafts)
    subprocess.run(["git", "clone", "--quiet", repo, clone], check=True)
    cloned = InformationSpace.git_backed(SPACE, clone)
    assert cloned.state == space.state
    assert cloned.state.canonical() == space.state.canonical()
    assert sorted(path.name for path in clone.rglob("*.json")) == sorted(path.name for path in cache.rglob("*.json"))


def test_the_union_is_the_same_from_dicts_and_from_folders(tmp_path: Path) -> None:
    example = wiki_example()
    log = MemoryLog()
    log.append_many(SPACE, example.drafts)
    from_dicts, from_folders = InformationSpace(SPACE, store=log), InformationSpace(SPACE, store=log)
    for name, texts in example.shards.items():
        (tmp_path / name).mkdir()
        for key, text in texts.items():
            (tmp_path / name / f"{key}.md").write_text(text)
        mounts: list[tuple[InformationSpace, Shard]] = [
            (from_dicts, DictShard(texts)),
            (from_folders, FolderShard(tmp_path / name)),
        ]
        for space, shard in mounts:
            space.mount(name, shard)
    pages = list(zip(from_dicts.union(), from_folders.union(), strict=True))
    shown = {key for page, _ in pages for key in page.keys}
    assert shown == {key for texts in example.shards.values() for key in texts}
    for one, other in pages:
        assert one.text() == other.text()
        assert [(v.shard, v.key, v.text()) for v in one.versions] == [
            (v.shard, v.key, v.text()) for v in other.versions
        ]
    for one, _ in pages[::40]:
        assert from_dicts.explain(one.key) == from_folders.explain(one.key) != []
