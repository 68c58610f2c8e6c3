"""An authority in memory: the same rules, answers and journal as the embedded one, for as long as the object lives."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from shardd.authority.authority import Changed
from shardd.authority.facts import Options, Pusher, Standing, Terms, append_facts
from shardd.authority.lease_clock import Mark, SystemTime, TimeSource, read
from shardd.core.append import exists_already, no_such_space
from shardd.core.event import Head
from shardd.core.journal import Entry, decode_entry, encode_entry, entry_of
from shardd.core.lease import Transition, change, observe
from shardd.core.limits import Limits
from shardd.core.names import check_space
from shardd.core.objects import commit_oid
from shardd.core.policy import Accept, Decision, decide
from shardd.core.push_facts import Candidate
from shardd.core.refs import space_ref
from shardd.core.roles import FileAccess, Rights
from shardd.core.tenancy import Tenancy
from shardd.logs.memory_log import MemorySpace


@dataclass(slots=True)
class _Kept:
    log: MemorySpace
    tenancy: Tenancy
    journal: list[bytes] = field(default_factory=list)


class MemoryAuthority:
    """Safe to share between threads. See EmbeddedAuthority for the arguments."""

    def __init__(
        self,
        *,
        label: str = "memory",
        rights: Rights | None = None,
        limits: Limits | None = None,
        source: TimeSource | None = None,
    ) -> None:
        self._terms = Terms(label=label, rights=rights or FileAccess(), limits=limits or Limits())
        self._source = source or SystemTime()
        self._mark: Mark | None = None
        self._spaces: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def head(self, space: str) -> Head | None:
        with self._lock:
            kept = self._spaces.get(check_space(space))
            return None if kept is None else kept.log.head

    def history(self, space: str) -> Iterator[Entry]:
        """The journal, oldest first."""
        with self._lock:
            kept = self._spaces.get(check_space(space))
            entries = [] if kept is None else list(kept.journal)
        return map(decode_entry, entries)

    def create(self, space: str) -> Head:
        """Begin a space with its genesis; Rejected if it exists."""
        with self._lock:
            if check_space(space) in self._spaces:
                raise exists_already(self._label(space))
            kept = self._spaces[space] = _Kept(MemorySpace.begin(space), Tenancy(space))
            return kept.log.head

    def change(self, space: str, transition: Transition) -> Changed:
        with self._lock:
            kept = self._kept(space)
            now = self._now(kept)
            outcome = change(kept.tenancy, transition, now, label=self._label(space))
            head = kept.log.head
            if outcome.tenure is not None:
                parent = commit_oid(kept.journal[-1]) if kept.journal else None
                kept.journal.append(encode_entry(entry_of(outcome.tenure, head), parent=parent))
            kept.tenancy = outcome.after
            return Changed.of(outcome, head)

    def append(
        self, space: str, expected: Head, commits: Sequence[Candidate], *, principal: str, epoch: int | None
    ) -> Decision:
        with self._lock:
            kept = self._kept(space)
            now = self._now(kept)
            standing = Standing(space, kept.log.head, kept.tenancy, None, now)
            known = kept.log.find
            facts = append_facts(
                self._terms, Pusher(principal), standing, expected, commits, known=known, options=Options(epoch)
            )
            decision = decide(facts)
            if isinstance(decision, Accept):
                events = decision.events[space_ref(space)]
                kept.log.extend([(each.oid, each.raw) for each in commits], [event.id for event in events])
            return decision

    def _kept(self, space: str) -> _Kept:
        kept = self._spaces.get(check_space(space))
        if kept is None:
            raise no_such_space(self._label(space))
        return kept

    def _now(self, kept: _Kept) -> int:
        """The time, at which what has expired is stored as expired."""
        self._mark = read(self._source, self._mark)
        kept.tenancy = observe(kept.tenancy, self._mark.time)
        return self._mark.time

    def _label(self, space: str) -> str:
        return f"{self._terms.label}/{space}"
