"""A state, and each of its rows, in lines for people. Nothing here reaches a terminal with a control character."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from shardd.core.bindings import Binding
from shardd.core.event import Head
from shardd.core.kinds.kind import one_line
from shardd.core.plural import many
from shardd.core.stamp import Stamp
from shardd.core.state import AttachedShard, CoordinationState, Overlay, Remark, SetAside, Settlement, Tally

Row: TypeAlias = AttachedShard | Binding | Overlay | Settlement | Remark | Tally | SetAside


def headline(head: Head | None) -> str:
    return "before the first event" if head is None else f"seq {head.seq} {head.oid[:12]}"


def state_lines(state: CoordinationState) -> Iterator[str]:
    """The whole state: a title per part that is not empty, then its rows, two spaces in."""
    yield f"{headline(state.head)}, {many(state.events, 'event')}"
    parts: tuple[tuple[str, list[Row]], ...] = (
        ("shards", [state.shards[name] for name in sorted(state.shards)]),
        ("settled", [state.settled[page] for page in sorted(state.settled)]),
        ("overlays", [*state.overlays.in_order()]),
        ("remarks", [*state.remarks.in_order()]),
        ("event types", [state.counts[name] for name in sorted(state.counts)]),
        ("set aside", [state.set_aside[seq] for seq in sorted(state.set_aside)]),
    )
    for title, rows in parts:
        if rows:
            yield f"{title}:"
            for row in rows:
                yield "  " + one_line(row_text(row), 160)
        if title == "shards" and (pages := state.bindings.pages()):
            yield "pages under several keys, or named by a binding:"
            for keys in pages:
                yield "  " + one_line(" = ".join(keys), 160)
    for key in sorted(state.extra):
        yield one_line(f"extra {key}")


def row_text(row: Row) -> str:
    """One row in plain words; not yet shortened, nor stripped of control characters."""
    match row:
        case AttachedShard():
            more = ", ".join(part for part in (row.title, row.kind, row.location) if part)
            return f"shard {row.shard}" + (f" ({more})" if more else "") + _by(row.by)
        case Binding():
            same = f"{row.page} is a page" if row.page == row.same_as else f"{row.page} and {row.same_as} are one page"
            return same + (f", canonical in {row.shard}" if row.shard else "") + _by(row.by)
        case Overlay():
            status = f"superseded by {row.superseded_by}" if row.superseded_by else row.status
            return f"overlay {row.overlay} on {row.page}: {status}" + _by(row.changed or row.by)
        case Settlement():
            which = row.shard if row.key is None else f"{row.shard} ({row.key})"
            return f"{row.page}: {which} is canonical" + _by(row.by)
        case Remark():
            said = row.text if row.retracted is None else "retracted"
            return f"remark {row.remark} on {row.page}: {said}" + _by(row.retracted or row.by)
        case Tally():
            aside = ((row.unknown, "unknown"), (row.malformed, "malformed"), (row.no_effect, "without effect"))
            which = ", ".join(f"{count} {why}" for count, why in aside if count)
            return f"{row.type}: {many(row.events, 'event')}" + (f" ({which})" if which else "")
        case SetAside():
            return f"seq {row.seq} {row.type}: {row.reason}" + (f" ({row.field})" if row.field else "")


def _by(stamp: Stamp) -> str:
    return f" [seq {stamp.seq}, {stamp.actor}]"
