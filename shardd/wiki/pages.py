"""What a reader sees of a page: every version of it with its provenance, what lies on top, and which is canonical."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

import msgspec

from shardd.core.canonical import Json
from shardd.core.stamp import Stamp
from shardd.core.state import AttachedShard, CoordinationState, Overlay, Remark
from shardd.errors import Corrupt
from shardd.wiki.shard import Shard, Source


@dataclass(frozen=True, slots=True)
class Version:
    """A page as one shard has it. attached: the shard, and the event that brought it in."""

    shard: str
    attached: AttachedShard
    source: Source

    @property
    def key(self) -> str:
        return self.source.key

    def content(self) -> bytes:
        """The bytes as the shard has them, read now and each time; Unavailable if it cannot."""
        return self.source.read()

    def text(self) -> str:
        """The content as text; Corrupt, naming the place, if it is not UTF-8."""
        try:
            return self.content().decode()
        except UnicodeDecodeError as error:
            raise Corrupt(
                f"{self.source.where} in the shard {self.shard} is not UTF-8 (byte {error.start})",
                "read it with `content()`, or mend the file",
            ) from None

    def to_json(self) -> dict[str, Json]:
        """{"shard", "key", "where", "attached", "text"}, or "base64" for "text" where the content is not UTF-8."""
        content = self.content()
        found: dict[str, Json] = {
            "shard": self.shard,
            "key": self.key,
            "where": self.source.where,
            "attached": _plain(self.attached.by),
        }
        try:
            found["text"] = content.decode()
        except UnicodeDecodeError:
            found["base64"] = base64.b64encode(content).decode("ascii")
        return found


Because: TypeAlias = Literal["settled", "bound"]


@dataclass(frozen=True, slots=True)
class Canonical:
    """Which version is canonical, and the event that says so: a settled conflict, or else a binding that names a shard.

    version: None where that shard is detached, not mounted here, or has no such page
    """

    shard: str
    version: Version | None
    because: Because
    by: Stamp


@dataclass(frozen=True, slots=True)
class PageView:
    """One page of the union. No version is ever left out for another; texts are read when asked for.

    key: the first of `keys`, which are all names of this page, sorted
    versions: sorted by shard and key
    overlays: those applied, the topmost last; drafts: those not applied yet
    remarks: those not retracted
    absent: attached shards that this program has not mounted, so that their versions, if any, are missing here
    """

    key: str
    keys: tuple[str, ...]
    versions: tuple[Version, ...]
    canonical: Canonical | None
    overlays: tuple[Overlay, ...]
    drafts: tuple[Overlay, ...]
    remarks: tuple[Remark, ...]
    absent: tuple[str, ...]

    def text(self) -> str | None:
        """What to show where only one text fits: the topmost overlay, else the canonical version, else the text that
        all versions share. None where the versions differ and nobody has decided, or there is none.
        """
        if self.overlays:
            return self.overlays[-1].text
        if self.canonical is not None and self.canonical.version is not None:
            return self.canonical.version.text()
        if self.versions and not self._differ():
            return self.versions[0].text()
        return None

    def in_conflict(self) -> bool:
        """Whether versions differ and none is marked canonical. Reads the texts."""
        return self.canonical is None and self._differ()

    def to_json(self) -> dict[str, Json]:
        """Everything, with the text of every version."""
        return {
            "key": self.key,
            "keys": list(self.keys),
            "versions": [version.to_json() for version in self.versions],
            "canonical": self._canonical_json(),
            "overlays": [_plain(overlay) for overlay in self.overlays],
            "drafts": [_plain(overlay) for overlay in self.drafts],
            "remarks": [_plain(remark) for remark in self.remarks],
            "absent": list(self.absent),
        }

    def _canonical_json(self) -> Json:
        mark = self.canonical
        if mark is None:
            return None
        key = None if mark.version is None else mark.version.key
        return {"shard": mark.shard, "key": key, "because": mark.because, "by": _plain(mark.by)}

    def _differ(self) -> bool:
        if len(self.versions) < 2:
            return False
        first = self.versions[0].content()
        return any(version.content() != first for version in self.versions[1:])


def view_page(state: CoordinationState, mounted: Mapping[str, Shard], key: str) -> PageView:
    """The page that `key` is a name of, as `state` has it; empty of versions where no mounted shard holds it."""
    keys = state.page(key)
    attached = [(name, mounted[name]) for name in sorted(state.shards) if name in mounted]
    sources = ((name, shard.find(k)) for name, shard in attached for k in keys)
    return _view(state, mounted, keys, [(name, source) for name, source in sources if source is not None])


def view_union(state: CoordinationState, mounted: Mapping[str, Shard]) -> Iterator[PageView]:
    """Every page that an attached shard holds or an event speaks of, once, sorted by its first key.

    Lists the shards when the first page is asked for; reads no text.
    """
    found: dict[str, list[tuple[str, Source]]] = {}
    for name in sorted(state.shards):
        if name in mounted:
            for source in mounted[name].pages():
                found.setdefault(source.key, []).append((name, source))
    spoken_of = (state.bindings.keys(), state.overlays.pages(), state.settled, state.remarks.pages())
    known = set(found).union(*spoken_of)
    pages: dict[str, tuple[str, ...]] = {}
    while known:
        keys = state.page(known.pop())
        known.difference_update(keys)
        pages[keys[0]] = keys
    for _, keys in sorted(pages.items()):
        yield _view(state, mounted, keys, [pair for key in keys for pair in found.get(key, ())])


def _view(
    state: CoordinationState, mounted: Mapping[str, Shard], keys: tuple[str, ...], found: Iterable[tuple[str, Source]]
) -> PageView:
    pairs = sorted(found, key=lambda pair: (pair[0], pair[1].key))
    versions = tuple(Version(name, state.shards[name], source) for name, source in pairs)
    overlays = [overlay for _, overlay in state.overlays.on(keys)]
    applied = [overlay for overlay in overlays if overlay.status == "applied"]
    return PageView(
        key=keys[0],
        keys=keys,
        versions=versions,
        canonical=_canonical(state, keys, versions),
        overlays=tuple(sorted(applied, key=lambda overlay: (overlay.changed or overlay.by).seq)),
        drafts=tuple(overlay for overlay in overlays if overlay.status == "drafted"),
        remarks=tuple(remark for _, remark in state.remarks.on(keys) if remark.retracted is None),
        absent=tuple(name for name in sorted(state.shards) if name not in mounted),
    )


def _canonical(state: CoordinationState, keys: tuple[str, ...], versions: tuple[Version, ...]) -> Canonical | None:
    settled = state.settlement(keys)
    if settled is not None:
        wanted = (settled.page,) if settled.key is None else (settled.key,)
        version = _pick(versions, settled.shard, wanted, exact=settled.key is not None)
        return Canonical(settled.shard, version, "settled", settled.by)
    home = state.home(keys)
    if home is not None and home.shard is not None:
        version = _pick(versions, home.shard, (home.page, home.same_as), exact=False)
        return Canonical(home.shard, version, "bound", home.by)
    return None


def _pick(versions: tuple[Version, ...], shard: str, wanted: tuple[str, ...], *, exact: bool) -> Version | None:
    """The shard's version under the first wanted key that it has; failing that its first, unless `exact`."""
    there = {version.key: version for version in versions if version.shard == shard}
    for key in wanted:
        if key in there:
            return there[key]
    return None if exact else next(iter(there.values()), None)


def _plain(value: msgspec.Struct) -> Json:
    return cast("Json", msgspec.to_builtins(value))
