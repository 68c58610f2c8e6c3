"""What the commit-msg hook stops because it is probably a slip, in a repository alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

HOOK = Path(__file__).parents[2] / "hooks" / "commit-msg"
Commit = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def commit(tmp_path: Path) -> Commit:
    names = {f"GIT_{who}_{what}": "alice" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1", **names}
    repo = tmp_path / "clone"

    def git(*words: str, force: bool = False) -> subprocess.CompletedProcess[str]:
        more = {"SHARDD_FORCE": "1"} if force else {}
        return subprocess.run(["git", *words], cwd=repo, env=env | more, capture_output=True, text=True, check=False)

    subprocess.run(["git", "init", "-q", "-b", "spaces/whynot", str(repo)], env=env, check=True)
    (repo / ".git" / "hooks").mkdir(exist_ok=True)
    shutil.copy(HOOK, repo / ".git" / "hooks" / "commit-msg")
    return git


def said(commit: Commit, *paragraphs: str, force: bool = False) -> str:
    words = [word for each in paragraphs for word in ("-m", each)]
    done = commit("commit", "-q", "--allow-empty", *words, force=force)
    assert (done.returncode == 0) == (done.stderr == "")
    return done.stderr


def test_what_is_probably_a_slip_is_stopped(commit: Commit) -> None:
    cases = {
        ("wip",): "type-unknown: type: wip is no type that comes with shardd\n",
        (
            "page.buond: Home",
            '{"page":"Home"}',
        ): "type-unknown: type: page.buond is no type that comes with shardd; did you mean page.bound?",
        (
            "page.bound: Home",
            '{"pgae":"Home"}',
        ): "bad-event: data.page: page.bound: is missing; is `pgae` meant for it?",
        ("page.bound: Home",): "bad-event: data.page: page.bound: is missing",
        ("remark.added", '{"remark":"r","page":7,"text":"x"}'): "bad-event: data.page: remark.added: is to be a text",
    }
    for message, says in cases.items():
        found = said(commit, *message)
        assert f"shardd: {says}" in found, message
        assert "`SHARDD_FORCE=1 git commit ...`" in found
    assert commit("rev-parse", "--verify", "HEAD").returncode != 0
    for message in cases:
        assert said(commit, *message, force=True) == ""
    assert said(commit, "page.bound: Home", '{"page":"Home","same_as":null,"more":1}') == ""


def test_what_is_meant_is_said_once(commit: Commit) -> None:
    for pattern in ("acme.*", "note"):
        commit("config", "--add", "shardd.type", pattern)
    assert said(commit, "acme.seen: Home") == said(commit, "note") == ""
    assert "type-unknown" in said(commit, "notes")
    commit("config", "shardd.force", "true")
    assert said(commit, "notes") == ""


def test_a_space_that_lists_its_types_takes_no_other(commit: Commit, tmp_path: Path) -> None:
    file = tmp_path / "clone" / ".git" / "shardd-types.json"
    file.write_text(json.dumps({"whynot": ["acme.seen", "page.bound"], "other": ["x"]}))
    assert said(commit, "acme.seen") == ""
    assert "type-not-allowed: type: the space takes no acme.sean; did you mean acme.seen?" in said(commit, "acme.sean")
    assert "type-not-allowed" in said(commit, "remark.added")
    assert "data.page" in said(commit, "page.bound")
    for broken in ("", "[]", '{"whynot": null}'):
        file.write_text(broken)
        assert "type-unknown" in said(commit, "acme.seen"), "it does without the list"
