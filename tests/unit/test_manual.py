"""The manual, `help TOPIC`, and what is said of words that are nearly right."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import shardd
from shardd.cli.main import main
from shardd.commands.all_commands import server_grammar
from shardd.commands.grammar import HelpAsked
from shardd.commands.manual import topic, topics
from shardd.core.kinds.default import DEFAULT_KINDS
from shardd.errors import Misuse
from shardd.files.settings import Settings


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
    prose = [line for line in re.sub("^```.*?^```$", "", text, flags=re.M | re.S).split("\n") if line[:1] != "|"]
    assert max(map(len, prose)) <= 120


def test_no_topic_is_hidden_by_a_command_and_the_readme_names_them_all() -> None:
    assert not set(topics()) & set(server_grammar().words.names)
    readme = (Path(__file__).parents[2] / "README.md").read_text().partition("## The manual")[2]
    assert set(re.findall(r"`([a-z]+)`", readme)) | {"scene"} == set(topics())


def test_what_a_topic_refers_to_is_there() -> None:
    names = {name for each in topics() for name in re.findall(r"shardd help (\w+)", topic(each) or "")}
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    names |= set(re.findall(r"shardd help ([a-z]+)", readme))
    assert names <= set(topics())


def test_every_setting_stands_in_its_topic_and_every_refusal_of_a_push_in_its() -> None:
    told = {name for row in rows_of("settings") for name in re.findall(r"`(-?[a-z-]+)`", row[0])}
    assert {name for name in told if not name.startswith("-")} == {
        name for name in map(_kebab, Settings.__struct_fields__) if not re.search(r"-per-|^_", name)
    }
    refused = {row[0].strip("`") for row in rows_of("refusals")}
    policy = (Path(shardd.__file__).parent / "core" / "policy.py").read_text()
    found = set(re.findall(r"""Rejected\(\s*"([a-z-]+)\"""", policy))
    assert found <= refused


def rows_of(name: str) -> list[list[str]]:
    """Of its tables, without heads."""
    lines = [line for line in (topic(name) or "").splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def test_help_lists_commands_and_topics_and_shows_them_as_the_caller_calls_us() -> None:
    grammar = server_grammar()
    with pytest.raises(HelpAsked) as asked:
        grammar.parse(["help"])
    text = asked.value.seen_from("ssh wiki")
    assert text.startswith("usage: ssh wiki ")
    listed = text.partition("topics of `ssh wiki help TOPIC`:\n")[2].splitlines()
    assert {line.split()[0]: line.split(maxsplit=1)[1] for line in listed} == topics()
    assert max(map(len, listed)) <= 100
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
