"""Lines of JSON: what they look like, and what is refused by which line and field."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from shardd.core.event import Event
from shardd.core.jsonl import decode_lines, encode_line
from shardd.errors import BadEvent

CLOUD: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e1",
    "source": "spaces/whynot",
    "type": "page.bound",
    "sequence": "0000000000000042",
    "time": "2026-06-15T10:00:00.123456Z",
    "actor": "alice",
    "subject": "Home",
    "data": {"page": "Home"},
}
PLAIN: dict[str, Any] = {
    "seq": 42,
    "timestamp": "2026-06-15T10:00:00.123456+00:00",
    "actor": "alice",
    "type": "page.bound",
    "payload": {"page": "Home"},
}


def event(**changes: Any) -> Event:
    fields: dict[str, Any] = {
        "seq": 42,
        "oid": "0" * 40,
        "id": "e1",
        "type": "page.bound",
        "subject": "Home",
        "actor": "alice",
        "time": datetime(2026, 6, 15, 10, 0, 0, 123456, tzinfo=UTC),
        "data": {"page": "Home"},
        **changes,
    }
    return Event(**fields)


def lines(*values: dict[str, Any] | bytes) -> list[bytes]:
    return [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]


def test_the_literal_line() -> None:
    assert encode_line(event(epoch=7), "whynot") == (
        b'{"actor":"alice","data":{"page":"Home"},"epoch":"7","id":"e1","sequence":"0000000000000042",'
        b'"source":"spaces/whynot","specversion":"1.0","subject":"Home","time":"2026-06-15T10:00:00.123456Z",'
        b'"type":"page.bound"}\n'
    )
    assert encode_line(event(data={}, subject=None), "whynot") == (
        b'{"actor":"alice","id":"e1","sequence":"0000000000000042","source":"spaces/whynot","specversion":"1.0",'
        b'"time":"2026-06-15T10:00:00.123456Z","type":"page.bound"}\n'
    )


def test_both_kinds_of_line_are_read() -> None:
    one, other = decode_lines(lines(CLOUD, {**PLAIN, "seq": 43, "epoch": 3}), "whynot")
    assert (one.seq, one.draft.id, one.draft.subject, one.epoch, one.where) == (42, "e1", "Home", None, "line 1")
    assert (other.seq, other.epoch, other.where) == (43, 3, "line 2")
    assert (other.draft.time, other.draft.data, other.draft.actor) == (one.draft.time, one.draft.data, one.draft.actor)


def test_a_plain_line_gets_an_id_that_follows_from_space_and_event() -> None:
    def ids(space: str, *values: dict[str, Any]) -> list[str]:
        return [each.draft.id for each in decode_lines(lines(*values), space)]

    [id] = ids("whynot", PLAIN)
    assert (id[14], id[19] in "89ab") == ("8", True)
    assert ids("whynot", {**PLAIN, "timestamp": "2026-06-15T10:00:00.123456Z"}) == [id]
    assert ids("whynot", dict(reversed(PLAIN.items()))) == [id]
    others = [*ids("other", PLAIN), *ids("whynot", {**PLAIN, "seq": 43}), *ids("whynot", {**PLAIN, "actor": "bob"})]
    assert len({id, *others}) == 4


def without(line: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != key}


REFUSED: list[tuple[dict[str, Any] | bytes, str, str]] = [
    (b"{", "json", "is not JSON"),
    (b"[]", "json", "not an object"),
    (b"\xff", "json", "not UTF-8"),
    (b"\xef\xbb\xbf{}", "json", "BOM"),
    (b'{"seq":1,"seq":2}', "json", "'seq' stands twice"),
    (b'{"payload":{"a":1,"a":2}}', "json", "'a' stands twice"),
    (b'{"seq":NaN}', "json", "NaN"),
    (json.dumps(PLAIN).encode() + b"}", "json", "Extra data"),
    ({**CLOUD, "specversion": "0.3"}, "specversion", "not '1.0'"),
    ({**CLOUD, "datacontenttype": "text/xml"}, "datacontenttype", "application/json"),
    ({**CLOUD, "data_base64": "AA=="}, "data_base64", "no place"),
    ({**CLOUD, "dataschema": "x:y"}, "dataschema", "no place"),
    ({**CLOUD, "traceparent": "00"}, "traceparent", "no place"),
    ({**CLOUD, "data": "text"}, "data", "not an object"),
    ({**CLOUD, "datacontenttype": "application/json; charset=latin-1"}, "datacontenttype", "in UTF-8"),
    ({**CLOUD, "datacontenttype": 7}, "datacontenttype", "application/json"),
    ({**PLAIN, "comment": None}, "comment", "no place"),
    ({**CLOUD, "sequence": "-1"}, "sequence", "not an integer"),
    ({**CLOUD, "sequence": "1.0"}, "sequence", "not an integer"),
    ({**CLOUD, "sequence": True}, "sequence", "not an integer"),
    ({**CLOUD, "sequence": 2**53}, "sequence", "not an integer"),
    ({**CLOUD, "epoch": "seven"}, "epoch", "not an integer"),
    ({**CLOUD, "id": "two words"}, "id", "printable ASCII"),
    ({**CLOUD, "id": 7}, "id", "not a string"),
    ({**CLOUD, "source": "", "time": "x"}, "source", "is empty"),
    ({**CLOUD, "subject": ""}, "subject", "0 characters"),
    ({**CLOUD, "subject": "a\nb"}, "subject", "control"),
    ({**CLOUD, "actor": " alice"}, "actor", "outer spaces"),
    ({**CLOUD, "actor": "x" * 201}, "actor", "201 characters"),
    ({**CLOUD, "type": "two words"}, "type", "not an event type"),
    ({**CLOUD, "time": "2026-06-15T10:00:00"}, "time", "RFC 3339"),
    ({**CLOUD, "time": "2026-06-15T12:00:00+02:00"}, "time", "RFC 3339"),
    ({**CLOUD, "time": "2026-06-15T10:00:00.1234567Z"}, "time", "RFC 3339"),
    ({**CLOUD, "time": "1969-12-31T23:59:59Z"}, "time", "before 1970"),
    ({**CLOUD, "time": "2026-02-30T10:00:00Z"}, "time", "day"),
    ({**CLOUD, "data": {"n": 2**53}}, "data", "outside"),
    ({**CLOUD, "data": {"n": "\ud800"}}, "data", "surrogate"),
    (json.dumps({**PLAIN, "payload": {"n": 0}}).replace('"n": 0', '"n": 1e400').encode(), "payload", "1e400"),
    (json.dumps({**PLAIN, "payload": {"n": 0}}).replace('"n": 0', '"n": 0.10000000000000000001').encode(), "payload",
     "not held exactly"),
    ({**PLAIN, "timestamp": 1781517600}, "timestamp", "not a string"),
    ({**PLAIN, "timestamp": "yesterday"}, "timestamp", "RFC 3339"),
    ({**PLAIN, "payload": []}, "payload", "not an object"),
    ({**PLAIN, "payload": {"a": 2**60}}, "payload", "outside"),
    ({**PLAIN, "comment": "x"}, "comment", "no place"),
    *(({k: v for k, v in CLOUD.items() if k != key}, key, "is missing")
      for key in ("specversion", "id", "source", "type", "sequence", "time", "actor")),
    *((without(PLAIN, key), key, "is missing") for key in ("seq", "timestamp", "actor", "type")),
]  # fmt: skip


@pytest.mark.parametrize(("line", "field", "why"), REFUSED, ids=lambda x: None if isinstance(x, dict | bytes) else x)
def test_a_refusal_names_line_and_field(line: dict[str, Any] | bytes, field: str, why: str) -> None:
    with pytest.raises(BadEvent, match=r"^line 2: ") as caught:
        list(decode_lines(lines({**PLAIN, "seq": 41}, line), "whynot"))
    assert (caught.value.field, caught.value.where) == (field, "line 2")
    assert f"line 2: {field}: " in caught.value.message
    assert why in caught.value.message


def test_a_file_holds_one_log() -> None:
    with pytest.raises(BadEvent, match=r"^line 2: source: 'elsewhere'"):
        list(decode_lines(lines(CLOUD, {**CLOUD, "source": "elsewhere"}), "whynot"))


def test_numbers_that_a_double_equals_are_taken_however_they_are_written() -> None:
    raw = json.dumps(PLAIN).replace('{"page": "Home"}', '{"a": 1.50, "b": 1e2, "c": 0.1, "d": -0.0, "e": 1E-7}')
    [one] = decode_lines([raw.encode()], "whynot")
    assert one.draft.data == {"a": 1.5, "b": 100, "c": 0.1, "d": 0, "e": 1e-07}


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b" \t\n", b""])
def test_a_blank_line_is_none_and_is_counted(blank: bytes) -> None:
    one, other = decode_lines([blank, *lines({**PLAIN, "seq": 41}), blank, *lines(PLAIN), blank], "whynot")
    assert ((one.seq, one.where), (other.seq, other.where)) == ((41, "line 2"), (42, "line 4"))


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        'Application/JSON ; charset="utf-8"; profile="x"',
        "application/json",
        None,
    ],
)
def test_json_may_have_parameters(media_type: str | None) -> None:
    [one] = decode_lines(lines({**CLOUD, "datacontenttype": media_type}), "whynot")
    assert one.draft.data == CLOUD["data"]


@pytest.mark.parametrize(
    "key", ["dataschema", "traceparent", "subject", "epoch", "data", "data_base64", "partitionkey"]
)
def test_what_is_null_is_not_there(key: str) -> None:
    [one] = decode_lines(lines({**CLOUD, key: None}), "whynot")
    [other] = decode_lines(lines(without(CLOUD, key)), "whynot")
    assert one == other
