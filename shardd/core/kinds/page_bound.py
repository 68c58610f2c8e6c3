"""page.bound: two keys are one page, and so is whatever was already one page with either."""

from __future__ import annotations

import msgspec

from shardd.core.bindings import Binding
from shardd.core.kinds.kind import Kind, Name, NoEffect, PageKey, Ref
from shardd.core.stamp import Stamp
from shardd.core.state import CoordinationState


class PageBound(msgspec.Struct, frozen=True, kw_only=True):
    """same_as: the other key; without it, `page` is a page of its own.

    shard: whose version is canonical as long as no conflict about the page is settled
    """

    page: PageKey
    same_as: PageKey | None = None
    shard: Name | None = None


def effect(state: CoordinationState, data: PageBound, by: Stamp) -> CoordinationState | NoEffect:
    binding = Binding(data.page, data.same_as or data.page, data.shard, by)
    if _says_so(state, binding):
        return NoEffect(f"{summary(data)} already")
    return msgspec.structs.replace(state, bindings=state.bindings.bind(binding))


def _says_so(state: CoordinationState, binding: Binding) -> bool:
    """Whether the binding is there. One that names a shard moves it to the front, unless it is the newest such."""
    old = state.bindings.between(binding.page, binding.same_as)
    if old is None or old.shard != binding.shard:
        return False
    if binding.shard is None:
        return True
    same = msgspec.structs.replace(old, by=binding.by) == binding
    return same and state.home(state.page(binding.page)) == old


def lacks(state: CoordinationState, data: PageBound) -> str | None:
    return None if data.shard is None or data.shard in state.shards else f"no shard {data.shard} is attached"


def summary(data: PageBound) -> str:
    same = f"{data.page} is a page" if data.same_as is None else f"{data.page} and {data.same_as} are one page"
    return same + (f", canonical in {data.shard}" if data.shard else "")


def about(data: PageBound) -> tuple[Ref, ...]:
    return tuple(Ref("page", key) for key in (data.page, data.same_as) if key is not None)


KIND = Kind(name="page.bound", data=PageBound, effect=effect, about=about, summary=summary, lacks=lacks, revision=2)
