"""How the words of a command become a Command, once for the command line and for ssh.

Each module of commands adds its own words; a command is a frozen dataclass, and its fields are its arguments.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import NoReturn

from shardd.errors import Misuse


class HelpAsked(Exception):
    """`--help`: carries the text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Parser(argparse.ArgumentParser):
    """Raises instead of printing and leaving: over ssh there is no process to leave."""

    help_word = "--help"

    def error(self, message: str) -> NoReturn:
        raise Misuse(message, f"see `{self.prog} {self.help_word}`")

    def print_help(self, file: object = None) -> None:
        raise HelpAsked(self.format_help())


class Words:
    """The words that may follow in one place."""

    def __init__(self, parser: Parser, before: str = "") -> None:
        self._before = before
        self._choices = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    def group(self, name: str, help: str) -> Words:
        """A word that others follow, like `lease`."""
        group = self._choices.add_parser(name, help=help, description=help, allow_abbrev=False)
        return Words(group, f"{self._before}{name} ")

    def command(self, name: str, make: Callable[..., object], help: str) -> Parser:
        """A word that makes a command. The caller adds an argument for each field of `make`."""
        parser = self._choices.add_parser(name, help=help, description=help, allow_abbrev=False)
        parser.add_argument("--json", action="store_true", help="answer in JSON, one value a line")
        parser.set_defaults(make=make, called=f"{self._before}{name}")
        return parser


@dataclass(frozen=True, slots=True)
class Parsed:
    """command: what the words make; json: whether the answer is for a program; name: `lease acquire`"""

    command: object
    json: bool
    name: str


def new_parser(prog: str, description: str) -> Parser:
    parser = Parser(prog=prog, description=description, allow_abbrev=False)
    parser.help_word = "help"  # `ssh HOST --help` would ask ssh itself
    return parser


def parse(parser: Parser, words: Sequence[str]) -> Parsed:
    """Misuse if the words are none of the grammar's; HelpAsked for `--help`."""
    _check_once(words)
    asked = [*words[1:], "--help"] if words[:1] == ["help"] else list(words)
    said = vars(parser.parse_args(asked))
    make = said["make"]
    return Parsed(make(**{each.name: said[each.name] for each in fields(make)}), said["json"], said["called"])


def _check_once(words: Sequence[str]) -> None:
    """Misuse for an option that is given twice: argparse would silently take the last."""
    seen: set[str] = set()
    for word in words:
        if word == "--":
            return
        name = word.partition("=")[0]
        if word.startswith("--") and name in seen:
            raise Misuse(f"{name[:40]} is given twice")
        seen.add(name)


def integer(text: str) -> int:
    """A whole number that is not negative."""
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise Misuse(f"{text!r} is not a whole number")
    return int(text)


def seconds(text: str) -> int:
    """Whole or decimal seconds, as milliseconds."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 10**9:
        raise Misuse(f"{text!r} is not a number of seconds")
    return round(value * 1000)
