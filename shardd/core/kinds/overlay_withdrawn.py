"""overlay.withdrawn: the text no longer lies on its page, or never will."""

from __future__ import annotations

from shardd.core.kinds.kind import Kind, Name, NoEffect, Ref, WithReason
from shardd.core.kinds.overlay_status import moved
from shardd.core.stamp import Stamp
from shardd.core.state import CoordinationState


class OverlayWithdrawn(WithReason, frozen=True, kw_only=True):
    overlay: Name


def effect(state: CoordinationState, data: OverlayWithdrawn, by: Stamp) -> CoordinationState | NoEffect:
    return moved(state, data.overlay, "withdrawn", by)


def summary(data: OverlayWithdrawn) -> str:
    return f"overlay {data.overlay} withdrawn"


KIND = Kind(
    name="overlay.withdrawn",
    data=OverlayWithdrawn,
    effect=effect,
    about=lambda data: (Ref("overlay", data.overlay),),
    summary=summary,
)
