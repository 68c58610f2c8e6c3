"""InformationSpace: a wiki's coordination state on any log, in one object.

The verbs append one event each and return it. `state` is what the log came to when it was last read: after an append
of one's own, or `refresh()`, which is how the writes of others come into view. Pages themselves stay where they are:
`mount` tells which shard of the log is which source of pages here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypedDict, TypeVar, Unpack, cast

import msgspec

from shardd.core.append import Expected
from shardd.core.canonical import Json
from shardd.core.event import Event, Head
from shardd.core.explained import page_refs
from shardd.core.fold import Reducer, coordination
from shardd.core.kinds.conflict_reopened import ConflictReopened
from shardd.core.kinds.conflict_settled import ConflictSettled
from shardd.core.kinds.default import DEFAULT_KINDS
from shardd.core.kinds.overlay_applied import OverlayApplied
from shardd.core.kinds.overlay_drafted import OverlayDrafted
from shardd.core.kinds.overlay_superseded import OverlaySuperseded
from shardd.core.kinds.overlay_withdrawn import OverlayWithdrawn
from shardd.core.kinds.page_bound import PageBound
from shardd.core.kinds.page_unbound import PageUnbound
from shardd.core.kinds.registry import Registry
from shardd.core.kinds.remark_added import RemarkAdded
from shardd.core.kinds.remark_retracted import RemarkRetracted
from shardd.core.kinds.shard_attached import ShardAttached
from shardd.core.kinds.shard_detached import ShardDetached
from shardd.core.names import check_space
from shardd.core.stamp import Stamp
from shardd.core.state import CoordinationState
from shardd.core.statediff import StateDiff, diff_states
from shardd.errors import Rejected
from shardd.logs.as_of import Point, state_at
from shardd.logs.decision_log import DecisionLog, Ids, new_id, utc_now
from shardd.logs.memory_log import MemoryLog
from shardd.logs.snapshots import Folded, SnapshotStore, catch_up
from shardd.wiki.pages import PageView, view_page, view_union
from shardd.wiki.shard import Shard

S = TypeVar("S")


class How(TypedDict, total=False):
    """What every verb takes besides: the same words as DecisionLog.append.

    id: makes a retry safe, because the log answers it with the original event
    expected: append only if the log still stands there, else HeadMoved; `space.seen` is where `state` is from
    """

    actor: str
    id: str
    time: datetime
    expected: Expected


class InformationSpace:
    """One space. Not to be shared between threads; any number of objects and processes may share its log.

    Verbs and reads raise what the log's do (logs/decision_log.py: NotHolder, HeadMoved, BadEvent, Unavailable …). A
    verb raises Rejected `no-effect` as well, where nothing would change: there is nothing for it to act on, it names a
    shard that is not attached, or all of it is so already. `state`, `page` and `union`
    read the log when that is due.

    Each verb also takes the words of `DecisionLog.append`: actor; id, which makes a retry safe; time; and expected, so
    that it counts only where the log still stands there (`expected=space.seen`).

    store: the log, by default one in memory; actor: who decides, where a verb does not say; kinds: the event types
    snapshots: where folded states are kept on disk, None for nowhere
    """

    def __init__(
        self,
        space_id: str,
        *,
        store: DecisionLog | None = None,
        actor: str | None = None,
        kinds: Registry = DEFAULT_KINDS,
        snapshots: SnapshotStore | None = None,
        ids: Ids = new_id,
    ) -> None:
        self._id = check_space(space_id)
        self._log: DecisionLog = MemoryLog() if store is None else store
        self._actor = actor
        self._kinds = kinds
        self._snapshots = snapshots
        self._ids = ids
        self._mounted: dict[str, Shard] = {}
        self._coordination = coordination(kinds)
        self._folded: dict[tuple[str, str], Folded[Any]] = {}  # each reducer has its own type of state
        self._stale = True
        self._seen: Head | Literal["absent"] = "absent"

    def __repr__(self) -> str:
        return f"InformationSpace({self._id!r}, store={self._log!r})"

    @classmethod
    def git_backed(
        cls,
        space_id: str,
        repo_path: str | os.PathLike[str],
        *,
        principal: str | None = None,
        actor: str | None = None,
        kinds: Registry = DEFAULT_KINDS,
    ) -> InformationSpace:
        """The space in a git repository, as GitLog(repo_path, principal=principal) reaches it, with its snapshots."""
        from shardd.logs.git_log import GitLog

        path = Path(repo_path)
        return cls(
            space_id,
            store=GitLog(path, principal=principal),
            actor=actor,
            kinds=kinds,
            snapshots=SnapshotStore.of(path),
        )

    @classmethod
    def remote(
        cls, space_id: str, url: str, *, actor: str | None = None, kinds: Registry = DEFAULT_KINDS
    ) -> InformationSpace:
        """The space on a server, as RemoteLog(url) reaches it: `ssh://host:2222/garden.git`."""
        from shardd.client.remote_log import RemoteLog

        return cls(space_id, store=RemoteLog(url), actor=actor, kinds=kinds)

    @property
    def id(self) -> str:
        return self._id

    @property
    def log(self) -> DecisionLog:
        return self._log

    @property
    def kinds(self) -> Registry:
        return self._kinds

    # --- reading the log ---

    @property
    def state(self) -> CoordinationState:
        """The state as last read. Reads the log the first time, and after an append of one's own."""
        if self._stale:
            return self.refresh()
        return cast("CoordinationState", self._folded[self._key(self._coordination)].state)

    @property
    def seen(self) -> Head | Literal["absent"]:
        """Where the log stood when `state` was read, for `expected=`; "absent" if the space did not exist."""
        if self._stale:
            self.refresh()
        return self._seen

    def refresh(self) -> CoordinationState:
        """The state as the log stands now, whoever wrote to it; reads only what is new."""
        head = self._log.head(self._id)
        state = self.reduce(self._coordination)
        self._seen = state.head or head or "absent"
        self._stale = False
        return state

    def reduce(self, reducer: Reducer[S]) -> S:
        """The state of a fold of your own as the log stands now; incremental, with snapshots."""
        key = self._key(reducer)
        folded: Folded[S] = catch_up(
            self._log, self._id, reducer, known=self._folded.get(key), snapshots=self._snapshots
        )
        self._folded[key] = folded
        return folded.state

    def at(self, point: Point) -> CoordinationState:
        """The state as of a seq, an oid or a time, that event included; Misuse if the log does not reach it."""
        return state_at(self._log, self._id, point, self._coordination, snapshots=self._snapshots).state

    def diff(self, before: Point, after: Point) -> StateDiff:
        """What changed between two points."""
        return diff_states(self.at(before), self.at(after))

    def explain(self, key: str) -> list[Event]:
        """The events that led to the page as it is, in order: about any of its keys, its overlays and remarks, undone
        ones too, and about the shards that hold a version or are marked canonical. Reads the whole log.
        """
        head = self.state.head
        if head is None:
            return []
        view = self.page(key)
        refs = page_refs(self.state, key, (version.shard for version in view.versions))
        wanted = takewhile(lambda event: event.seq <= head.seq, self._log.events(self._id))
        return [event for event in wanted if not refs.isdisjoint(self._kinds.about(event))]

    # --- pages ---

    def mount(self, name: str, shard: Shard) -> None:
        """Where the pages of the shard `name` are to be had here. Says nothing to anybody else."""
        self._mounted[name] = shard

    @property
    def mounted(self) -> Mapping[str, Shard]:
        return MappingProxyType(self._mounted)

    def union(self) -> Iterator[PageView]:
        """Every page once, by key: every version of it from every attached and mounted shard, none left out.

        Lazy: keys are listed when the first page is asked for, texts are read when they are asked for.
        """
        return view_union(self.state, dict(self._mounted))

    def page(self, key: str) -> PageView:
        """The page that `key` is a name of; without versions where nobody has it."""
        return view_page(self.state, self._mounted, key)

    # --- verbs: each appends one event and returns it ---

    def attach(
        self,
        name: str,
        shard: Shard | None = None,
        *,
        location: str | None = None,
        title: str | None = None,
        **how: Unpack[How],
    ) -> Event:
        """The shard takes part; `shard` is mounted here as well. location, title: what others are told about it.

        Rejected `no-effect` if it takes part already, described like that; it is mounted then too.
        """
        kind = None if shard is None else shard.kind
        try:
            event = self.record(ShardAttached(shard=name, kind=kind, location=location, title=title), **how)
        except Rejected as error:
            if error.code == "no-effect" and shard is not None:
                self.mount(name, shard)
            raise
        if shard is not None:
            self.mount(name, shard)
        return event

    def detach(self, name: str, *, reason: str | None = None, **how: Unpack[How]) -> Event:
        """The shard no longer takes part."""
        return self.record(ShardDetached(shard=name, reason=reason), **how)

    def bind(self, page: str, same_as: str | None = None, *, shard: str | None = None, **how: Unpack[How]) -> Event:
        """Two keys are one page. shard: whose version is canonical until a conflict is settled."""
        return self.record(PageBound(page=page, same_as=same_as, shard=shard), **how)

    def unbind(self, page: str, same_as: str | None = None, *, reason: str | None = None, **how: Unpack[How]) -> Event:
        """Take back one binding, or all of a key."""
        return self.record(PageUnbound(page=page, same_as=same_as, reason=reason), **how)

    def draft(
        self, page: str, text: str, *, overlay: str | None = None, title: str | None = None, **how: Unpack[How]
    ) -> Event:
        """A text that may lie on the page. overlay: its id, by default the event's own (`event.data["overlay"]`)."""
        event_id = how.get("id") or self._ids()
        data = OverlayDrafted(overlay=overlay or event_id, page=page, text=text, title=title)
        return self._record(data, event_id, how)

    def apply(self, overlay: str, *, reason: str | None = None, **how: Unpack[How]) -> Event:
        """The overlay lies on its page, on top."""
        return self.record(OverlayApplied(overlay=overlay, reason=reason), **how)

    def withdraw(self, overlay: str, *, reason: str | None = None, **how: Unpack[How]) -> Event:
        """The overlay is taken away."""
        return self.record(OverlayWithdrawn(overlay=overlay, reason=reason), **how)

    def supersede(self, overlay: str, by: str, *, reason: str | None = None, **how: Unpack[How]) -> Event:
        """Another overlay takes its place."""
        return self.record(OverlaySuperseded(overlay=overlay, by=by, reason=reason), **how)

    def settle(
        self, page: str, shard: str, *, key: str | None = None, reason: str | None = None, **how: Unpack[How]
    ) -> Event:
        """The shard's version is canonical. key: which one, where the shard has the page under several."""
        return self.record(ConflictSettled(page=page, shard=shard, key=key, reason=reason), **how)

    def reopen(self, page: str, *, reason: str | None = None, **how: Unpack[How]) -> Event:
        """Nothing about the page is settled any more."""
        return self.record(ConflictReopened(page=page, reason=reason), **how)

    def remark(self, page: str, text: str, *, remark: str | None = None, **how: Unpack[How]) -> Event:
        """Say something about the page. remark: its id, by default the event's own (`event.data["remark"]`)."""
        event_id = how.get("id") or self._ids()
        return self._record(RemarkAdded(remark=remark or event_id, page=page, text=text), event_id, how)

    def retract(self, remark: str, *, reason: str | None = None, **how: Unpack[How]) -> Event:
        """Take a remark back."""
        return self.record(RemarkRetracted(remark=remark, reason=reason), **how)

    def record(self, data: msgspec.Struct, **how: Unpack[How]) -> Event:
        """Append the event that these data belong to: how an event type of your own is written.

        Misuse if they do not fit its type. Rejected `no-effect` if the state as it stands would not change, unless an
        `id` is given: then it may be a retry, which the log answers.
        """
        return self._record(data, how.get("id") or self._ids(), how)

    def _record(self, data: msgspec.Struct, event_id: str, how: How) -> Event:
        kind = self._kinds.kind_of(data)
        plain: dict[str, Json] = kind.write(data)
        if "id" not in how:
            why = kind.refused(self.refresh(), data, Stamp(0, event_id, "", utc_now()))
            if why is not None:
                raise Rejected("no-effect", why, "look at the state again")
        self._stale = True
        return self._log.append(
            self._id,
            kind.name,
            plain,
            subject=kind.subject(data),
            actor=how.get("actor", self._actor),
            id=event_id,
            time=how.get("time"),
            expected=how.get("expected"),
        )

    @staticmethod
    def _key(reducer: Reducer[Any]) -> tuple[str, str]:
        return reducer.name, str(reducer.version)
