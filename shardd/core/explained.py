"""Why a page is as it is: what the events that led there are about."""

from __future__ import annotations

from collections.abc import Iterable

from shardd.core.kinds.kind import Ref
from shardd.core.state import CoordinationState


def page_refs(state: CoordinationState, key: str, shards: Iterable[str] = ()) -> frozenset[Ref]:
    """Any of the page's keys, its overlays and remarks, undone ones too, and the shard that is marked canonical.

    shards: those that are known to hold a version
    """
    keys = state.page(key)
    mark = state.settlement(keys) or state.home(keys)
    return frozenset(
        [
            *(Ref("page", name) for name in keys),
            *(Ref("overlay", id) for id, _ in state.overlays.on(keys)),
            *(Ref("remark", id) for id, _ in state.remarks.on(keys)),
            *(Ref("shard", name) for name in shards),
            *([Ref("shard", mark.shard)] if mark is not None and mark.shard is not None else []),
        ]
    )
