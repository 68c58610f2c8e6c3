"""`log`, `append` and `fold`: reading a space, and adding to it, by command instead of by git."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from shardd.commands.answer import Answer, say
from shardd.commands.context import Context
from shardd.commands.grammar import Words, integer
from shardd.core.canonical import Json, decode_data
from shardd.core.event import Event, format_time
from shardd.core.names import Address, space_ref
from shardd.core.roles import Role
from shardd.core.wire import printable
from shardd.storage import reading
from shardd.storage.appending import append_drafts
from shardd.storage.log import draft


@dataclass(frozen=True, slots=True)
class Log:
    address: Address
    after: int | None

    def run(self, context: Context) -> Answer:
        with context.space(self.address, Role.READ) as authority:
            repository = authority.place.repository
            oid = repository.read_ref(space_ref(self.address.space)) or ""
            found = list(reading.events(repository, self.address.space, oid, after=self.after))
        return show_log(iter(found))


@dataclass(frozen=True, slots=True)
class Append:
    address: Address
    type: str
    subject: str | None
    body: str
    id: str | None

    def run(self, context: Context) -> Answer:
        one = draft(
            self.type,
            decode_data(self.body),
            subject=self.subject,
            actor=context.me(),
            id=self.id,
            time=datetime.now(UTC),
        )
        with context.space(self.address, Role.APPEND) as authority:
            event = append_drafts(authority, self.address.space, [one], context.pusher())[0]
        line = f"{self.address} {event.seq} {event.oid}"
        return say(line, {"id": event.id, "seq": event.seq, "oid": event.oid})


def show_log(events: Iterator[Event]) -> Answer:
    """A line for each event, or its CloudEvents-like JSON."""
    # One iterator behind both: whoever prints takes either the lines or the values.
    return Answer((line(event) for event in events), (value(event) for event in events))


def line(event: Event) -> str:
    """One event on one line: number, time, actor, type, subject, data."""
    about = f": {event.subject}" if event.subject else ""
    data = json.dumps(event.data, ensure_ascii=False, separators=(",", ":")) if event.data else ""
    when = event.time.strftime("%Y-%m-%d %H:%M:%S")
    return printable(f"{event.seq:>6}  {when}  {event.actor:<12}  {event.type}{about}  {data}".rstrip())


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
        "data": cast("dict[str, Json]", event.data),
    }


def add(words: Words) -> None:
    log = words.command("log", Log, "show the events of a space")
    log.add_argument("address", metavar="REPO/SPACE", type=Address.parse)
    log.add_argument("--after", metavar="SEQ", type=integer, help="only those with a higher number")
    append = words.command("append", Append, "append one event; you must hold the lease")
    append.add_argument("address", metavar="REPO/SPACE", type=Address.parse)
    append.add_argument("type", metavar="TYPE", help="like page.bound")
    append.add_argument("subject", metavar="SUBJECT", nargs="?", help="what the event is about")
    append.add_argument("--body", metavar="JSON", default="{}", help="the data: one JSON object")
    append.add_argument("--id", metavar="ID", help="the event's id; a retry with the same one appends nothing")
