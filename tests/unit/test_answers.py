"""What commands answer: typed items, read once, shown to people and to programs; and one that reads meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from shardd.authority.authorities import Authorities
from shardd.commands.all_commands import run_on
from shardd.commands.caller import Context
from shardd.commands.grammar import Grammar
from shardd.commands.result import Answer, Each, Facts, Table
from shardd.commands.run_command import speak
from shardd.core.canonical import Json
from shardd.core.roles import Access
from shardd.files.server_dir import ServerDir


@dataclass(frozen=True, slots=True)
class Fruit:
    name: str
    count: int


def value(fruit: Fruit) -> Json:
    return {"name": fruit.name, "count": fruit.count}


FRUIT = [Fruit("apple\x1b", 1), Fruit("fig", 12)]
EACH: Each[Fruit] = Each(lambda f: f"{f.count}\n  pieces", value, coloured=lambda f: f"\x1b[1m{f.count}\x1b[0m")
TABLE: Table[Fruit] = Table(["NAME", "N"], lambda f: [f.name, str(f.count)], value, empty="no fruit")
FACTS: Facts[Fruit] = Facts(lambda f: [("name", f.name), ("n", str(f.count))], value)


def test_each_item_is_shown_before_the_next_is_made() -> None:
    made: list[Fruit] = []

    def items() -> Iterator[Fruit]:
        for fruit in FRUIT:
            made.append(fruit)
            yield fruit

    plain, coloured, values = (Answer(items(), EACH) for _ in range(3))
    for shown, first in (
        (plain.lines(), "1"),
        (coloured.lines(colours=True), "\x1b[1m1\x1b[0m"),
        (values.values(), {"name": "apple\x1b", "count": 1}),
    ):
        made.clear()
        assert (next(shown), made) == (first, FRUIT[:1])
    assert list(EACH.lines(FRUIT, colours=False)) == ["1", "  pieces", "12", "  pieces"]


def test_a_table_is_one_value_and_facts_are_one_each() -> None:
    assert list(TABLE.lines(FRUIT, colours=False)) == ["NAME    N", "apple?  1", "fig     12"]
    assert list(TABLE.lines([], colours=False)) == ["no fruit"]
    assert list(TABLE.values(FRUIT)) == [[value(fruit) for fruit in FRUIT]]
    assert list(TABLE.values([])) == [[]]
    assert list(FACTS.lines(FRUIT[:1], colours=True)) == ["name  apple?", "n     1"]
    assert list(FACTS.values(FRUIT)) == [value(fruit) for fruit in FRUIT]


@dataclass
class Heard:
    """A Voice. sent: how many lines there were at each flush"""

    theirs: int
    lines: list[str] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)

    def out(self, line: str) -> None:
        self.lines.append(line)

    def err(self, line: str) -> None:
        raise AssertionError(line)

    def flush(self) -> None:
        self.sent.append(len(self.lines))
        if self.sent == [1]:
            os.write(self.theirs, b"two\nthree")
            self.end()

    def end(self) -> None:
        """Close the other side, once."""
        if self.theirs >= 0:
            os.close(self.theirs)
            self.theirs = -1

    def paged(self, *, long: bool) -> AbstractContextManager[bool]:
        return nullcontext(False)


@dataclass(frozen=True, slots=True)
class Parrot:
    def converse(self, context: Context, lines: IO[bytes]) -> Answer[bytes]:
        return Answer(iter(lines), Each(lambda line: line.decode().strip(), lambda line: line.decode()))


def test_a_duplex_command_answers_while_it_reads(tmp_path: Path) -> None:
    """The other side writes more only when its first line was answered, and the answer sent off."""
    ours, theirs = os.pipe()
    voice = Heard(theirs)
    grammar = Grammar("birds")
    grammar.words.command("parrot", Parrot, "say it again")
    authorities = Authorities.open(ServerDir.create(tmp_path / "srv"))
    context = Context(authorities, "alice", lambda: Access(frozenset()), lambda file: os.fdopen(ours, "rb"))
    os.write(theirs, b"one\n")
    with ThreadPoolExecutor(1) as pool:
        spoken = pool.submit(speak, grammar, ["parrot"], lambda command: run_on(context, command), voice)
        try:
            assert spoken.result(30) == 0
        finally:
            voice.end()
    assert voice.lines == ["one", "two", "three"]
    assert voice.sent[:3] == [1, 2, 3]
