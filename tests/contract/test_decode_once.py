"""How often one push is read: each commit is decoded once at each place of decision, and each ref told once."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest

from shardd.authority.facts import Pusher
from shardd.authority.receive import Receiver
from shardd.core import codec, refs
from shardd.core.event import Head
from shardd.core.hook_protocol import FLUSH, packet
from shardd.core.lease import Acquire
from shardd.core.refs import Ref, space_ref
from tests.authorities import RIGHTS, commits, embedded, make_repo

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


def test_a_push_is_decoded_and_its_ref_told_once_where_it_is_decided(
    tmp_path: Path, decoded: Counter[str], told: Counter[str]
) -> None:
    path = make_repo(tmp_path / "garden.git")
    with embedded(path) as authority:
        head = authority.create("whynot")
        authority.change("whynot", Acquire("alice"))
        pushed = commits(head, "alice", count=3)
        for commit in pushed:
            authority.ledger.repository.git.run("hash-object", "-t", "commit", "-w", "--stdin", stdin=commit.raw)
    decoded.clear()
    told.clear()
    receiver = Receiver(path, "garden", lambda: (Pusher("alice"), RIGHTS))
    line = f"{head.oid} {pushed[-1].oid} {space_ref('whynot')}"
    assert receiver.pre_receive([line], [], {}) is None
    said = packet("version=1\0push-options atomic") + FLUSH + packet(line) + FLUSH + FLUSH
    answer = io.BytesIO()
    receiver.proc_receive(io.BytesIO(said), answer)
    assert f"ok {space_ref('whynot')}".encode() in answer.getvalue()
    assert decoded == {commit.oid: PLACES for commit in pushed}
    assert told[space_ref("whynot")] == PLACES
    with embedded(path) as authority:
        assert authority.head("whynot") == Head(3, pushed[-1].oid)


def test_an_append_is_decoded_once(tmp_path: Path, decoded: Counter[str]) -> None:
    with embedded(make_repo(tmp_path / "garden.git")) as authority:
        head = authority.create("whynot")
        authority.change("whynot", Acquire("alice"))
        batch = commits(head, "alice", count=3)
        decoded.clear()
        authority.append("whynot", head, batch, principal="alice", epoch=None)
        assert decoded == {commit.oid: 1 for commit in batch}
