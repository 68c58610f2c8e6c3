"""overlay.applied: the drafted text lies on top of its page, above those applied before."""

from __future__ import annotations

from shardd.core.kinds.kind import Kind, Name, NoEffect, Ref, WithReason
from shardd.core.kinds.overlay_status import moved
from shardd.core.stamp import Stamp
from shardd.core.state import CoordinationState


class OverlayApplied(WithReason, frozen=True, kw_only=True):
    overlay: Name


def effect(state: CoordinationState, data: OverlayApplied, by: Stamp) -> CoordinationState | NoEffect:
    return moved(state, data.overlay, "applied", by)


def summary(data: OverlayApplied) -> str:
    return f"overlay {data.overlay} applied"


KIND = Kind(
    name="overlay.applied",
    data=OverlayApplied,
    effect=effect,
    about=lambda data: (Ref("overlay", data.overlay),),
    summary=summary,
)
