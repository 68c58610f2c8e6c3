"""overlay.superseded: another overlay, which must exist, takes the place of this one."""

from __future__ import annotations

from shardd.core.kinds.kind import Kind, Name, NoEffect, Ref, WithReason
from shardd.core.kinds.overlay_status import moved
from shardd.core.stamp import Stamp
from shardd.core.state import CoordinationState


class OverlaySuperseded(WithReason, frozen=True, kw_only=True):
    overlay: Name
    by: Name


def effect(state: CoordinationState, data: OverlaySuperseded, by: Stamp) -> CoordinationState | NoEffect:
    if data.by == data.overlay or state.overlays.get(data.by) is None:
        return NoEffect(f"there is no other overlay {data.by}")
    return moved(state, data.overlay, "superseded", by, superseded_by=data.by)


KIND = Kind(
    name="overlay.superseded",
    data=OverlaySuperseded,
    effect=effect,
    about=lambda data: (Ref("overlay", data.overlay), Ref("overlay", data.by)),
    summary=lambda data: f"overlay {data.overlay} superseded by {data.by}",
)
