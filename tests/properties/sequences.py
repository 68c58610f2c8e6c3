"""Random event sequences: mostly sensible, over few names so that they meet, with garbage and strangers among them."""

from __future__ import annotations

from hypothesis import strategies as st

from shardd.core.canonical import Json
from tests.drafting import Said

KEYS = ("Home", "Start", "Übersicht", "notes/a", "notes/b", "𝒵-page")
SHARDS = ("garden", "desk", "library")

key = st.sampled_from(KEYS)
shard = st.sampled_from(SHARDS)
name = st.sampled_from(("1", "2", "3"))
text = st.text(st.characters(codec="utf-8"), max_size=20)

json: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e15, 1e15, allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)


def _data(**fields: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Json]]:
    return st.fixed_dictionaries(dict(fields))


_SENSIBLE: dict[str, st.SearchStrategy[dict[str, Json]]] = {
    "shard.attached": _data(shard=shard) | _data(shard=shard, kind=text, title=text, later=text),
    "shard.detached": _data(shard=shard),
    "page.bound": _data(page=key, same_as=key) | _data(page=key) | _data(page=key, same_as=key, shard=shard),
    "page.unbound": _data(page=key, same_as=key) | _data(page=key),
    "overlay.drafted": _data(overlay=name, page=key, text=text),
    "overlay.applied": _data(overlay=name),
    "overlay.withdrawn": _data(overlay=name, reason=text),
    "overlay.superseded": _data(overlay=name, by=name),
    "conflict.settled": _data(page=key, shard=shard) | _data(page=key, shard=shard, key=key),
    "conflict.reopened": _data(page=key),
    "remark.added": _data(remark=name, page=key, text=text),
    "remark.retracted": _data(remark=name),
}

_types = st.sampled_from([*_SENSIBLE])
_sensible: st.SearchStrategy[Said] = _types.flatmap(lambda type: st.tuples(st.just(type), _SENSIBLE[type]))
_garbage: st.SearchStrategy[Said] = st.tuples(
    _types,
    st.dictionaries(st.sampled_from(("page", "shard", "overlay", "remark", "text", "v")) | text, json, max_size=4),
)
_stranger: st.SearchStrategy[Said] = st.tuples(
    st.sampled_from(("acme.seen", "x", "page.moved")), st.dictionaries(text, json, max_size=3)
)

said: st.SearchStrategy[Said] = st.one_of(*[_sensible] * 8, _garbage, _stranger)
sequences: st.SearchStrategy[list[Said]] = st.lists(said, max_size=40)
