"""`log`, `append` and `fold`: reading a space, and adding to it, by command instead of by git."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from shardd.commands.caller import Context
from shardd.commands.grammar import Words, integer
from shardd.commands.result import Answer, Each
from shardd.core.canonical import Json
from shardd.core.event import Event, format_time
from shardd.core.hook_protocol import printable
from shardd.core.kinds.default import DEFAULT_KINDS
from shardd.core.kinds.registry import Known
from shardd.core.names import Address
from shardd.core.roles import Role


@dataclass(frozen=True, slots=True)
class Log:
    address: Address
    after: int | None

    def run(self, context: Context) -> Answer[Event]:
        return show_log(self._events(context))

    def _events(self, context: Context) -> Iterator[Event]:
        with context.authority(self.address, Role.READ) as authority:
            yield from authority.events(self.address.space, self.after)


def show_log(events: Iterator[Event]) -> Answer[Event]:
    """A line for each event, or its CloudEvents-like JSON."""
    return Answer(events, EVENTS, long=True)


_PLAIN = ("", "", "", "", "")
_COLOURS = ("\033[33m", "\033[2m", "\033[36m", "\033[1m", "\033[0m")


def line(event: Event, colours: tuple[str, str, str, str, str] = _PLAIN) -> str:
    """One event on one line: number, time, actor, type, and what it says. colours: of the first four, and their end."""
    number, when, who, what, end = colours
    about = f": {event.subject}" if event.subject else ""
    if isinstance(DEFAULT_KINDS.read(event), Known):
        data = DEFAULT_KINDS.summary(event)
    else:
        data = json.dumps(event.data, ensure_ascii=False, separators=(",", ":")) if event.data else ""
    parts = (
        f"{number}{event.seq:>6}{end}",
        f"{when}{event.time:%Y-%m-%d %H:%M:%S}{end}",
        f"{who}{printable(event.actor):<12}{end}",
        f"{what}{printable(event.type + about)}{end}",
        printable(data),
    )
    return "  ".join(part for part in parts if part)


def value(event: Event) -> Json:
    """One event as programs read it."""
    return {
        "seq": event.seq,
        "oid": event.oid,
        "id": event.id,
        "type": event.type,
        "subject": event.subject,
        "actor": event.actor,
        "time": format_time(event.time),
        "epoch": event.epoch,
        "source_epoch": event.source_epoch,
        "data": cast("dict[str, Json]", event.data),
    }


EVENTS: Each[Event] = Each(line, value, lambda event: line(event, _COLOURS))


def add(words: Words) -> None:
    log = words.command("log", Log, "show the events of a space")
    log.add_space()
    log.add_argument("--after", metavar="SEQ", type=integer, help="only those with a higher number")
