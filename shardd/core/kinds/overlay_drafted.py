"""overlay.drafted: a text that may lie on top of a page. Drafted again before it is applied, the newer text counts."""

from __future__ import annotations

import msgspec

from shardd.core.kinds.kind import Kind, Line, Name, NoEffect, PageKey, Ref
from shardd.core.stamp import Stamp
from shardd.core.state import CoordinationState, Overlay


class OverlayDrafted(msgspec.Struct, frozen=True, kw_only=True):
    overlay: Name
    page: PageKey
    text: str
    title: Line | None = None


def effect(state: CoordinationState, data: OverlayDrafted, by: Stamp) -> CoordinationState | NoEffect:
    old = state.overlays.get(data.overlay)
    if old is not None and old.status != "drafted":
        return NoEffect(f"the overlay {data.overlay} is {old.status} already; a new text needs a new id")
    if old is not None and old.page != data.page:
        return NoEffect(f"the overlay {data.overlay} is for the page {old.page}")
    row = Overlay(data.overlay, data.page, data.text, data.title, "drafted", by)
    if old is not None and msgspec.structs.replace(old, by=by) == row:
        return NoEffect(f"the overlay {data.overlay} has this text already")
    return msgspec.structs.replace(state, overlays=state.overlays.put(data.overlay, row))


KIND = Kind(
    name="overlay.drafted",
    data=OverlayDrafted,
    effect=effect,
    about=lambda data: (Ref("page", data.page), Ref("overlay", data.overlay)),
    summary=lambda data: f"overlay {data.overlay} drafted for {data.page}: {data.title or data.text}",
    revision=2,
)
