"""remark.added: somebody says something about a page. A remark is never edited: retract it and add another."""

from __future__ import annotations

import msgspec

from shardd.core.kinds.kind import Kind, Name, NoEffect, PageKey, Ref
from shardd.core.stamp import Stamp
from shardd.core.state import CoordinationState, Remark


class RemarkAdded(msgspec.Struct, frozen=True, kw_only=True):
    remark: Name
    page: PageKey
    text: str


def effect(state: CoordinationState, data: RemarkAdded, by: Stamp) -> CoordinationState | NoEffect:
    if state.remarks.get(data.remark) is not None:
        return NoEffect(f"there is a remark {data.remark} already")
    row = Remark(data.remark, data.page, data.text, by)
    return msgspec.structs.replace(state, remarks=state.remarks.put(data.remark, row))


KIND = Kind(
    name="remark.added",
    data=RemarkAdded,
    effect=effect,
    about=lambda data: (Ref("page", data.page), Ref("remark", data.remark)),
    summary=lambda data: f"remark {data.remark} on {data.page}: {data.text}",
)
