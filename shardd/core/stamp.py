"""Stamp: which event said so. Everything in a folded state carries one."""

from __future__ import annotations

from datetime import datetime

import msgspec

from shardd.core.event import Event


class Stamp(msgspec.Struct, frozen=True):
    """Where in the log to look: the event's seq and id, and who decided when.

    The id and not the oid: a log that moves to another backend keeps its ids, while an oid may change with the epoch.
    """

    seq: int
    id: str
    actor: str
    time: datetime


def stamp(event: Event) -> Stamp:
    return Stamp(event.seq, event.id, event.actor, event.time)
