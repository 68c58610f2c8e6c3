"""What a push expands to, measured as it comes: whole, byte by byte, over each bound, and lying."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence

import pytest

from shardd.core.hook_protocol import MOST_OPTIONS, MOST_REFS
from shardd.core.incoming import Incoming
from shardd.core.limits import Limits, PackBounds, pack_bounds
from shardd.core.roles import Role
from shardd.errors import Rejected
from tests.packs import KINDS, REF_DELTA, ZERO, Pack, commit, copied, oid_of, packet, push, varint

REF = "refs/notes/carol"
OID = "1" * 40
WIDE = PackBounds(pack_bytes=10**6, objects=1000, object_bytes=100_000, unpacked_bytes=10**6)


def feed(data: bytes, bounds: PackBounds = WIDE, *, pieces: int = 10**9) -> Sequence[str]:
    """The refs that the bounds were asked for."""
    asked: list[str] = []

    def look(refs: Sequence[str]) -> PackBounds:
        asked.extend(refs)
        return bounds

    incoming = Incoming(look)
    for at in range(0, len(data), pieces):
        incoming.feed(data[at : at + pieces])
    return asked


def ordinary() -> bytes:
    pack = Pack()
    tree = pack.put("tree", b"")
    tip = pack.put("commit", commit(tree))
    pack.put("blob", bytes(99_000))
    pack.put("blob", b"")
    base = bytes(70_000)
    pack.put("blob", base)
    pack.delta(oid_of("blob", base), copied(len(base), b"new"))
    return push([(ZERO, tip, REF), (ZERO, tip, "refs/heads/spaces/a")], pack.bytes(), options=["epoch=1", "x"])


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 511, 10**9])
def test_what_is_within_the_bounds_goes_through(pieces: int) -> None:
    assert feed(ordinary(), pieces=pieces) == [REF, "refs/heads/spaces/a"]


@pytest.mark.parametrize("pieces", [100, 4096, 10**9])
def test_objects_that_are_inflated_in_many_steps(pieces: int) -> None:
    """Each is followed by another, whose beginning must be found."""
    pack = Pack()
    for size in (2**20 - 1, 2**20, 2**20 + 1, 5_000_000, 0, 3 * 2**20):
        pack.put("blob", bytes(size))
        pack.put("blob", random.Random(size).randbytes(size // 10))
    wide = PackBounds(pack_bytes=10**9, objects=100, object_bytes=10**9, unpacked_bytes=10**9)
    feed(push([(ZERO, OID, REF)], pack.bytes()), wide, pieces=pieces)


def test_a_push_that_brings_no_pack() -> None:
    assert feed(packet(f"{OID} {ZERO} {REF}\0report-status\n".encode()) + b"0000") == [REF]
    assert feed(b"0000") == []


@pytest.mark.parametrize("pieces", [1, 10**9])
@pytest.mark.parametrize("shallow", [b"", packet(f"shallow {OID}".encode())])
def test_where_nothing_is_to_be_pushed_only_options_may_follow(pieces: int, shallow: bytes) -> None:
    """As stock gits send them, for whom all is up to date: no ref before them that could say `push-options`."""
    nothing = shallow + b"0000"
    assert feed(nothing + packet(b"lease=acquire") + b"0000", pieces=pieces) == []
    for more in (Pack().bytes(), b"0000" + Pack().bytes(), packet(b"x") + b"0000" + b"x"):
        with pytest.raises(Rejected) as refused:
            feed(nothing + more, pieces=pieces)
        assert refused.value.code == "bad-event"


def bomb(kind: str, size: int) -> bytes:
    pack = Pack()
    pack.put(kind, bytes(size))
    return push([(ZERO, OID, REF)], pack.bytes())


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_is_refused_before_any_of_it_is_passed_on(kind: str) -> None:
    whole = bomb(kind, 100_001)
    feed(bomb(kind, 100_000))
    head = whole.index(b"PACK") + 12
    for end in range(head + 1, len(whole)):
        try:
            feed(whole[:end])
        except Rejected as error:
            assert (error.code, error.message) == ("too-large", "an object of 100001 bytes; 100000 are allowed here")
            break
    assert end == head + 3  # its size alone


def test_what_deltas_make_counts() -> None:
    """A small delta makes a large object: each of a chain, and all of them together."""
    pack = Pack()
    base = bytes(90_000)
    oid = pack.put("blob", base)
    for i in range(20):
        pack.delta(oid, copied(len(base), b"%04d" % i))
        base = b"%04d" % i + base[4:]
        oid = oid_of("blob", base)
    raw = pack.bytes()
    assert len(raw) < 3000
    with pytest.raises(Rejected, match="the pack expands to more than 1000000 bytes"):
        feed(push([(ZERO, OID, REF)], raw))
    alone = Pack()
    alone.delta(OID, varint(10) + varint(100_001) + b"x" * 40)
    with pytest.raises(Rejected, match="an object of 100001 bytes"):
        feed(push([(ZERO, OID, REF)], alone.bytes()))


def test_many_objects_and_many_bytes() -> None:
    pack = Pack()
    with pytest.raises(Rejected, match="a pack of 1001 objects; 1000 are allowed"):
        feed(push([(ZERO, OID, REF)], pack.bytes(count=1001)[:-20]))
    for _ in range(12):
        pack.put("blob", bytes(99_000))
    with pytest.raises(Rejected, match="expands to more than 1000000 bytes"):
        feed(push([(ZERO, OID, REF)], pack.bytes()))
    with pytest.raises(Rejected, match="a pack holds at most 500 bytes"):
        feed(push([(ZERO, OID, REF)], pack.bytes()), PackBounds(500, 10**6, 10**6, 10**9))


def lying() -> dict[str, bytes]:
    def made(kind: int, size: int, rest: bytes) -> bytes:
        pack = Pack()
        pack.entry(kind, size, rest)
        return pack.bytes()

    nothing = zlib.compress(b"")
    return {
        "larger": made(3, 10, zlib.compress(bytes(11))),
        "much larger": made(3, 10, zlib.compress(bytes(5_000_000))),
        "smaller": made(3, 10, zlib.compress(bytes(9))),
        "no zlib": made(3, 10, b"\xff" * 50),
        "kind 0": made(0, 0, nothing),
        "kind 5": made(5, 0, nothing),
        "a delta of nothing": made(REF_DELTA, 0, bytes(20) + nothing),
        "a delta of endless sizes": made(REF_DELTA, 30, bytes(20) + zlib.compress(b"\xff" * 30)),
        "a size without end": b"PACK\0\0\0\2\0\0\0\1" + b"\xb0" + b"\xff" * 40,
        "no pack": b"KCAP" + bytes(40),
        "version 4": b"PACK\0\0\0\4\0\0\0\1" + bytes(40),
        "more than a pack": Pack().bytes() + b"x",
    }


@pytest.mark.parametrize("what", lying())
@pytest.mark.parametrize("pieces", [1, 10**9])
def test_a_pack_that_lies_is_refused(what: str, pieces: int) -> None:
    with pytest.raises(Rejected) as refused:
        feed(push([(ZERO, OID, REF)], lying()[what]), pieces=pieces)
    assert refused.value.code == "bad-event"


@pytest.mark.parametrize(
    "sent",
    [
        b"0001",
        b"0002",
        b"0003",
        b"zzzz",
        b"0x1f",
        b"+01f",
        packet(b""),
        packet(b"push-cert\0report-status"),
        packet(b"shallow " + b"1" * 40) + packet(b"nonsense"),
        packet(f"{OID.upper()} {'A' * 40} {REF}".encode()),
        push([(ZERO, OID, REF)], b"", options=None, more=" push-options") + Pack().bytes(),
        push([(ZERO, OID, REF)], b"", options=["x"]).replace(b"push-options", b"push-optionz") + Pack().bytes(),
    ],
)
def test_what_git_might_read_otherwise_is_refused(sent: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        feed(sent)
    assert refused.value.code == "bad-event"


@pytest.mark.parametrize("pieces", [1, 3, 100_000])
@pytest.mark.parametrize("shallow", [b"", packet(f"shallow {OID}".encode())])
def test_refs_and_options_are_counted_however_they_come(pieces: int, shallow: bytes) -> None:
    def options(*each: str) -> bytes:
        return shallow + push([(ZERO, OID, REF)], b"", options=each)

    feed(options(*["x"] * MOST_OPTIONS), pieces=pieces)
    with pytest.raises(Rejected, match="a push has at most 100 options"):
        feed(options(*["x"] * (MOST_OPTIONS + 1)), pieces=pieces)
    with pytest.raises(Rejected, match="at most 65536 bytes of options"):
        feed(options(*["x" * 8000] * 9), pieces=pieces)
    with pytest.raises(Rejected, match="a ref or push option of more than 8192 bytes"):
        feed(options("x" * 8193), pieces=pieces)
    with pytest.raises(Rejected, match="more than 4096 bytes"):
        feed(b"ffff", pieces=pieces)
    if pieces > 1:
        line = packet(f"{ZERO} {OID} {REF}".encode())
        most = MOST_REFS - bool(shallow)
        feed(shallow + line * most, pieces=pieces)
        with pytest.raises(Rejected, match="a push has at most 10000 refs"):
            feed(shallow + line * (most + 1), pieces=pieces)
        with pytest.raises(Rejected, match="at most 4194304 bytes of refs"):
            feed(packet(f"{ZERO} {OID} {REF}{'x' * 3900}".encode()) * 1100, pieces=pieces)


def test_the_answer_is_what_git_expects() -> None:
    incoming = Incoming(lambda refs: WIDE)
    with pytest.raises(Rejected):
        incoming.feed(bomb("blob", 100_001))
    answer = incoming.answer(["shardd: too-large: no", "shardd: to mend it: less"], "too-large: no")
    assert answer is not None
    assert answer.startswith(packet(b"\2shardd: too-large: no\n"))
    assert packet(b"unpack too-large: no") + packet(f"ng {REF} too-large: no".encode()) + b"0000" in answer
    assert answer.endswith(b"0000")
    assert Incoming(lambda refs: WIDE).answer(["x"], "x") is None


def test_who_may_not_append_may_bring_what_notes_may_hold() -> None:
    limits = Limits()
    roles: dict[str | None, Role] = {"mine": Role.APPEND, "other": Role.READ, None: Role.READ}

    def bounds(*refs: str) -> PackBounds:
        return pack_bounds(limits, refs, roles.__getitem__)

    mine, other, notes = "refs/heads/spaces/mine", "refs/heads/spaces/other", "refs/notes/carol"
    assert bounds(mine) == bounds(mine, notes) == limits.for_events
    assert bounds(notes) == bounds(other) == bounds(mine, other) == bounds("refs/heads/main") == limits.for_notes
    assert bounds() == limits.for_notes
