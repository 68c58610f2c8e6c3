"""The bytes of events: a golden file, and one table of cases that drives encoder and decoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shardd.core.codec import decode_event, decode_genesis, encode_event, genesis, identity, is_canonical, read_event
from shardd.core.event import Draft, Event, check_seq, format_time, parse_time
from shardd.core.objects import commit_oid, parse_commit
from shardd.errors import BadEvent

PARENT = commit_oid(genesis("whynot"))
WHEN = parse_time("2026-06-15T10:00:00.123456Z")


@dataclass(frozen=True)
class Golden:
    oid: str
    parent_seq: int
    canonical: bool
    raw: bytes


def golden() -> Iterator[Golden]:
    text = (Path(__file__).parent / "golden" / "events.txt").read_text()
    for block in text.split("=== ")[1:]:
        head, *lines = block.removesuffix("\n").split("\n")
        oid, seq, kind = head.split()
        yield Golden(oid, int(seq), kind == "canonical", "".join(f"{line[1:]}\n" for line in lines).encode())


def draft(**changes: object) -> Draft:
    values: dict[str, object] = {
        "type": "page.bound",
        "subject": "Home",
        "data": {"page": "Home"},
        "actor": "alice",
        "id": "e-1",
        "time": WHEN,
    }
    return Draft(**(values | changes))  # type: ignore[arg-type]


def commit(message: str, *, headers: str = "", tree: str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904") -> bytes:
    who = "alice <a@example.org> 1781517600 +0200"
    return f"tree {tree}\nparent {PARENT}\nauthor {who}\ncommitter {who}\n{headers}\n{message}".encode()


def decode(raw: bytes, parent_seq: int = 0) -> Event:
    return decode_event(raw, oid=commit_oid(raw), parent_seq=parent_seq)


@pytest.mark.parametrize("case", list(golden()), ids=lambda case: case.oid[:8])
def test_golden_bytes_decode_and_encode(case: Golden) -> None:
    assert commit_oid(case.raw) == case.oid
    event = decode_event(case.raw, oid=case.oid, parent_seq=case.parent_seq)
    parent = parse_commit(case.raw).parents[0]
    assert event.seq == case.parent_seq + 1
    assert is_canonical(case.raw, event, parent) is case.canonical
    if case.canonical:
        again = encode_event(
            event.draft(), parent=parent, seq=event.seq, epoch=event.epoch, source_epoch=event.source_epoch
        )
        assert again == case.raw


def test_an_accepted_commit_says_by_itself_what_is_left_out() -> None:
    case = next(case for case in golden() if not case.canonical)
    event = decode_event(case.raw, oid=case.oid, parent_seq=9)
    assert event == Event(
        seq=10,
        oid=case.oid,
        id=case.oid,
        type="page.bound",
        subject="Home",
        actor="alice",
        time=parse_time("2026-06-15T10:00:00Z"),
        data={"page": "Home", "n": 1},
    )
    assert type(event.data["n"]) is int, "1.0 reads back as 1"
    written = read_event(case.raw, oid=case.oid, parent_seq=9)
    assert (written.said_seq, written.said_actor, written.signed) == (None, None, True)


# What a body or a trailer may not say: message, field that is named.
REFUSED = [
    ("", "type"),
    ("two words", "type"),
    (".dot", "type"),
    ("x" * 101, "type"),
    ("a: ", "subject"),
    ("a: " + "s" * 201, "subject"),
    ("a: bell\x07", "subject"),
    ("a: c1\x85", "subject"),
    ("a\nb", "subject"),
    ("a\n\nprose", "data"),
    ("a\n\n[1]", "data"),
    ('a\n\n"x"', "data"),
    ('a\n\n{"k":1,"k":2}', "data"),
    ('a\n\n{"k":{"l":1,"l":1}}', "data"),
    ('a\n\n{"k":NaN}', "data"),
    ('a\n\n{"k":-Infinity}', "data"),
    ('a\n\n{"k":1e400}', "data"),
    ('a\n\n{"k":9007199254740992}', "data"),
    ('a\n\n{"k":-9007199254740992}', "data"),
    ('a\n\n{"k":1e20}', "data"),
    ('a\n\n{"k":%s}' % ("9" * 5000), "data"),
    ('a\n\n{"k":"\\ud800"}', "data"),
    ('a\n\n{"\\udfff":1}', "data"),
    ('a\n\n{"k":1} trailing', "data"),
    ('a\n\n{"k":1', "data"),
    ('a\n\n{{"k":{}1{}}}'.format("[" * 64, "]" * 64), "data"),
    ("a\n\n{%s" % ('"k":{' * 20_000), "data"),
    ("a\n\nSeq: 01", "Seq"),
    ("a\n\nSeq: -1", "Seq"),
    ("a\n\nSeq: +1", "Seq"),
    ("a\n\nSeq: 9007199254740992", "Seq"),
    ("a\n\nSeq: ١", "Seq"),
    ("a\n\nSeq: 1\nSeq: 1", "Seq"),
    ("a\n\nEvent-Id: two words", "Event-Id"),
    ("a\n\nEvent-Id: ", "Event-Id"),
    ("a\n\nEvent-Id: é", "Event-Id"),
    ("a\n\nEvent-Id: " + "i" * 129, "Event-Id"),
    ("a\n\nActor:  alice", "Actor"),
    ("a\n\nActor: " + "a" * 201, "Actor"),
    ("a\n\nTime: 2026-06-15T10:00:00", "Time"),
    ("a\n\nTime: 2026-06-15 10:00:00Z", "Time"),
    ("a\n\nTime: 2026-06-15T10:00:00.1234567Z", "Time"),
    ("a\n\nTime: 2026-06-15T10:00:00+02:00", "Time"),
    ("a\n\nTime: 2026-02-30T10:00:00Z", "Time"),
    ("a\n\nTime: 2026-06-30T23:59:60Z", "Time"),
    ("a\n\nTime: 1969-12-31T23:59:59Z", "Time"),
    ("a\n\nLease-Epoch: x", "Lease-Epoch"),
    ("a\n\nLease-Epoch: 1\nSource-Epoch: 1", "Source-Epoch"),
    ("a\n\nReviewed-by: bob", "trailers"),
    ("a\n\nSeq: 1\nand prose", "trailers"),
    ("a\n\nSeq: 1\n continued", "trailers"),
    ('a\n\n{"k":1}\n\nseq: 1', "trailers"),
    ("a\r\n\r\n{}", "message"),
]


@pytest.mark.parametrize(("message", "field"), REFUSED, ids=range(len(REFUSED)))
def test_refused_messages_name_the_field(message: str, field: str) -> None:
    with pytest.raises(BadEvent) as caught:
        decode(commit(message + "\n"))
    assert caught.value.field == field
    assert caught.value.code == "bad-event"


ACCEPTED: list[tuple[str, dict[str, object]]] = [
    ("a", {"type": "a", "subject": None, "data": {}}),
    ("a: b: c", {"subject": "b: c"}),
    ("a:  b ", {"subject": " b "}),
    ("a.b/c_d-e", {"type": "a.b/c_d-e"}),
    ("a: " + "é" * 200, {"subject": "é" * 200}),
    ("a\n\n{}", {"data": {}}),
    ('a\n\n{"k":1.0}', {"data": {"k": 1}}),
    ('a\n\n{\n\n  "k": [1, 2]\n\n}', {"data": {"k": [1, 2]}}),
    ('a\n\n{"k":9007199254740991}', {"data": {"k": 2**53 - 1}}),
    ('a\n\n{"k":1e21}', {"data": {"k": 1e21}}),
    ('a\n\n{"k":"Seq: 9"}', {"data": {"k": "Seq: 9"}}),
    ('a\n\n{{"k":{}1{}}}'.format("[" * 63, "]" * 63), {"type": "a"}),
    ("a\n\nSeq:1", {"seq": 1}),
    ("a\n\nTime: 2026-06-15T10:00:00+00:00", {"time": parse_time("2026-06-15T10:00:00Z")}),
    ("a\n\nTime: 2026-06-15T10:00:00.5Z", {"time": parse_time("2026-06-15T10:00:00.500000Z")}),
    ("a\n\nco-authored-by: B <b@x>\nSigned-off-by: C", {"data": {}}),
    ("a\n\nActor: Ünal Ö", {"actor": "Ünal Ö"}),
    ("a\n\nSource-Epoch: 4", {"source_epoch": 4, "epoch": None}),
]


@pytest.mark.parametrize(("message", "says"), ACCEPTED, ids=range(len(ACCEPTED)))
def test_accepted_messages(message: str, says: dict[str, object]) -> None:
    event = decode(commit(message + "\n"))
    assert {name: getattr(event, name) for name in says} == says


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"", "commit"),
        (b"tree x\n\n", "author"),
        (commit("a", headers="encoding ISO-8859-1\n"), "encoding"),
        (commit("a", headers="mergetag x\n"), "commit"),
        (commit("a", headers="change-id x\n"), "commit"),
        (commit("a", headers=" continued\n"), "commit"),
        (commit("a", tree="1" * 40), "tree"),
        (commit("a").replace(b"alice <", b"al\xe9 <"), "author"),
        (commit("a: \xff".encode("latin-1").decode("latin-1")).replace("\xff".encode(), b"\xff"), "message"),
        (commit("a").replace(b"1781517600", b"-1", 1), "Time"),
        (commit("a").replace(b"alice <a@example.org>", b"<a@example.org>", 1), "author"),
    ],
)
def test_refused_commits_name_the_field(raw: bytes, field: str) -> None:
    with pytest.raises(BadEvent) as caught:
        decode(raw)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"type": "two words"}, "type"),
        ({"subject": ""}, "subject"),
        ({"subject": "line\nbreak"}, "subject"),
        ({"actor": ""}, "Actor"),
        ({"actor": " alice"}, "Actor"),
        ({"actor": "al\x00ice"}, "Actor"),
        ({"id": ""}, "Event-Id"),
        ({"time": WHEN.replace(tzinfo=None)}, "Time"),
        ({"time": WHEN.replace(year=1969)}, "Time"),
        ({"data": {"k": float("nan")}}, "data"),
        ({"data": {"k": 2**53}}, "data"),
        ({"data": {1: 2}}, "data"),
        ({"data": {"k": {1, 2}}}, "data"),
        ({"data": {"k": "\ud800"}}, "data"),
    ],
)
def test_a_draft_that_bytes_cannot_hold_is_refused_when_built(changes: dict[str, object], field: str) -> None:
    with pytest.raises(BadEvent) as caught:
        draft(**changes)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("actor", "who"),
    [
        ("alice", "alice <alice@shardd>"),
        ("Ada Lovelace <ada@example.org>", "Ada Lovelace <ada@example.org>"),
        ("Nobody <>", "Nobody <>"),
        ("Alice", "actor-3bc51062973c458d <actor-3bc51062973c458d@shardd>"),
        ("<x@y>", None),
        ("a <b> c", None),
    ],
)
def test_author_follows_from_actor(actor: str, who: str | None) -> None:
    made = identity(actor)
    assert made == who if who else made.startswith("actor-")


def test_genesis_is_the_same_everywhere() -> None:
    assert commit_oid(genesis("whynot")) == "c3a7a13acb7b034e982392867e278076489de5e8"
    assert decode_genesis(genesis("whynot", seq=-1), "whynot") == -1
    for other in (genesis("other"), genesis("whynot") + b"\n", genesis("whynot").replace(b" 0 +0000", b" 1 +0000")):
        with pytest.raises(BadEvent):
            decode_genesis(other, "whynot")


def test_times_are_written_with_six_decimals() -> None:
    assert format_time(parse_time("2026-06-15T10:00:00Z")) == "2026-06-15T10:00:00.000000Z"


def test_check_seq_refuses_minus_zero() -> None:
    with pytest.raises(BadEvent):
        check_seq("Seq", "-0", lowest=-1)
