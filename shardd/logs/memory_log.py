"""A log in memory: the same bytes, oids and answers as one in git, for tests and for embedding without a repo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shardd.authority.appending import append_drafts
from shardd.authority.authority import Authority
from shardd.authority.facts import Pusher
from shardd.authority.memory_ledger import MemoryLedger
from shardd.authority.whole_log import import_events
from shardd.core.append import Expected
from shardd.core.event import Draft, Event, Head
from shardd.core.import_chain import Imported
from shardd.core.jsonl import Numbered
from shardd.core.names import check_space
from shardd.core.roles import FileAccess
from shardd.logs.decision_log import Clock, DraftingLog, Ids, new_id, utc_now


class MemoryLog(DraftingLog):
    """A DecisionLog that lives as long as the object. Nobody needs a lease; safe to share between threads.

    Raises HeadMoved, BadEvent, Misuse and Rejected as decision_log.py says; never Unavailable.
    """

    def __init__(self, *, actor: str = "local", clock: Clock = utc_now, ids: Ids = new_id) -> None:
        super().__init__(clock, ids)
        self._actor = actor
        self._pusher = Pusher(actor, unleased=True)
        self._authority = Authority(MemoryLedger(), label="memory", rights=FileAccess)

    def __repr__(self) -> str:
        return "MemoryLog()"

    def _me(self) -> str:
        return self._actor

    def append_many(self, space: str, events: Iterable[Draft], *, expected: Expected = None) -> list[Event]:
        drafts = self._whole(events)
        return append_drafts(self._authority, check_space(space), drafts, self._pusher, expected=expected, create=True)

    def import_events(
        self, space: str, events: Iterable[Numbered], *, keep_gaps: bool = False, dry_run: bool = False
    ) -> Imported:
        """See `import_log`, which takes the events of any log."""
        return import_events(
            self._authority,
            check_space(space),
            events,
            self._pusher,
            keep_gaps=keep_gaps,
            create=True,
            dry_run=dry_run,
        )

    def events(
        self,
        space: str,
        after: int | None = None,
        *,
        until: int | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Event]:
        return self._authority.events(space, after, until=until, limit=limit, reverse=reverse)

    def head(self, space: str) -> Head | None:
        return self._authority.head(space)
