"""The event types that shardd brings, put together: the one place that lists them."""

from __future__ import annotations

from shardd.core.kinds import (
    conflict_reopened,
    conflict_settled,
    overlay_applied,
    overlay_drafted,
    overlay_superseded,
    overlay_withdrawn,
    page_bound,
    page_unbound,
    remark_added,
    remark_retracted,
    shard_attached,
    shard_detached,
)
from shardd.core.kinds.registry import Registry

DEFAULT_KINDS = Registry.of(
    [
        shard_attached.KIND,
        shard_detached.KIND,
        page_bound.KIND,
        page_unbound.KIND,
        overlay_drafted.KIND,
        overlay_applied.KIND,
        overlay_withdrawn.KIND,
        overlay_superseded.KIND,
        conflict_settled.KIND,
        conflict_reopened.KIND,
        remark_added.KIND,
        remark_retracted.KIND,
    ]
)
