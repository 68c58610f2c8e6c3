"""What the four overlay types share: from which status an overlay may go to which.

drafted ──> applied ──> withdrawn
   │           └──────> superseded
   └──> withdrawn, superseded
"""

from __future__ import annotations

import msgspec

from shardd.core.kinds.kind import NoEffect
from shardd.core.stamp import Stamp
from shardd.core.state import CoordinationState, OverlayStatus

FROM: dict[OverlayStatus, tuple[OverlayStatus, ...]] = {
    "applied": ("drafted",),
    "withdrawn": ("drafted", "applied"),
    "superseded": ("drafted", "applied"),
}


def moved(
    state: CoordinationState, id: str, to: OverlayStatus, by: Stamp, *, superseded_by: str | None = None
) -> CoordinationState | NoEffect:
    old = state.overlays.get(id)
    if old is None:
        return NoEffect(f"there is no overlay {id}")
    if old.status not in FROM[to]:
        return NoEffect(f"the overlay {id} is {old.status}, so it cannot be {to}")
    row = msgspec.structs.replace(old, status=to, changed=by, superseded_by=superseded_by)
    return msgspec.structs.replace(state, overlays=state.overlays.put(id, row))
