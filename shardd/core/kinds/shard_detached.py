"""shard.detached: a shard no longer takes part. What was decided about its pages stays, and counts if it comes back."""

from __future__ import annotations

import msgspec

from shardd.core.kinds.kind import Kind, Name, NoEffect, Ref, WithReason
from shardd.core.stamp import Stamp
from shardd.core.state import CoordinationState


class ShardDetached(WithReason, frozen=True, kw_only=True):
    shard: Name


def effect(state: CoordinationState, data: ShardDetached, by: Stamp) -> CoordinationState | NoEffect:
    if data.shard not in state.shards:
        return NoEffect(f"the shard {data.shard} is not attached")
    return msgspec.structs.replace(state, shards=state.shards.delete(data.shard))


def summary(data: ShardDetached) -> str:
    return f"shard {data.shard} detached"


KIND = Kind(
    name="shard.detached",
    data=ShardDetached,
    effect=effect,
    about=lambda data: (Ref("shard", data.shard),),
    summary=summary,
)
