"""remark.retracted: a remark is taken back. It stays in the state, marked so."""

from __future__ import annotations

import msgspec

from shardd.core.kinds.kind import Kind, Name, NoEffect, Ref, WithReason
from shardd.core.stamp import Stamp
from shardd.core.state import CoordinationState


class RemarkRetracted(WithReason, frozen=True, kw_only=True):
    remark: Name


def effect(state: CoordinationState, data: RemarkRetracted, by: Stamp) -> CoordinationState | NoEffect:
    old = state.remarks.get(data.remark)
    if old is None or old.retracted is not None:
        return NoEffect(f"there is no remark {data.remark} to retract")
    row = msgspec.structs.replace(old, retracted=by)
    return msgspec.structs.replace(state, remarks=state.remarks.put(data.remark, row))


KIND = Kind(
    name="remark.retracted",
    data=RemarkRetracted,
    effect=effect,
    about=lambda data: (Ref("remark", data.remark),),
    summary=lambda data: f"remark {data.remark} retracted",
)
