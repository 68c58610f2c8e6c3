"""What must hold for every event, and for any bytes at all."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from shardd.core.canonical import Json, decode_data, encode_data
from shardd.core.codec import decode_event, encode_event, genesis, is_canonical
from shardd.core.event import Data, Draft
from shardd.core.kinds.default import DEFAULT_KINDS
from shardd.core.objects import commit_oid
from shardd.core.taken_types import unfit
from shardd.errors import BadEvent
from tests.properties.strategies import DATA, DRAFTS, LINE

PARENT = commit_oid(genesis("whynot"))
EPOCHS = st.none() | st.integers(0, 2**53 - 1)


@given(DATA)
@example({"\uffff": 1, "\U00010000": 2, "\ue000": 3})
def test_canonical_json_is_that_of_the_reference_library(data: Data) -> None:
    assert encode_data(data) == rfc8785.dumps(dict(data))


@given(DATA)
def test_canonical_json_is_a_fixed_point(data: Data) -> None:
    raw = encode_data(data)
    again = decode_data(raw.decode())
    assert encode_data(again) == raw
    assert again == json.loads(raw)


@given(DRAFTS, st.integers(0, 2**53 - 1), EPOCHS)
def test_events_survive_their_bytes(draft: Draft, seq: int, epoch: int | None) -> None:
    raw = encode_event(draft, parent=PARENT, seq=seq, epoch=epoch)
    oid = commit_oid(raw)
    event = decode_event(raw, oid=oid, parent_seq=seq - 1)
    back = event.draft()
    assert (back.type, back.subject, back.actor, back.id, back.time) == (
        draft.type,
        draft.subject,
        draft.actor,
        draft.id,
        draft.time,
    )
    assert encode_data(back.data) == encode_data(draft.data)
    assert (event.seq, event.epoch, event.oid) == (seq, epoch, oid)
    assert is_canonical(raw, event, PARENT)


@given(st.binary(max_size=400))
def test_any_bytes_give_an_event_or_bad_event(raw: bytes) -> None:
    _event_or_bad_event(raw)


@given(DRAFTS, st.data())
def test_damaged_events_give_an_event_or_bad_event(draft: Draft, data: st.DataObject) -> None:
    raw = bytearray(encode_event(draft, parent=PARENT, seq=1, epoch=3))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    _event_or_bad_event(bytes(raw))


@given(st.text(max_size=200))
def test_any_message_gives_an_event_or_bad_event(message: str) -> None:
    who = "alice <a@x> 5 +0000"
    head = f"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nparent {PARENT}\nauthor {who}\ncommitter {who}\n\n"
    _event_or_bad_event((head + message).encode("utf-8", "surrogatepass"))


@given(DATA, LINE, st.sampled_from([None, 2]))
def test_any_layout_reads_alike(data: Data, subject: str, indent: int | None) -> None:
    body = json.dumps(data, indent=indent, ensure_ascii=indent is None)
    who = "alice <a@x> 5 +0000"
    raw = (
        f"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nparent {PARENT}\nauthor {who}\ncommitter {who}\n\n"
        f"a.b: {subject}\n\n{body}\n"
    ).encode()
    event = decode_event(raw, oid=commit_oid(raw), parent_seq=0)
    assert encode_data(event.data) == encode_data(data)
    assert event.subject == subject


def _event_or_bad_event(raw: bytes) -> None:
    try:
        event = decode_event(raw, oid=commit_oid(raw), parent_seq=0)
    except BadEvent as error:
        assert error.field
    else:
        assert event.oid == commit_oid(raw)


# The hook for clones is a second reading of the same rules, in the standard library alone: it must not drift.


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    path = Path(__file__).parents[2] / "hooks" / "commit-msg"
    loader = importlib.machinery.SourceFileLoader("commit_msg", str(path))
    spec = importlib.util.spec_from_loader("commit_msg", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


NOW = datetime(2026, 6, 15, 10, 0, 0, 123456, tzinfo=UTC)


def _commit(message: str) -> bytes:
    who = "alice <a@x> 5 +0000"
    return (
        f"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nparent {PARENT}\nauthor {who}\ncommitter {who}\n\n{message}"
    ).encode()


@given(DATA)
def test_the_hook_writes_canonical_json(hook: ModuleType, data: Data) -> None:
    assert hook.canonical(hook.parse(json.dumps(data))).encode() == encode_data(data)


@given(st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: not (x.is_integer() and abs(x) >= 2**53)))
def test_the_hook_writes_numbers_as_ecmascript_does(hook: ModuleType, number: float) -> None:
    assert hook.number(number).encode() == rfc8785.dumps(number)


MESSAGES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    st.builds(
        "{}: {}\n\n{}\n\n{}: {}".format,
        st.sampled_from(["a.b", "a b", ""]),
        LINE,
        st.sampled_from(['{"k":1}', '{ "k" : 1.0 }', '{"k":1,"k":2}', "[1]", "", "{", '{"k":9007199254740992}']),
        st.sampled_from(["Seq", "Event-Id", "Actor", "Time", "Lease-Epoch", "Signed-off-by", "Reviewed-by"]),
        st.sampled_from(["1", "x y", " 1", "2026-06-15T10:00:00Z", "2026-06-15", "99999999999999999"]) | LINE,
    ),
)


@given(MESSAGES)
def test_the_hook_takes_just_what_the_codec_takes(hook: ModuleType, message: str) -> None:
    message = re.sub("[ \t\r]+$", "", message, flags=re.MULTILINE)  # as git does before
    message = re.sub("\n{3,}", "\n\n", message).strip("\n")
    raw = _commit(message + "\n")
    try:
        event = decode_event(raw, oid=commit_oid(raw), parent_seq=0)
    except BadEvent:
        with pytest.raises(hook.BadError):
            hook.complete(message, "alice", NOW)
        return
    once = hook.complete(message, "alice", NOW)
    completed = _commit(once)
    after = decode_event(completed, oid=commit_oid(completed), parent_seq=0)
    assert (after.type, after.subject, after.data, after.actor) == (event.type, event.subject, event.data, event.actor)
    assert hook.complete(once, "alice", NOW) == once


ID = "Event-Id: e-1"


@pytest.mark.parametrize("body", ["", '{\n"a":\n\n"Actor: alice"}\n\n'])
def test_an_amend_by_another_changes_the_actor_in_the_trailers_alone(hook: ModuleType, body: str) -> None:
    """The type of an event, and a line of its data, may look like a trailer."""
    message = f"Actor: alice\n\n{body}{ID}\nActor: alice\nTime: 2026-06-15T10:00:00Z"
    made = hook.reauthored(message, "bob", ("alice", message))
    assert made == message.replace(f"{ID}\nActor: alice", f"{ID}\nActor: bob")
    assert hook.reauthored("Event-Id: e-1", "bob", ("alice", "Event-Id: e-1")) == "Event-Id: e-1"


def test_an_amend_of_what_is_no_event_is_refused_as_such(hook: ModuleType) -> None:
    with pytest.raises(hook.BadError, match="subject"):
        hook.reauthored("one\ntwo", "bob", ("alice", "one\ntwo"))


def test_the_hook_knows_the_types_that_come_with_shardd(hook: ModuleType) -> None:
    fields = {
        name: {each.name: each.required for each in msgspec.structs.fields(kind.data)}
        for name, kind in DEFAULT_KINDS.kinds.items()
    }
    assert {
        name: {key: form.endswith("*") for key, form in known.items()} for name, known in hook.KNOWN.items()
    } == fields


VALUES: st.SearchStrategy[Json] = st.sampled_from(
    ["Home", "", "a\x00b", "x" * 200, "x" * 201, "x" * 1001, 7, None, ["a"], "ünï 🌱", "a\nb"]
)


@given(data=st.data(), kind=st.sampled_from(sorted(DEFAULT_KINDS.kinds)))
def test_the_hook_refuses_just_the_data_that_do_not_fit(hook: ModuleType, data: st.DataObject, kind: str) -> None:
    names = [*hook.KNOWN[kind], "pgae"]
    said = data.draw(st.dictionaries(st.sampled_from(names), VALUES))
    ours, theirs = hook.unfit(kind, said), unfit(kind, said)
    assert (ours is None) == (theirs is None)
