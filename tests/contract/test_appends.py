"""`append`: what it asks about before it is in the log for good, and what it says of lines that fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.asking import Asked, server_of

SPACE = "garden/whynot"


@pytest.fixture
def ask(tmp_path: Path) -> Asked:
    return server_of(tmp_path)


def append(ask: Asked, *words: str) -> list[str]:
    return ask("append", SPACE, "--take-lease", *words).complaints


def test_what_is_probably_a_slip_is_asked_about(ask: Asked) -> None:
    cases = {
        ("wip",): "type-unknown: type: wip is no type that comes with shardd",
        ("page.buond", "Home", "--body", '{"page":"Home"}'): "did you mean page.bound?",
        ("page.Bound",): "did you mean page.bound?",
        ("page.bound", "--body", '{"pgae":"Home"}'): "data.page: page.bound: is missing; is `pgae` meant for it?",
        ("page.bound",): "bad-event: data.page: page.bound: is missing",
        ("remark.added", "--body", '{"remark":"r","page":"Home","text":1}'): "data.text: remark.added: Expected `str`",
        ("no type!", "--force"): "bad-event: type: ",
    }
    for words, says in cases.items():
        found = append(ask, *words)
        assert says in found[0], words
        assert "--force" in words or "`--force`" in found[1]
    assert ask("log", SPACE).said == []
    for words in list(cases)[:-1]:
        assert append(ask, *words, "--force") == []
    assert append(ask, "page.bound", "--body", '{"page":"Home"}') == []
    assert len(ask("log", SPACE).said) == len(cases)


def test_where_types_are_listed_the_list_counts_and_nothing_forces_it(ask: Asked) -> None:
    assert ask("space", "types", SPACE).said == [f"{SPACE} takes events of any type"]
    listed = ask("space", "types", SPACE, "--strict", "--known", "acme.seen")
    assert (listed.status, len(listed.said)) == (0, 14)
    assert append(ask, "acme.seen") == []
    for words in (["wip"], ["wip", "--force"]):
        (said, mend) = append(ask, *words)
        assert "type-not-allowed: type: garden/whynot takes no wip" in said
        assert f"`shardd space types {SPACE}`" in mend
    assert "data.x: page.bound has no such field" in append(ask, "page.bound", "--body", '{"page":"a","x":1}')[0]
    assert ask("space", "types", SPACE, "wip", "--add").status == 0
    assert append(ask, "wip") == []
    assert "takes 14 types" in ask("space", "show", SPACE).text
    assert ask("space", "types", SPACE, "--off").said == [f"{SPACE} takes events of any type"]


@pytest.mark.parametrize(
    ("words", "warned"),
    [
        (("page.bound", "remark.aded"), ["remark.aded is no type that comes with shardd; did you mean remark.added?"]),
        (("--known", "page.bond"), ["page.bond is no type that comes with shardd; did you mean page.bound?"]),
        (("page.bound", "acme.seen"), []),
    ],
)
def test_a_type_that_is_nearly_one_of_shardds_is_taken_with_a_warning(
    ask: Asked, words: tuple[str, ...], warned: list[str]
) -> None:
    answer = ask("space", "types", SPACE, *words)
    assert answer.status == 0
    assert [line for line in answer.text.splitlines() if "warning" in line] == [f"warning: {each}" for each in warned]
    assert "warning" not in ask("space", "types", SPACE).text
    assert ask("space", "types", SPACE, *words, "--json").values[0]["warnings"] == warned


def test_the_space_alone_is_missed_where_types_may_be_left_out(ask: Asked) -> None:
    assert "required: REPO/SPACE\n" in ask("space", "types").text + "\n"


def test_types_of_ones_own_come_with_schemas(ask: Asked) -> None:
    own = {"acme.seen": {"required": ["who"]}}
    made = ask("space", "types", SPACE, "--own", "-", "--json", lines=json.dumps(own).encode())
    assert made.values == [{"space": SPACE, "types": ["acme.seen"], "schemas": own, "strict": False, "warnings": []}]
    assert '"who" is a required property' in append(ask, "acme.seen")[0]
    assert append(ask, "acme.seen", "--body", '{"who":"bob"}') == []
    for words, why in (
        (["--add"], "name the types"),
        (["--off", "x"], "leave the rest"),
        (["no type!"], "not an event"),
    ):
        refused = ask("space", "types", SPACE, *words)
        assert refused.status != 0
        assert why in refused.text


def test_a_line_that_fails_is_told_by_number_and_in_the_exit_status(ask: Asked) -> None:
    good, bad = b'{"type":"note","id":"a"}\n', b'\n{"type":"!"}\nnot json\n'
    lines = ask("append", SPACE, "--lines", "--take-lease", lines=good + bad + good.replace(b'"a"', b'"b"'))
    assert lines.status == 1
    assert [value.get("line") for value in lines.values] == [None, 3, 4, None]
    assert [value.get("seq") for value in lines.values] == [1, None, None, 2]
    without = ask("append", SPACE, "--lines", lines=good.replace(b'"a"', b'"c"') * 2)
    assert (without.status, [value["error"]["code"] for value in without.values]) == (1, ["not-holder"] * 2)
    assert ask("append", SPACE, "--lines", "--take-lease", lines=good).status == 0, "a retry is no failure"


@pytest.mark.parametrize("bad", [b'{"type":"note","tpye":1}', b"[]", b'{"type":"note","data":{"a":1,"a":2}}', b"\xff"])
def test_of_lines_that_go_together_the_first_at_fault_is_named(ask: Asked, bad: bytes) -> None:
    good = b'{"type":"note"}\n'
    told = ask("append", SPACE, "--lines", "--atomic", "--take-lease", lines=good + b"\n  \n" + bad + b"\n" + good)
    assert told.status != 0
    assert "line 4: " in told.complaints[0]
    assert ask("append", SPACE, "--lines", "--atomic", "--take-lease", lines=b"\n" + good + b"\n" + good).status == 0
