"""page.unbound: takes back the binding of two keys, or without `same_as` every binding of one.

The keys stay one page if other bindings still join them.
"""

from __future__ import annotations

import msgspec

from shardd.core.kinds.kind import Kind, NoEffect, PageKey, Ref, WithReason
from shardd.core.stamp import Stamp
from shardd.core.state import CoordinationState


class PageUnbound(WithReason, frozen=True, kw_only=True):
    page: PageKey
    same_as: PageKey | None = None


def effect(state: CoordinationState, data: PageUnbound, by: Stamp) -> CoordinationState | NoEffect:
    if data.same_as is None:
        rest = state.bindings.unbind_all(data.page)
    else:
        rest = state.bindings.unbind(data.page, data.same_as)
    if rest is None:
        return NoEffect(f"no binding joins {data.page}" + (f" and {data.same_as}" if data.same_as else " to anything"))
    return msgspec.structs.replace(state, bindings=rest)


def summary(data: PageUnbound) -> str:
    return f"{data.page} and {data.same_as} unbound" if data.same_as else f"{data.page} unbound from everything"


def about(data: PageUnbound) -> tuple[Ref, ...]:
    return tuple(Ref("page", key) for key in (data.page, data.same_as) if key is not None)


KIND = Kind(name="page.unbound", data=PageUnbound, effect=effect, about=about, summary=summary)
