"""Shard: where pages come from. A small protocol, so that anything with keys and texts can be one; and the simplest.

An adapter reads and never writes. It answers with sources: a page's key, where it is, and how to read it, so that a
listing costs no texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Source:
    """One page in one shard.

    where: its place inside the shard, for people: a path, or `<commit>:<path>`
    read: its bytes, fetched when called; Unavailable if they cannot be had any more
    """

    key: str
    where: str
    read: Callable[[], bytes] = field(repr=False, compare=False)


class Shard(Protocol):
    """A source of pages. `kind` says in one word what it is: `dict`, `folder`, `git`, or your own."""

    @property
    def kind(self) -> str: ...

    def pages(self) -> Iterator[Source]:
        """Every page, each key once, in any order; reads no text."""
        ...

    def find(self, key: str) -> Source | None:
        """The page of that key, without listing the others; None if there is none, or the key cannot be one."""
        ...


@dataclass(frozen=True)
class DictShard:
    """Pages held in a mapping from key to text, or to bytes. Changes of the mapping show at once."""

    texts: Mapping[str, str | bytes]

    @property
    def kind(self) -> str:
        return "dict"

    def pages(self) -> Iterator[Source]:
        return (self._source(key, text) for key, text in list(self.texts.items()))

    def find(self, key: str) -> Source | None:
        text = self.texts.get(key)
        return None if text is None else self._source(key, text)

    def _source(self, key: str, text: str | bytes) -> Source:
        content = text.encode() if isinstance(text, str) else text
        return Source(key, key, lambda: content)
