"""What one push and one append cost: what is pushed is decoded once at each place of decision, and each ref told once.

Numbers of what takes a millisecond and more are pinned, so that whoever adds one sees it here.
"""

from __future__ import annotations

import io
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from shardd.authority.appending import append_drafts
from shardd.authority.facts import Pusher
from shardd.authority.receive import Receiver
from shardd.core import codec, refs
from shardd.core.event import Head
from shardd.core.hook_protocol import FLUSH, packet
from shardd.core.lease import Acquire
from shardd.core.refs import Ref, space_ref
from shardd.git.repository import Repository
from shardd.logs.git_log import GitLog
from tests.authorities import RIGHTS, bring, commits, embedded, make_repo
from tests.drafting import drafts

PLACES = 2
"""Where a push is decided: in pre-receive, and under the lock in proc-receive."""


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the bytes of each commit were taken apart."""
    counts: Counter[str] = Counter()
    fields = codec._fields

    def counting(raw: bytes, oid: str) -> object:
        counts[oid] += 1
        return fields(raw, oid)

    monkeypatch.setattr(codec, "_fields", counting)
    return counts


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the name of each ref was taken apart."""
    counts: Counter[str] = Counter()
    classify = refs.classify

    def counting(name: str | bytes) -> Ref:
        counts[str(name)] += 1
        return classify(name)

    monkeypatch.setattr(refs, "classify", counting)
    return counts


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many databases were opened, and repositories made."""
    counts: Counter[str] = Counter()

    def counted(owner: object, name: str, what: str) -> None:
        real = getattr(owner, name)

        def counting(*arguments: object, **named: object) -> object:
            counts[what] += 1
            return real(*arguments, **named)

        monkeypatch.setattr(owner, name, counting)

    counted(sqlite3, "connect", "databases")
    counted(Repository, "__init__", "repositories")
    return counts


def test_a_push_is_decoded_and_its_ref_told_once_where_it_is_decided(
    tmp_path: Path, decoded: Counter[str], told: Counter[str], made: Counter[str]
) -> None:
    path = make_repo(tmp_path / "garden.git")
    with embedded(path) as authority:
        authority.create("whynot")
        authority.change("whynot", Acquire("alice"))
        append_drafts(authority, "whynot", drafts("alice"), Pusher("alice"))  # which makes the index
        head = authority.existing("whynot")
        pushed = commits(head, "alice", count=3)
        bring(authority, pushed)
    for counts in (decoded, told, made):
        counts.clear()
    receiver = Receiver(path, "garden", lambda: (Pusher("alice"), RIGHTS))
    line = f"{head.oid} {pushed[-1].oid} {space_ref('whynot')}"
    assert receiver.pre_receive([line], [], {}) is None
    said = packet("version=1\0push-options atomic") + FLUSH + packet(line) + FLUSH + FLUSH
    answer = io.BytesIO()
    receiver.proc_receive(io.BytesIO(said), answer)
    assert f"ok {space_ref('whynot')}".encode() in answer.getvalue()
    # The head says its number, and under the lock the index catches up with it.
    assert decoded == {commit.oid: PLACES for commit in pushed} | {head.oid: PLACES + 1}
    assert told[space_ref("whynot")] == PLACES
    assert made == {"databases": 1 + 1, "repositories": 2 + 1}, "the first place looks into the quarantine as well"
    with embedded(path) as authority:
        assert authority.head("whynot") == Head(4, pushed[-1].oid)


def test_an_append_is_decoded_once(tmp_path: Path, decoded: Counter[str]) -> None:
    with embedded(make_repo(tmp_path / "garden.git")) as authority:
        head = authority.create("whynot")
        authority.change("whynot", Acquire("alice"))
        batch = commits(head, "alice", count=3)
        decoded.clear()
        authority.append("whynot", head, batch, principal="alice", epoch=None)
        assert decoded == {commit.oid: 1 for commit in batch}


def test_what_an_append_to_a_repo_costs(tmp_path: Path, decoded: Counter[str], made: Counter[str]) -> None:
    log = GitLog(tmp_path / "log.git")
    for _ in range(2):
        head = log.append("whynot", "note").oid
    decoded.clear()
    made.clear()
    new = log.append("whynot", "note").oid
    assert decoded == {new: 1, head: 3}, "the head: before the lock, under it, and for the index"
    assert made == {"databases": 1, "repositories": 1}
