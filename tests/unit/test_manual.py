"""The manual, `help TOPIC`, and what is said of words that are nearly right."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from shardd.cli.main import main
from shardd.commands.all_commands import server_grammar
from shardd.commands.grammar import HelpAsked
from shardd.commands.manual import topic, topics
from shardd.core.kinds.default import DEFAULT_KINDS
from shardd.errors import Misuse


def test_the_topic_of_event_types_is_about_those_that_there_are() -> None:
    text = topic("events") or ""
    rows = {row.split("|")[1].strip(" `"): row.split("|")[2] for row in text.split("\n") if row.startswith("| `")}
    fields = {
        name: ", ".join(f"`{each.name}`" + ("" if each.required else "?") for each in in_order(kind.data))
        for name, kind in DEFAULT_KINDS.kinds.items()
    }
    assert {name: said.strip() for name, said in rows.items()} == fields


def in_order(data: type[msgspec.Struct]) -> list[msgspec.structs.FieldInfo]:
    """Its own before those of what it builds on, as one writes them."""
    return sorted(msgspec.structs.fields(data), key=lambda each: each.name == "reason")


@pytest.mark.parametrize("name", topics())
def test_every_topic_has_a_title_and_fits_a_terminal(name: str) -> None:
    text = topic(name) or ""
    assert text.startswith("# ")
    prose = [line for line in text.split("\n") if not line.startswith("|")]
    assert max(map(len, prose)) <= 120


def test_help_lists_commands_and_topics_and_shows_them_as_the_caller_calls_us() -> None:
    grammar = server_grammar()
    with pytest.raises(HelpAsked) as asked:
        grammar.parse(["help"])
    text = asked.value.seen_from("ssh wiki")
    assert text.startswith("usage: ssh wiki ")
    assert "topics of `ssh wiki help TOPIC`:\n  events" in text
    with pytest.raises(HelpAsked) as asked:
        grammar.parse(["help", "events"])
    assert asked.value.seen_from("ssh wiki") == topic("events")
    assert topic("../__init__") is topic("") is None


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("lese show a/b", "lease"),
        ("lease aquire a/b", "lease acquire"),
        ("spaec list", "space"),
        ("help evnts", "events"),
        ("help aduit", "audit"),
        ("lease acquire a/b --wiat 5", "--wait"),
        ("append a/b note --forec", "--force"),
    ],
)
def test_a_word_that_is_nearly_right_is_answered_with_the_right_one(words: str, meant: str) -> None:
    with pytest.raises(Misuse, match=f"did you mean {meant}( by|\\?)"):
        server_grammar().parse(words.split())


@pytest.mark.parametrize("words", ["log a/b --json", "--json log a/b", "log --json a/b"])
def test_json_may_stand_anywhere(words: str) -> None:
    assert server_grammar().parse(words.split()).json


def test_without_a_word_it_says_what_it_can(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("usage: shardd ")
    assert main(["help", "setup"]) == 0
    assert capsys.readouterr().out.startswith("usage: shardd setup ")


def test_it_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "shardd", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("shardd ")
