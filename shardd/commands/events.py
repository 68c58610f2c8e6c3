"""`log`, `show` and `explain`: reading the events of a space."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import cast

from shardd.commands.caller import Context
from shardd.commands.grammar import Parser, Words, integer, when
from shardd.commands.result import Answer, Each, Shown
from shardd.core.canonical import Json
from shardd.core.event import Event, format_time
from shardd.core.explained import page_refs
from shardd.core.fold import coordination
from shardd.core.hook_protocol import printable
from shardd.core.kinds.default import DEFAULT_KINDS
from shardd.core.kinds.registry import Known
from shardd.core.names import Address
from shardd.core.roles import Role
from shardd.core.selection import Selection
from shardd.errors import Misuse
from shardd.logs.as_of import find_event
from shardd.logs.decision_log import ReadableLog
from shardd.logs.log_transfer import existing
from shardd.logs.snapshots import SnapshotStore, catch_up

_MOST_HELD = 1000
"""Events that are kept in memory, to be turned round."""


@dataclass(frozen=True, slots=True)
class Source:
    """A space to read. snapshots: see catch_up"""

    log: ReadableLog
    space: str
    snapshots: SnapshotStore

    def picked(self, picks: Picks, *, newest: bool) -> Iterator[Event]:
        """The events that are asked for, oldest first, or newest first."""
        existing(self.log, self.space)
        about = None
        if picks.about is not None:
            state = catch_up(self.log, self.space, coordination(), snapshots=self.snapshots).state
            about = page_refs(state, picks.about)
        selection = Selection(picks.after, picks.actor, picks.type, picks.since, picks.until, about, picks.count)
        if not newest and picks.count is None:
            return selection.of(self.log.events(self.space, picks.after))
        found = selection.of(self.log.events(self.space, picks.after, reverse=True))
        return found if newest else self._turned(found, selection)

    def _turned(self, newest_first: Iterator[Event], selection: Selection) -> Iterator[Event]:
        """The same, oldest first. Many are read once more, and not held: there may be any number."""
        held = list(islice(newest_first, _MOST_HELD))
        count, oldest = len(held), held[-1].seq if held else 0
        if count < _MOST_HELD:
            return reversed(held)
        held.clear()
        for event in newest_first:
            count, oldest = count + 1, event.seq
        return replace(selection, limit=count).of(self.log.events(self.space, oldest - 1))

    def find(self, text: str) -> Event:
        existing(self.log, self.space)
        if (event := find_event(self.log, self.space, text)) is None:
            raise Misuse(f"there is no event {text[:130]} in {self.space}", "`shardd log` lists the events")
        return event


Opened = Callable[[], Iterator[Source]]
"""Gives one source, which is open for as long as nobody asks for another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picks:
    """Which events, and how: see Selection. reverse: the other way round; oneline: less of each"""

    after: int | None = None
    count: int | None = None
    reverse: bool = False
    actor: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    about: str | None = None
    oneline: bool = False

    def answer(self, opened: Opened, *, terminal: bool) -> Answer[Event]:
        """terminal: people read there, who look for the newest first; programs and pipes are given the oldest first"""
        shown = _InOrder(_ONELINE if self.oneline else EVENTS, terminal != self.reverse, self.reverse)
        return Answer(_Picked(self, opened), shown, long=True)


class _Picked(Iterable[Event]):
    def __init__(self, picks: Picks, opened: Opened) -> None:
        self._picks = picks
        self._opened = opened

    def __iter__(self) -> Iterator[Event]:
        return self.ordered(newest=False)

    def ordered(self, *, newest: bool) -> Iterator[Event]:
        for source in self._opened():
            yield from source.picked(self._picks, newest=newest)


@dataclass(frozen=True, slots=True)
class _InOrder(Shown[Event]):
    """each: how one is shown; newest: first, in lines for people; values: the same of values for programs"""

    each: Each[Event]
    newest: bool
    values_newest: bool

    def lines(self, items: Iterable[Event], *, colours: bool) -> Iterator[str]:
        return self.each.lines(_ordered(items, newest=self.newest), colours=colours)

    def values(self, items: Iterable[Event]) -> Iterator[Json]:
        return self.each.values(_ordered(items, newest=self.values_newest))


def _ordered(items: Iterable[Event], *, newest: bool) -> Iterable[Event]:
    return items.ordered(newest=newest) if isinstance(items, _Picked) else items


@dataclass(frozen=True, slots=True, kw_only=True)
class Log(Picks):
    address: Address

    def run(self, context: Context) -> Answer[Event]:
        return self.answer(lambda: opened(context, self.address), terminal=context.terminal)


@dataclass(frozen=True, slots=True)
class Show:
    """event: its seq, its id, its oid, or how that begins"""

    address: Address
    event: str

    def run(self, context: Context) -> Answer[Event]:
        return Answer([source.find(self.event) for source in opened(context, self.address)], WHOLE)


@dataclass(frozen=True, slots=True)
class Explain:
    address: Address
    page: str

    def run(self, context: Context) -> Answer[Event]:
        return explained(lambda: opened(context, self.address), self.page)


def explained(opened: Opened, page: str) -> Answer[Event]:
    """What led to the page as it is, in order."""
    return Picks(about=page).answer(opened, terminal=False)


def opened(context: Context, address: Address) -> Iterator[Source]:
    with context.authority(address, Role.READ) as authority:
        yield Source(authority, address.space, snapshots_of(context, address.repo))


def snapshots_of(context: Context, repo: str) -> SnapshotStore:
    return SnapshotStore(context.server.cache(repo) / "snapshots")


_PLAIN = ("", "", "", "", "")
_COLOURS = ("\033[33m", "\033[2m", "\033[36m", "\033[1m", "\033[0m")


def line(event: Event, colours: tuple[str, str, str, str, str] = _PLAIN) -> str:
    """One event on one line: number, time, actor, type, and what it says. colours: of the first four, and their end."""
    number, when, who, what, end = colours
    if isinstance(DEFAULT_KINDS.read(event), Known):
        data = DEFAULT_KINDS.summary(event)
    else:
        data = json.dumps(event.data, ensure_ascii=False, separators=(",", ":")) if event.data else ""
    parts = (
        f"{number}{event.seq:>6}{end}",
        f"{when}{event.time:%Y-%m-%d %H:%M:%S}Z{end}",
        f"{who}{printable(event.actor):<12}{end}",
        f"{what}{_about(event)}{end}",
        printable(data),
    )
    return "  ".join(part for part in parts if part)


def _oneline(event: Event, colours: tuple[str, str, str, str, str] = _PLAIN) -> str:
    number, *_, end = colours
    return f"{number}{event.seq} {event.oid[:12]}{end} {_about(event)}"


def _about(event: Event) -> str:
    return printable(event.type + (f": {event.subject}" if event.subject else ""))


def _whole(event: Event) -> str:
    """All of an event, as `git show` does."""
    facts = {
        "seq": str(event.seq),
        "oid": event.oid,
        "id": event.id,
        "actor": event.actor,
        "time": format_time(event.time),
        "epoch": str(event.epoch) if event.epoch is not None else None,
        "source epoch": str(event.source_epoch) if event.source_epoch is not None else None,
    }
    found = [_about(event), *(f"  {name:<13} {printable(text)}" for name, text in facts.items() if text is not None)]
    reading = DEFAULT_KINDS.read(event)
    said = DEFAULT_KINDS.summary(event) if isinstance(reading, Known) else f"set aside: {reading.told}"
    found.append(f"  {'says':<13} {printable(said)}")
    if event.data:
        text = json.dumps(event.data, ensure_ascii=False, indent=2)
        found += ["", *(f"    {printable(row)}" for row in text.split("\n"))]
    return "\n".join(found)


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
WHOLE: Each[Event] = Each(_whole, value)
_ONELINE: Each[Event] = Each(_oneline, value, lambda event: _oneline(event, _COLOURS))


def add_picks(log: Parser) -> None:
    log.add_argument("--after", metavar="SEQ", type=integer, help="only those with a higher number")
    log.add_argument("-n", "--count", metavar="N", type=integer, help="at most so many, the newest")
    log.add_argument("--reverse", action="store_true", help="the other way round")
    log.add_argument("--actor", metavar="NAME", help="by whom; a pattern, like 'ali*'")
    log.add_argument("--type", metavar="TYPE", help="of which type; a pattern, like 'overlay.*'")
    log.add_argument("--since", metavar="TIME", type=when, help="like 2026-06-15, yesterday, '2 days ago'")
    log.add_argument("--until", metavar="TIME", type=when)
    log.add_argument("--about", metavar="PAGE", help="about a page, by any of its names")
    log.add_argument("--oneline", action="store_true", help="number, oid and subject alone")


def add(words: Words) -> None:
    log = words.command("log", Log, "show the events of a space")
    log.add_space()
    add_picks(log)
    show = words.command("show", Show, "show all of one event")
    show.add_space()
    show.add_argument("event", metavar="SEQ|ID|OID")
    explain = words.command("explain", Explain, "show what led to a page as it is")
    explain.add_space()
    explain.add_argument("page", metavar="PAGE")
