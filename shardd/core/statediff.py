"""What changed between two states of one space, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar, cast

import msgspec

from shardd.core.canonical import Json
from shardd.core.event import Head
from shardd.core.kinds.kind import one_line
from shardd.core.state import CoordinationState
from shardd.core.statetext import Row, headline, row_text

Part: TypeAlias = Literal["shards", "bindings", "overlays", "settled", "remarks", "counts", "set_aside", "extra"]

_K = TypeVar("_K", str, int)


@dataclass(frozen=True, slots=True)
class Change:
    """One row of one part that is not the same. before, after: the row, None where there is none."""

    part: Part
    key: str
    before: Json
    after: Json
    text: str

    def to_json(self) -> dict[str, Json]:
        return {"part": self.part, "key": self.key, "before": self.before, "after": self.after}


@dataclass(frozen=True, slots=True)
class StateDiff:
    """All that differs. before, after: the two heads, None for the state before the first event."""

    before: Head | None
    after: Head | None
    changes: tuple[Change, ...]

    def to_json(self) -> dict[str, Json]:
        """{"before": {"seq", "oid"} or null, "after": the same, "changes": [{"part", "key", "before", "after"}]}"""
        return {
            "before": cast("Json", msgspec.to_builtins(self.before)),
            "after": cast("Json", msgspec.to_builtins(self.after)),
            "changes": [change.to_json() for change in self.changes],
        }

    def lines(self) -> Iterator[str]:
        """One line per change, after a first one that names the two points: `+` new, `-` gone, `~` changed."""
        yield f"{headline(self.before)} → {headline(self.after)}"
        for change in self.changes:
            sign = "+" if change.before is None else "-" if change.after is None else "~"
            yield f"{sign} {change.text}"


def diff_states(before: CoordinationState, after: CoordinationState) -> StateDiff:
    """What leads from one state to the other; either may be the later one."""
    changes: list[Change] = []
    changes += _rows("shards", before.shards, after.shards)
    changes += _rows("bindings", _bindings(before), _bindings(after))
    changes += _rows("overlays", before.overlays.rows, after.overlays.rows)
    changes += _rows("settled", before.settled, after.settled)
    changes += _rows("remarks", before.remarks.rows, after.remarks.rows)
    changes += _rows("set_aside", before.set_aside, after.set_aside)
    changes += _rows("counts", before.counts, after.counts)
    changes += _extra(before, after)
    return StateDiff(before.head, after.head, tuple(changes))


def _rows(part: Part, before: Mapping[_K, Row], after: Mapping[_K, Row]) -> Iterator[Change]:
    for key in _changed(before, after):
        old, new = before.get(key), after.get(key)
        yield Change(
            part,
            str(key),
            cast("Json", msgspec.to_builtins(old)),
            cast("Json", msgspec.to_builtins(new)),
            one_line(_text(old, new), 160),
        )


def _text(old: Row | None, new: Row | None) -> str:
    if old is None or new is None:
        return row_text(cast("Row", new or old))
    was, now = row_text(old), row_text(new)
    return now if was == now else f"{now}  (was: {was})"


def _extra(before: CoordinationState, after: CoordinationState) -> Iterator[Change]:
    for key in _changed(before.extra, after.extra):
        yield Change("extra", key, before.extra.get(key), after.extra.get(key), one_line(f"extra {key}"))


def _changed(before: Mapping[_K, object], after: Mapping[_K, object]) -> list[_K]:
    keys: set[_K] = set(before)
    keys.update(after)
    return sorted(key for key in keys if before.get(key) != after.get(key))


def _bindings(state: CoordinationState) -> dict[str, Row]:
    return {
        f"{min(b.page, b.same_as)} = {max(b.page, b.same_as)}" if b.page != b.same_as else b.page: b
        for b in state.bindings
    }
