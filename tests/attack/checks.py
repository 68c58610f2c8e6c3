"""What must hold of one space after every round: read from the log and the journal, against what was acknowledged."""

from __future__ import annotations

from dataclasses import dataclass, field

from shardd.core.codec import decode_event
from shardd.core.event import Event, Head
from shardd.core.journal import Entry, decode_entry
from shardd.core.refs import lease_ref
from shardd.storage.facts import Standing
from shardd.storage.repository import Repository, first_parent


@dataclass(slots=True)
class Record:
    """All that is known of a space: its log and journal as last seen, and what somebody was told since."""

    space: str
    genesis: Head
    log: list[Event] = field(default_factory=list)
    journal: list[Entry] = field(default_factory=list)
    told_events: dict[str, str] = field(default_factory=dict)
    told_epochs: list[tuple[int, Head, str | None]] = field(default_factory=list)
    _newest: str | None = None

    @property
    def head(self) -> Head:
        return Head(self.log[-1].seq, self.log[-1].oid) if self.log else self.genesis

    def event(self, oid: str, who: str) -> None:
        """Somebody's append was acknowledged."""
        self.told_events[oid] = who

    def epoch(self, epoch: int, head: Head, holder: str | None) -> None:
        """A lease call answered `epoch`, `head`, `holder`: a tenure that it began."""
        self.told_epochs.append((epoch, head, holder))

    def update(self, repository: Repository, standing: Standing) -> None:
        """Read what is new, under the lock of the space, and fail where a promise is broken."""
        assert standing.head is not None
        before = self.head
        self._read_journal(repository, before)
        for event in self._read_log(repository, standing.head):
            assert event.id not in {each.id for each in self.log[-500:]}, f"{event} stands twice"
            self.log.append(event)
            self._belongs(event)
        at = {each.seq: each.oid for each in self.log} | {self.genesis.seq: self.genesis.oid}
        for entry in self.journal:
            assert at.get(entry.resumed_at.seq) == entry.resumed_at.oid, f"{entry} resumed on a commit off the log"
        assert standing.tenancy.epoch == (self.journal[-1].tenure.epoch if self.journal else 0)
        self._acknowledged()

    def _read_log(self, repository: Repository, head: Head) -> list[Event]:
        found: list[Event] = []
        parent, seq = self.head.oid, self.head.seq
        if parent == head.oid:
            return found
        for oid, raw in repository.history(head.oid, after=parent):
            assert first_parent(raw) == parent, f"{self.space} was rewound or forked: {oid} is not on {parent}"
            event = decode_event(raw, oid=oid, parent_seq=seq)
            assert event.seq == seq + 1
            found.append(event)
            parent, seq = oid, event.seq
        assert parent == head.oid, f"{self.space} was rewound: {head} does not contain {self.head}"
        return found

    def _read_journal(self, repository: Repository, before: Head) -> None:
        newest = repository.read_ref(lease_ref(self.space))
        if newest == self._newest:
            return
        assert newest is not None, "the journal is gone"
        parent = self._newest
        for oid, raw in repository.history(newest, after=parent):
            assert first_parent(raw) == parent, "the journal was rewound"
            entry = decode_entry(raw)
            last = self.journal[-1] if self.journal else None
            assert entry.tenure.epoch == (last.tenure.epoch + 1 if last else 1), f"{entry} after {last}"
            assert last is None or entry.resumed_at.seq >= last.resumed_at.seq
            assert entry.resumed_at.seq >= before.seq, f"{entry} begins before {before}, which was read before it began"
            self.journal.append(entry)
            parent = oid
        assert parent == newest
        self._newest = newest

    def _belongs(self, event: Event) -> None:
        """No event of an epoch after a later epoch began: its position says the epoch, its bytes say whose it is."""
        entry = next((each for each in reversed(self.journal) if each.resumed_at.seq < event.seq), None)
        assert entry is not None, f"{event} was appended before anybody held the lease"
        assert event.actor == entry.tenure.holder, f"{event} stands under {entry}"
        assert event.epoch in (None, entry.tenure.epoch), f"{event} stands under {entry}"

    def _acknowledged(self) -> None:
        here = {event.oid: event.actor for event in self.log}
        for oid, who in self.told_events.items():
            assert here.get(oid) == who, f"{who} was told that {oid} is in {self.space}, and it is not"
        self.told_events.clear()
        entries = {entry.tenure.epoch: entry for entry in self.journal}
        for epoch, head, holder in self.told_epochs:
            entry = entries.get(epoch)
            assert entry is not None, f"epoch {epoch} was answered and is not in the journal"
            assert entry.tenure.holder == holder, f"epoch {epoch} was answered to {holder}: {entry}"
            assert entry.resumed_at == head, f"epoch {epoch} was answered with the head {head}: {entry}"
        self.told_epochs.clear()
