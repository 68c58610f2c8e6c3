"""The two ways of reading, fast and careful, agree on every input."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardd.core import codec
from shardd.core.canonical import Json, decode_data, decode_plain, encode_data, parse_object
from shardd.core.event import Draft, parse_time
from shardd.core.objects import commit_oid
from shardd.errors import BadEvent
from tests.properties.strategies import DRAFTS, EPOCHS, JSON

PARENT = "82efd41a72d59e94810f85eed4b20fca5b607fc5"


def test_numbers_and_keys_that_need_care_do_not_take_the_fast_way() -> None:
    for body in ('{"a":1.0}', '{"a":1e3}', '{"a":9007199254740992}', '{"a":-0}', '{"\U0001f331":1,"\uffee":2}'):
        assert decode_plain(body) is None, body
    assert decode_plain('{"sequence":"0000000000000042"}') == {"sequence": "0000000000000042"}


@given(JSON | st.text(max_size=60), st.integers(0, 3))
def test_the_fast_way_of_reading_json_agrees_with_the_careful_one(value: Json, style: int) -> None:
    body = value if isinstance(value, str) else _written(value, style)
    found = decode_plain(body)
    if found is not None:
        assert found == parse_object(body, "data")
        assert body.encode() == encode_data(found)


def _written(value: Json, style: int) -> str:
    wrapped = {"value": value}
    if style == 0:
        return encode_data(wrapped).decode()
    return json.dumps(
        wrapped,
        ensure_ascii=style == 1,
        sort_keys=style == 2,
        separators=(",", ":") if style > 1 else None,
    )


@given(DRAFTS, st.integers(1, 10**15), EPOCHS, st.booleans())
def test_what_is_written_is_read_by_both_ways(draft: Draft, seq: int, epoch: int | None, imported: bool) -> None:
    lease, source = (None, epoch) if imported else (epoch, None)
    raw = codec.encode_event(draft, parent=PARENT, seq=seq, epoch=lease, source_epoch=source)
    oid = commit_oid(raw)
    fast = codec._read_canonical(raw, oid)
    careful = codec._read_accepted(raw, oid, seq - 1)
    assert fast is not None
    assert fast == careful
    event = fast.event
    assert (event.seq, event.epoch, event.source_epoch) == (seq, lease, source)
    assert event.draft() == Draft(
        type=draft.type,
        data=decode_data(encode_data(draft.data).decode()),
        subject=draft.subject,
        actor=draft.actor,
        id=draft.id,
        time=draft.time,
    )
    assert codec.is_canonical(raw, event, PARENT)


@given(DRAFTS, st.data())
def test_the_fast_way_takes_no_damaged_commit_that_the_careful_one_refuses(draft: Draft, draw: st.DataObject) -> None:
    raw = codec.encode_event(draft, parent=PARENT, seq=7, epoch=3)
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, len(raw)))
        length = draw.draw(st.integers(0, 12))
        piece = draw.draw(st.sampled_from(PIECES) | st.binary(max_size=3))
        raw = raw[:at] + piece + raw[at + length :]
    oid = commit_oid(raw)
    fast = codec._read_canonical(raw, oid)
    if fast is not None:
        assert fast == codec._read_accepted(raw, oid, 6)
    try:
        written = codec.read_event(raw, oid=oid, parent_seq=6)
    except BadEvent as error:
        with pytest.raises(BadEvent, match=re.escape(error.message)):
            codec.skim(raw, oid=oid, parent_seq=6)
    else:
        event = written.event
        skimmed = codec.skim(raw, oid=oid, parent_seq=6)
        assert skimmed == (written.parents, event.seq, event.id, event.epoch, written.signed)


PIECES = [
    b"\n", b"\n\n", b" ", b"0", b"9" * 16, b"\r", b"Seq: 8\n", b"Lease-Epoch: 4\n", b"Source-Epoch: 4\n", b"+0100",
    b"encoding latin1\n", b"parent " + PARENT.encode() + b"\n", b"Signed-off-by: x\n", b"{}", b'{"a":1.0}\n\n',
    b'{"a":1,"a":1}\n\n', b"\xff", b": ", b"2026-02-30", b"24", b"<", b">", b"\xc2\x85", b" \n",
]  # fmt: skip


def test_both_ways_refuse_two_epochs() -> None:
    draft = Draft(type="t", actor="a", id="i", time=parse_time("2026-01-01T00:00:00Z"))
    raw = codec.encode_event(draft, parent=PARENT, seq=7, epoch=3, source_epoch=2)
    assert codec._read_canonical(raw, commit_oid(raw)) is None
    try:
        codec.read_event(raw, oid=commit_oid(raw), parent_seq=6)
    except BadEvent as error:
        assert error.field == "Source-Epoch"
    else:
        raise AssertionError("accepted")
