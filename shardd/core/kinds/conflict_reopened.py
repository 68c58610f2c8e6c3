"""conflict.reopened: nothing about the page is settled any more, under any of its keys."""

from __future__ import annotations

import msgspec

from shardd.core.kinds.kind import Kind, NoEffect, PageKey, Ref, WithReason
from shardd.core.stamp import Stamp
from shardd.core.state import CoordinationState


class ConflictReopened(WithReason, frozen=True, kw_only=True):
    page: PageKey


def effect(state: CoordinationState, data: ConflictReopened, by: Stamp) -> CoordinationState | NoEffect:
    settled = state.settled
    for key in state.page(data.page):
        if key in settled:
            settled = settled.delete(key)
    if settled is state.settled:
        return NoEffect(f"nothing about {data.page} is settled")
    return msgspec.structs.replace(state, settled=settled)


KIND = Kind(
    name="conflict.reopened",
    data=ConflictReopened,
    effect=effect,
    about=lambda data: (Ref("page", data.page),),
    summary=lambda data: f"{data.page}: conflict reopened",
)
