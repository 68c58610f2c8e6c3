"""The information space through a server: what was decided here is the same after an import there and a fetch back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from shardd import FolderShard, GitLog, InformationSpace, MemoryLog, export_jsonl, fold
from tests.e2e.harness import SHARDD, Actor, Garden, run
from tests.wiki_example import wiki_example


def test_a_wiki_is_one_state_in_memory_in_git_and_through_a_server(
    garden: Garden, alice: Actor, bob: Actor, carol: Actor, tmp_path: Path
) -> None:
    example = wiki_example()
    memory = MemoryLog()
    memory.append_many("whynot", example.drafts)
    local = tmp_path / "local.git"
    GitLog(local).append_many("whynot", example.drafts)

    carol.ssh(f"role grant alice import {garden.repo}")
    export_jsonl(memory, "whynot", tmp_path / "whynot.jsonl")
    alice.try_ssh(f"import {garden} - --take-lease", input=(tmp_path / "whynot.jsonl").read_bytes()).must()
    bob.clone(garden)

    expected = fold(memory.events("whynot"))
    assert expected.events == 2000
    for repo in (local, garden.path, bob.cwd):
        assert InformationSpace.git_backed("whynot", repo).state == expected
    said = run([*SHARDD, "fold", "--json"], cwd=bob.cwd, env=bob.env()).must().stdout
    assert json.loads(said) == expected.to_json()
    assert json.loads(alice.ssh(f"fold {garden} --json")) == expected.to_json()
    at = run([*SHARDD, "fold", "--at", "700", "--json"], cwd=bob.cwd, env=bob.env()).must().stdout
    assert json.loads(at) == fold(list(memory.events("whynot"))[:700]).to_json()
    diff = run([*SHARDD, "diff", "1999", "2000"], cwd=bob.cwd, env=bob.env()).must().stdout
    assert diff.startswith("seq 1999 ")
    assert diff == alice.ssh(f"diff {garden} 1999 2000")


def test_two_processes_on_one_repo_see_each_others_writes(tmp_path: Path) -> None:
    repo, pages = tmp_path / "wiki.git", tmp_path / "pages"
    pages.mkdir()
    (pages / "Home.md").write_text("Welcome.")
    space = InformationSpace.git_backed("wiki", repo, actor="alice")
    space.attach("garden", FolderShard(pages))
    assert space.state.events == 1
    script = (
        "import sys; from shardd import InformationSpace\n"
        "space = InformationSpace.git_backed('wiki', sys.argv[1], actor='bob')\n"
        "assert 'garden' in space.state.shards\n"
        "space.remark('Home', 'seen from the other side')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(repo)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert space.state.events == 1, "the state is as it was last read"
    assert [remark.text for remark in space.refresh().remarks.in_order()] == ["seen from the other side"]
    assert [event.actor for event in space.explain("Home")] == ["alice", "bob"]
