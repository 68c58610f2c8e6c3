"""Which page keys are one page: a set of bindings, and the classes they form.

A binding is an edge between two keys. A page is a class: all keys that can reach each other over bindings. So binding
two keys merges their classes, and unbinding takes away that one edge: the two stay one page if other bindings still
join them, and fall apart into two classes if none does. A key bound to itself is a page of its own.

Binding the same two keys again replaces the earlier binding.

What it costs does not depend on how many pages there are. `bind` relabels the smaller of the two classes, so a key is
relabelled at most log2(size of its class) times while a class only grows. `unbind` searches from both ends at once,
one edge at a time, and stops as soon as the searches meet or the smaller part is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import msgspec
from immutables import Map

from shardd.core.stamp import Stamp


class Binding(msgspec.Struct, frozen=True):
    """`page` and `same_as` are one page (equal: it is a page of its own).

    shard: whose version is canonical for the page as long as no conflict about it is settled
    """

    page: str
    same_as: str
    shard: str | None
    by: Stamp


_Edges = Map[str, Map[str, Binding]]
_NONE: Map[str, Binding] = Map()


@dataclass(frozen=True, slots=True)
class Bindings:
    """An immutable set of bindings. Two are equal if they hold the same bindings, in whatever order they came."""

    edges: _Edges = field(default=Map())  # from either end to the other; what everything below is derived from
    _label: Map[str, int] = field(default=Map(), compare=False, repr=False)
    _classes: Map[int, Map[str, None]] = field(default=Map(), compare=False, repr=False)
    _next: int = field(default=0, compare=False, repr=False)

    @classmethod
    def of(cls, bindings: Iterable[Binding]) -> Bindings:
        found = cls()
        for binding in bindings:
            found = found.bind(binding)
        return found

    def __iter__(self) -> Iterator[Binding]:
        """Every binding once, in no particular order."""
        return (
            binding
            for here, near in self.edges.items()
            for there, binding in near.items()
            if here == binding.page and there == binding.same_as
        )

    def __contains__(self, key: str) -> bool:
        return key in self.edges

    def keys(self) -> Iterator[str]:
        """Every key that a binding names."""
        return iter(self.edges)

    def page(self, key: str) -> tuple[str, ...]:
        """All keys of the key's page, sorted; just the key where nothing binds it."""
        label = self._label.get(key)
        return (key,) if label is None else tuple(sorted(self._classes[label]))

    def pages(self) -> list[tuple[str, ...]]:
        """Every class, each sorted, in order of its first key."""
        return sorted(tuple(sorted(members)) for members in self._classes.values())

    def on(self, keys: Iterable[str]) -> Iterator[Binding]:
        """The bindings at these keys; one between two of them comes twice."""
        return (binding for key in keys for binding in self.edges.get(key, _NONE).values())

    def between(self, page: str, same_as: str) -> Binding | None:
        """The binding that joins the two keys, whichever it names first."""
        return self.edges.get(page, _NONE).get(same_as)

    def bind(self, binding: Binding) -> Bindings:
        """With this binding; the classes of its two keys become one."""
        a, b = binding.page, binding.same_as
        edges = self.edges.set(a, self.edges.get(a, _NONE).set(b, binding))
        edges = edges.set(b, edges.get(b, _NONE).set(a, binding))
        return replace(self, edges=edges)._labelled(a)._labelled(b)._merged(a, b)

    def unbind(self, page: str, same_as: str) -> Bindings | None:
        """Without the binding between the two keys; None if there is none."""
        if same_as not in self.edges.get(page, _NONE):
            return None
        edges = _cut(self.edges, page, same_as)
        if page != same_as:
            edges = _cut(edges, same_as, page)
        rest = replace(self, edges=edges)
        return rest._dropped(page, same_as) if page == same_as else rest._split(page, same_as)

    def unbind_all(self, page: str) -> Bindings | None:
        """Without any binding of the key; None if there is none."""
        near = self.edges.get(page)
        if near is None:
            return None
        found = self
        for other in sorted(near):
            found = found.unbind(page, other) or found
        return found

    def _labelled(self, key: str) -> Bindings:
        if key in self._label:
            return self
        return replace(
            self,
            _label=self._label.set(key, self._next),
            _classes=self._classes.set(self._next, Map({key: None})),
            _next=self._next + 1,
        )

    def _merged(self, a: str, b: str) -> Bindings:
        large, small = self._label[a], self._label[b]
        if large == small:
            return self
        if len(self._classes[large]) < len(self._classes[small]):
            large, small = small, large
        moved = dict.fromkeys(self._classes[small], large)
        return replace(
            self,
            _label=self._label.update(moved),
            _classes=self._classes.delete(small).set(large, self._classes[large].update(dict.fromkeys(moved))),
        )

    def _split(self, a: str, b: str) -> Bindings:
        """After the edge between a and b went: a class for each, unless they still reach each other."""
        apart = _apart(self.edges, a, b)
        if apart is None:
            return self
        label = self._label[a]
        rest = self._classes[label].mutate()
        for key in apart:
            del rest[key]
        found = replace(
            self,
            _label=self._label.update(dict.fromkeys(apart, self._next)),
            _classes=self._classes.set(label, rest.finish()).set(self._next, Map(dict.fromkeys(apart))),
            _next=self._next + 1,
        )
        return found._dropped(a, b)

    def _dropped(self, *keys: str) -> Bindings:
        """Without the classes of those keys that no binding names any more: each is a class of one by now."""
        label, classes = self._label, self._classes
        for key in keys:
            if key not in self.edges and key in label:
                classes = classes.delete(label[key])
                label = label.delete(key)
        return replace(self, _label=label, _classes=classes)


def _cut(edges: _Edges, here: str, there: str) -> _Edges:
    near = edges[here].delete(there)
    return edges.set(here, near) if near else edges.delete(here)


def _apart(edges: _Edges, a: str, b: str) -> set[str] | None:
    """The keys of whichever of the two is known first not to reach the other; None if they reach each other."""
    seen = ({a}, {b})
    searches = (_search(edges, a, seen[0]), _search(edges, b, seen[1]))
    while True:
        for side in (0, 1):
            try:
                key = next(searches[side])
            except StopIteration:
                return seen[side]
            if key in seen[1 - side]:
                return None


def _search(edges: _Edges, start: str, seen: set[str]) -> Iterator[str]:
    """Breadth first, one edge per step: yields the key at its other end."""
    queue = [start]
    for key in queue:
        for near in edges.get(key, _NONE):
            if near not in seen:
                seen.add(near)
                queue.append(near)
            yield near
