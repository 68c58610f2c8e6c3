"""How the words of a command become a Command, once for the command line and for ssh.

Each module of commands adds its own words; a command is a frozen dataclass, and its fields are its arguments.
"""

from __future__ import annotations

import argparse
import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any, NoReturn

from shardd.commands.manual import topic, topics
from shardd.core.dates import parse_when
from shardd.core.names import Address
from shardd.core.nearest import nearest
from shardd.errors import Misuse

PROGRAM = "shardd"
"""How usage and remedies call us; whoever shows them to somebody else puts in how he does."""


class HelpAsked(Exception):
    """`--help`, of what `parser` reads."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__(parser.prog)
        self.parser = parser

    def seen_from(self, reach: str) -> str:
        """The text, for whoever calls our commands by `reach`."""
        shown = copy.copy(self.parser)  # which is everybody's
        shown.prog = reach + self.parser.prog.removeprefix(PROGRAM)
        if " " not in self.parser.prog:
            shown.formatter_class = argparse.RawDescriptionHelpFormatter
            width = max(map(len, topics()), default=0)
            listed = "".join(f"\n  {name.ljust(width)}  {title}" for name, title in topics().items())
            shown.epilog = f"topics of `{reach} help TOPIC`:{listed}"
        return shown.format_help()


class TopicAsked(HelpAsked):
    """`help TOPIC`: what the manual says of it."""

    def __init__(self, parser: argparse.ArgumentParser, text: str) -> None:
        super().__init__(parser)
        self._text = text

    def seen_from(self, reach: str) -> str:
        return self._text


class Parser(argparse.ArgumentParser):
    """Raises instead of printing and leaving: over ssh there is no process to leave."""

    help_word = "--help"

    def __init__(self, **how: Any) -> None:
        self.takes: list[str] = []
        """Its arguments that are no options, by name."""
        self.fills = False
        """Whether a clone may fill in the space, where none is named."""
        self.prose: list[str] = []
        """Its options that take free text, of one word or several."""
        super().__init__(allow_abbrev=False, **how)

    def add_argument(self, *names: str, **how: Any) -> argparse.Action:
        if not names[0].startswith("-"):
            self.takes.append(names[0])
        return super().add_argument(*names, **how)

    def add_space(self, *, new: bool = False, every: bool = False) -> None:
        """The space that the command is about, its first argument.

        new: one that is not there yet; every: all of them if it is left out
        """
        how: dict[str, Any] = {"nargs": "?", "help": "default: every space"} if every else {}
        self.add_argument("address", metavar="REPO/SPACE", type=Address.parse, **how)
        self.fills = not new and not every

    def add_prose(self, name: str, help: str) -> None:
        """An option for free text. Over ssh a text that was quoted once comes as several words."""
        self.prose.append(name)
        self.add_argument(name, metavar="TEXT", default="", help=help)

    def error(self, message: str) -> NoReturn:
        raise Misuse(message, f"see `{self.prog} {self.help_word}`")

    def print_help(self, file: object = None) -> None:
        raise HelpAsked(self)


class RawParser(Parser):
    """Converts nothing, and an `address` may be left out: for whoever only passes the words on."""

    def add_argument(self, *names: str, **how: Any) -> argparse.Action:
        how.pop("type", None)
        if names == ("address",):
            how["nargs"] = "?"
        return super().add_argument(*names, **how)


class Words:
    """The words that may follow in one place."""

    def __init__(self, parser: Parser, before: str = "") -> None:
        self._before = before
        self.remedy = f"see `{parser.prog} {parser.help_word}`"
        self._choices = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=type(parser))
        self._below: dict[str, Words | Parser] = {}

    def group(self, name: str, help: str) -> Words:
        """A word that others follow, like `lease`."""
        words = Words(self._choices.add_parser(name, help=help, description=help), f"{self._before}{name} ")
        self._below[name] = words
        return words

    def command(self, name: str, make: Callable[..., object], help: str) -> Parser:
        """A word that makes a command. The caller adds an argument for each field of `make`."""
        parser: Parser = self._choices.add_parser(name, help=help, description=help)
        parser.add_argument("--json", action="store_true", help="answer in JSON, one value a line")
        parser.set_defaults(make=make, called=f"{self._before}{name}")
        self._below[name] = parser
        return parser

    def slip(self, words: Sequence[str]) -> Misuse | None:
        """What is wrong with the words where they begin like no command, and something nearly like them is one."""
        if not words or words[0].startswith("-"):
            return None
        below = self._below.get(words[0])
        if isinstance(below, Words):
            return below.slip(words[1:])
        meant = None if below is not None else nearest(words[0], self._below)
        if meant is None:
            return None
        return Misuse(
            f"there is no command {self._before}{words[0][:60]}; did you mean {self._before}{meant}?", self.remedy
        )

    @property
    def names(self) -> Iterable[str]:
        return self._below

    def find(self, words: Sequence[str]) -> tuple[Parser, Sequence[str]] | None:
        """The command that the words begin with, and the words after its name; None if they name none."""
        below = self._below.get(words[0]) if words else None
        if isinstance(below, Words):
            return below.find(words[1:])
        return None if below is None else (below, words[1:])


@dataclass(frozen=True, slots=True)
class Parsed:
    """command: what the words make; json: whether the answer is for a program; name: `lease acquire`"""

    command: object
    json: bool
    name: str


class Grammar:
    """What may be asked. Made once, and fit for any thread."""

    def __init__(self, about: str, parser: type[Parser] = Parser) -> None:
        self.parser = parser(prog=PROGRAM, description=about)
        self.parser.help_word = "help"  # `ssh HOST --help` would ask ssh itself
        self.words = Words(self.parser)
        self._lock = threading.Lock()

    def parse(self, words: Sequence[str]) -> Parsed:
        """Misuse if the words are none of the grammar's; HelpAsked for `--help`."""
        _check_once(words)
        asked = self._help(words[1:]) if words[:1] == ["help"] else list(words)
        first = asked[:1] == ["--json"]  # wherever it stands, so before the command as well
        asked = asked[1:] if first else asked
        if (slip := self.words.slip(asked)) is not None:
            raise slip
        below = self.words.find(asked)
        if below is not None:
            with self._lock:  # argparse changes the parser for as long as it takes
                found, stray = below[0].parse_known_intermixed_args(below[1])  # options stand wherever they like
        else:
            found, stray = self.parser.parse_known_args(asked)
        said = vars(found)
        if stray and not self._is_prose(words, stray, said):
            raise self._stray(words, stray)
        make = said["make"]
        return Parsed(
            make(**{each.name: said[each.name] for each in fields(make)}), first or said["json"], said["called"]
        )

    def _help(self, words: Sequence[str]) -> list[str]:
        """The words that ask for it; TopicAsked where it is about a topic."""
        words = [word for word in words if not word.startswith("-")]
        name = " ".join(words)
        if words and words[0] not in self.words.names:
            if (text := topic(name)) is not None:
                raise TopicAsked(self.parser, text)
            meant = nearest(name, [*self.words.names, *topics()])
            hint = f"; did you mean {meant}?" if meant else ""
            raise Misuse(f"there is no command or topic {name[:60]}{hint}", f"see `{PROGRAM} help`")
        return [*words, "--help"]

    def _is_prose(self, words: Sequence[str], stray: list[str], said: dict[str, Any]) -> bool:
        """Whether all that is left over goes on from the first word of a free text, whose end it is put to then."""
        below = self.words.find(words)
        for option in below[0].prose if below else ():
            at = words.index(option) + 2 if option in words else len(words)
            if list(words[at : at + len(stray)]) == stray and not any(word.startswith("-") for word in stray):
                said[option.lstrip("-")] = " ".join([words[at - 1], *stray])
                return True
        return False

    def _stray(self, words: Sequence[str], stray: Sequence[str]) -> Misuse:
        below = self.words.find(words)
        remedy = f"see `{below[0].prog} --help`" if below else f"see `{PROGRAM} help`"
        known = [name for action in below[0]._actions for name in action.option_strings] if below else []
        options = [(word, nearest(word.partition("=")[0], known)) for word in stray if word.startswith("--")]
        hint = next((f"; did you mean {meant} by {word[:40]}?" for word, meant in options if meant), "")
        if not any(word.startswith("-") for word in stray):
            # The shell on our side of ssh, or what stands for it, takes words apart once more.
            remedy += """; over ssh quote twice what holds spaces: "'two words'\""""
        return Misuse(f"unrecognized arguments: {' '.join(stray)}{hint}", remedy)


def asks_json(words: Sequence[str]) -> bool:
    """Whether a program listens: to be known where the words do not parse as well."""
    return "--json" in _options(words)


def _check_once(words: Sequence[str]) -> None:
    """Misuse for an option that is given twice: argparse would silently take the last."""
    seen: set[str] = set()
    for option in _options(words):
        name = option.partition("=")[0]
        if name in seen:
            raise Misuse(f"{name[:40]} is given twice")
        seen.add(name)


def _options(words: Sequence[str]) -> Iterator[str]:
    """The long ones, wherever they stand, each with the value that a `=` gives it."""
    before = takewhile(lambda word: word != "--", words)
    return (word for word in before if word.startswith("--"))


def integer(text: str) -> int:
    """A whole number that is not negative."""
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise Misuse(f"{text!r} is not a whole number", "write it like 7")
    return int(text)


def when(text: str) -> datetime:
    """A time as a person says it."""
    return parse_when(text, datetime.now(UTC))
