"""shard.attached: a shard takes part. Attached again, the newer description counts."""

from __future__ import annotations

import msgspec

from shardd.core.kinds.kind import Kind, Line, Name, NoEffect, Ref
from shardd.core.stamp import Stamp
from shardd.core.state import AttachedShard, CoordinationState


class ShardAttached(msgspec.Struct, frozen=True, kw_only=True):
    """kind: `dict`, `folder`, `git`, …; location: where others find it. Both are told to people, never opened."""

    shard: Name
    kind: Name | None = None
    location: Line | None = None
    title: Line | None = None


def effect(state: CoordinationState, data: ShardAttached, by: Stamp) -> CoordinationState | NoEffect:
    row = AttachedShard(data.shard, data.kind, data.location, data.title, by)
    old = state.shards.get(data.shard)
    if old is not None and msgspec.structs.replace(old, by=by) == row:
        return NoEffect(f"the shard {data.shard} is attached already, and described like that")
    return msgspec.structs.replace(state, shards=state.shards.set(data.shard, row))


def summary(data: ShardAttached) -> str:
    where = ", ".join(part for part in (data.title, data.kind, data.location) if part)
    return f"shard {data.shard} attached" + (f" ({where})" if where else "")


KIND = Kind(
    name="shard.attached",
    data=ShardAttached,
    effect=effect,
    about=lambda data: (Ref("shard", data.shard),),
    summary=summary,
    revision=2,
)
