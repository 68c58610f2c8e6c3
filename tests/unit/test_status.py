"""`status` in a clone: what is to push and to pull, and whose turn it is."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from shardd.cli.clone import Clone
from shardd.cli.status import Status
from shardd.core.codec import genesis, genesis_oid
from shardd.errors import Rejected

TURN = {
    "space": "garden/whynot", "holder": "bob", "epoch": 7, "granted": None, "expires": None, "left_ms": 720_000,
    "fenced": True, "waiting": ["carol"], "head": {"seq": 5, "oid": "0" * 40},
}  # fmt: skip


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    names = {f"GIT_{who}_{what}": "alice" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for name, value in {**names, "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    top = tmp_path / "clone"
    subprocess.run(["git", "init", "-q", "-b", "spaces/whynot", str(top)], check=True)
    monkeypatch.chdir(top)
    git("remote", "add", "origin", "ssh://wiki/garden.git")
    git("config", "remote.origin.shardd", "true")
    subprocess.run(["git", "hash-object", "-t", "commit", "-w", "--stdin"], input=genesis("whynot"), check=True)
    subprocess.run(["git", "hash-object", "-t", "tree", "-w", "--stdin"], input=b"", check=True)
    git("reset", "-q", "--soft", genesis_oid("whynot"))
    for subject in ("page.bound: A", "page.bound: B"):
        commit(subject)
    git("update-ref", "refs/remotes/origin/spaces/whynot", "HEAD")
    return Clone.here()


def git(*words: str) -> None:
    subprocess.run(["git", *words], check=True, capture_output=True)


def commit(subject: str) -> None:
    git("commit", "-q", "--allow-empty", "-m", subject, "-m", json.dumps({"page": subject[-1]}))


def answers(clone: Clone, text: str, status: int) -> None:
    """What `ssh` says from now on."""
    fake = clone.folder.parents[1] / "bin" / "ssh"
    fake.parent.mkdir(exist_ok=True)
    fake.write_text(f"#!/bin/sh\necho {shlex.quote(text)}\nexit {status}\n")
    fake.chmod(0o755)
    os.environ["PATH"] = f"{fake.parent}:{os.environ['PATH']}"


def said(clone: Clone, *, offline: bool = False) -> dict[str, str]:
    rows = [line.split("  ", 1) for line in Status(None, offline).answer_in(clone).lines()]
    return {name: text.strip() for name, text in rows}


def test_what_is_to_push_and_to_pull_is_counted(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    assert said(clone, offline=True)["branch"] == "up to date with that"
    commit("page.bound: C")
    commit("page.bound: D")
    assert said(clone, offline=True)["branch"] == "2 events to push"
    git("reset", "-q", "--soft", "HEAD~3")
    assert said(clone, offline=True)["branch"] == "1 event to pull"
    commit("page.bound: E")
    found = said(clone, offline=True)
    assert found["branch"] == "1 event to push, 1 event to pull"
    assert (found["space"], found["head"][:7]) == ("whynot", "seq 2, ")
    git("update-ref", "-d", "refs/remotes/origin/spaces/whynot")
    with pytest.raises(Rejected, match="no space whynot here"):
        said(clone, offline=True)


def test_whose_turn_it_is_is_asked_of_the_server(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    answers(clone, json.dumps(TURN), 0)
    found = said(clone)
    assert found["lease"] == "bob, epoch 7, fenced, 12 min left, then carol"
    assert found["server"] == "seq 5: 3 more to fetch"
    (value,) = Status(None, False).answer_in(clone).values()
    assert isinstance(value, dict)
    assert (value["ahead"], value["behind"]) == (0, 0)
    answers(clone, json.dumps(TURN | {"holder": None, "left_ms": None, "head": {"seq": 2, "oid": "0" * 40}}), 0)
    found = said(clone)
    assert (found["lease"][:5], "server" in found) == ("free:", False)


@pytest.mark.parametrize(
    ("text", "status"), [("", 255), ("not json", 0), ("{}", 0), ("[" * 99_999, 0), ('{"error":{}}', 1)]
)
def test_a_server_that_does_not_answer_is_no_failure(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, text: str, status: int
) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    answers(clone, text, status)
    assert said(clone)["lease"] == "not known: the server was not reached"


@pytest.mark.parametrize("url", ["ssh://wiki/garden.git", "https://wiki/garden.git"])
def test_a_server_that_nobody_has_named_is_not_asked(clone: Clone, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    answers(clone, json.dumps(TURN), 0)
    git("config", "--unset", "remote.origin.shardd")
    git("remote", "set-url", "origin", url)
    assert said(Clone.here())["lease"].startswith("not known: ")
    git("config", "remote.origin.shardd", "true")
    assert ("bob" in said(Clone.here())["lease"]) == url.startswith("ssh")


def test_what_stands_on_standard_input_is_left_to_who_calls(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    answers(clone, json.dumps(TURN), 0)
    fake = tmp_path / "bin" / "ssh"
    fake.write_text(fake.read_text().replace("#!/bin/sh", f"#!/bin/sh\ncat >{tmp_path}/taken"))
    ours, (there, theirs) = os.dup(0), os.pipe()
    os.write(theirs, b"the next line of a loop\n")
    os.dup2(there, 0)
    try:
        os.close(theirs)
        Status(None, False).answer_in(clone)
    finally:
        os.dup2(ours, 0)
        os.close(ours)
        os.close(there)
    assert (tmp_path / "taken").read_bytes() == b""
