"""The bytes of the lease journal: a golden file, a round trip, and nothing but BadEvent out of garbage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardd.core.event import Head
from shardd.core.journal import Entry, decode_entry, encode_entry, entry_of
from shardd.core.objects import commit_oid, parse_commit
from shardd.core.tenancy import Ended, Reason, Tenure
from shardd.errors import BadEvent
from tests.clocks import NOON

PARENT = "82efd41a72d59e94810f85eed4b20fca5b607fc5"


def golden() -> Iterator[tuple[str, bytes]]:
    text = (Path(__file__).parent / "golden" / "journal.txt").read_text()
    for block in text.split("=== ")[1:]:
        oid, *lines = block.removesuffix("\n").split("\n")
        yield oid, "".join(f"{line[1:]}\n" for line in lines).encode()


CASES = [
    Entry(Tenure(1, "alice", NOON, Reason.ACQUIRE, Ended.FIRST), Head(0, "c3a7a13acb7b034e982392867e278076489de5e8")),
    Entry(
        Tenure(8, "bob", NOON + 16 * 3_600_000 + 7, Reason.GRANT, Ended.REVOKED, "by carol: no answer since 01:40"),
        Head(41, PARENT),
    ),
    Entry(Tenure(9, None, NOON + 999, Reason.REVOKE, Ended.REVOKED), Head(41, PARENT)),
    Entry(Tenure(203_904_000_001, None, 0, Reason.RESTORE, Ended.RESTORED), Head(-1, "f" * 64)),
]
PARENTS = [None, PARENT, PARENT, None]


def test_the_bytes_are_these() -> None:
    for entry, parent, (oid, raw) in zip(CASES, PARENTS, golden(), strict=True):
        assert encode_entry(entry, parent=parent) == raw
        assert commit_oid(raw, algorithm="sha256" if len(entry.resumed_at.oid) == 64 else "sha1") == oid
        assert decode_entry(raw) == entry


TEXTS = st.text(max_size=300)
TENURES = st.builds(
    Tenure,
    st.integers(0, 2**53 - 1),
    st.none() | st.from_regex(r"\A[a-z0-9][a-z0-9_-]{0,30}\Z"),
    st.integers(0, 253_402_300_799_999),
    st.sampled_from(Reason),
    st.sampled_from(Ended),
    TEXTS,
)
HEADS = st.builds(Head, st.integers(-1, 2**53 - 1), st.from_regex(r"\A(?:[0-9a-f]{40}|[0-9a-f]{64})\Z"))


@given(TENURES, HEADS, st.none() | st.just(PARENT))
def test_what_is_published_reads_back(tenure: Tenure, head: Head, parent: str | None) -> None:
    entry = entry_of(tenure, head)
    raw = encode_entry(entry, parent=parent)
    assert decode_entry(raw) == entry
    assert parse_commit(raw).parents == ((parent,) if parent else ())
    assert entry.tenure.text == " ".join(entry.tenure.text.split())
    assert len(entry.tenure.text) <= 200


@pytest.mark.parametrize(
    "said", ["a\nLease-Epoch: 9", "a\n\nHolder: eve", "\x1b[2J", "\udcff\x00", "\u2028", " " * 300]
)
def test_no_reason_can_pass_for_something_else(said: str) -> None:
    entry = entry_of(Tenure(3, "bob", NOON, Reason.GRANT, Ended.RELEASED, said), Head(4, PARENT))
    raw = encode_entry(entry, parent=PARENT)
    assert decode_entry(raw) == entry
    assert parse_commit(raw).message.isprintable() or "\n" in parse_commit(raw).message
    assert (entry.tenure.epoch, entry.tenure.holder) == (3, "bob")


def test_only_our_own_bytes_are_an_entry() -> None:
    (_, raw) = list(golden())[1]
    for old, new in [
        (b"Holder: bob", b"Holder: eve"),
        (b"lease: bob", b"lease: eve"),
        (b"Reason: grant", b"Reason: gift"),
        (b"Previous-Ended: revoked", b"Previous-Ended: bored"),
        (b"Resumed-At: 41", b"Resumed-At: 041"),
        (b"Resumed-At: 41 8", b"Resumed-At: 41 x"),
        (b"Lease-Epoch: 8\nHolder: bob", b"Holder: bob\nLease-Epoch: 8"),
        (b"Lease-Epoch: 8", b"Lease-Epoch: -8"),
        (b".007Z", b"Z"),
        (b"revoked\n", b"revoked"),
        (b"shardd <shardd@shardd>", b"eve <eve@shardd>"),
        (b"\n\nby carol", b"\n\n\nby carol"),
        (b"tree 4b", b"tree 4c"),
    ]:
        assert old in raw
        with pytest.raises(BadEvent):
            decode_entry(raw.replace(old, new, 1))


@given(
    st.binary(max_size=400)
    | st.builds(
        lambda at, junk, cut: (raw := list(golden())[1][1])[: at % len(raw)] + junk + raw[at % len(raw) + cut :],
        st.integers(0, 600),
        st.binary(max_size=4),
        st.integers(0, 4),
    )
)
def test_garbage_gives_bad_event_and_nothing_else(raw: bytes) -> None:
    try:
        entry = decode_entry(raw)
    except BadEvent:
        return
    parents = parse_commit(raw).parents
    assert encode_entry(entry, parent=parents[0] if parents else None) == raw
