"""conflict.settled: one shard's version of a page is canonical. The others stay; settled again, the newer counts."""

from __future__ import annotations

import msgspec

from shardd.core.kinds.kind import Kind, Name, NoEffect, PageKey, Ref, WithReason
from shardd.core.stamp import Stamp
from shardd.core.state import CoordinationState, Settlement


class ConflictSettled(WithReason, frozen=True, kw_only=True):
    """key: which of the page's keys in that shard, where it has several of them"""

    page: PageKey
    shard: Name
    key: PageKey | None = None


def effect(state: CoordinationState, data: ConflictSettled, by: Stamp) -> CoordinationState | NoEffect:
    row = Settlement(data.page, data.shard, data.key, data.reason, by)
    newest = state.settlement(state.page(data.page))  # an older one would come to the front again
    if newest is not None and msgspec.structs.replace(newest, reason=data.reason, by=by) == row:
        return NoEffect(f"{summary(data)} already")
    return msgspec.structs.replace(state, settled=state.settled.set(data.page, row))


def lacks(state: CoordinationState, data: ConflictSettled) -> str | None:
    return None if data.shard in state.shards else f"no shard {data.shard} is attached"


def summary(data: ConflictSettled) -> str:
    which = data.shard if data.key is None else f"{data.shard} ({data.key})"
    return f"{data.page}: {which} is canonical"


KIND = Kind(
    name="conflict.settled",
    data=ConflictSettled,
    effect=effect,
    about=lambda data: (Ref("page", data.page),),
    summary=summary,
    lacks=lacks,
    revision=2,
)
