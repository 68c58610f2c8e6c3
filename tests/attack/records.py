"""One space as it was seen at the last look, and what must hold when it is looked at again, with nobody at work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from shardd.core.event import Event
from shardd.logs.git_log import GitLog
from tests.attack.model import Sight
from tests.attack.stage import SHED, Stage, space_of


@dataclass(frozen=True, slots=True)
class Seen:
    """What is remembered of an event."""

    seq: int
    oid: str
    id: str
    actor: str
    epoch: int | None


@dataclass(slots=True)
class Record:
    """log: the events by number, ids: the numbers by Event-Id; journal: the tenures, oldest first

    taken_in: events up to here came by an import, and stand under no lease
    """

    label: str
    log: dict[int, Seen] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    journal: list[dict[str, Any]] = field(default_factory=list)
    genesis: tuple[int, str] | None = None
    last: int = 0
    taken_in: int = 0

    @property
    def leased(self) -> bool:
        """Whether a lease says who may append: not where file access is the right."""
        return not self.label.startswith(f"{SHED}/")

    def update(self, stage: Stage) -> Iterator[str]:
        """Read what is new; whatever is wrong."""
        if self.leased:
            yield from self._read_journal(stage)
        yield from self._read_log(stage)
        if self.journal:
            yield from self._agrees(stage)

    def standing_at(self, seq: int) -> dict[str, Any] | None:
        """The tenure under which the event of that number was appended."""
        return next((each for each in reversed(self.journal) if each["resumed_at"]["seq"] < seq), None)

    def oid_at(self, seq: int) -> str | None:
        if self.genesis is not None and seq == self.genesis[0]:
            return self.genesis[1]
        return self.log[seq].oid if seq in self.log else None

    def sees(self, sight: Sight) -> Iterator[str]:
        """What is wrong with what an answer told of this space."""
        what = f"{self.label}: {sight.call['do']} {sight.call['call']} by {sight.call['way']} said {sight.head}"
        if sight.head is None:
            if sight.after:
                yield f"{what}, and seq {sight.after} had been acknowledged before"
            return
        seq, oid = sight.head
        if self.oid_at(seq) != oid:
            yield f"{what}, which is not in the log: there it is {self.oid_at(seq)}"
        if seq < sight.after:
            yield f"{what}, and seq {sight.after} had been acknowledged or seen before it was asked"
        if sight.epoch is not None:
            yield from self._epoch(sight, what)

    def _epoch(self, sight: Sight, what: str) -> Iterator[str]:
        assert sight.head is not None
        what = f"{what}, epoch {sight.epoch} of {sight.holder}"
        verb, words = sight.call.get("verb"), sight.call.get("words", [])
        if sight.epoch == 0:
            return
        entry = next((each for each in self.journal if each["epoch"] == sight.epoch), None)
        if entry is None:
            yield f"{what}, and the journal does not have it"
            return
        if (sight.epoch or 0) < sight.epoch_after:
            yield f"{what}, and epoch {sight.epoch_after} had been told before it was asked"
        begun = entry["resumed_at"]["seq"], entry["resumed_at"]["oid"]
        if verb in ("grant", "transfer", "acquire") and (begun != sight.head or entry["holder"] != sight.holder):
            yield f"{what}, and the journal: {entry}"
        if verb in ("grant", "transfer") and entry["holder"] != words[0]:
            yield f"{what}, and {words[0]} was to hold it"
        if verb == "revoke" and entry["holder"] is None and begun != sight.head:
            yield f"{what}, and the journal: {entry}"
        if verb == "release":
            following = next((e for e in self.journal if e["epoch"] > (sight.epoch or 0)), None)
            until = following["resumed_at"]["seq"] if following else self.last
            if until != sight.head[0]:
                yield f"{what} was released, and its log went on to {until} under it"

    def _read_log(self, stage: Stage) -> Iterator[str]:
        log = GitLog(stage.repo(self.label))
        space = space_of(self.label)
        head = log.head(space)
        if head is None:
            if self.log or self.genesis:
                yield f"{self.label} is gone"
            return
        if self.genesis is None and not self.log and head.seq == 0:
            self.genesis = (head.seq, head.oid)
        found = list(log.events(space, after=self.last - 1 if self.last else None))
        if self.last:
            if not found or found[0].seq != self.last or found[0].oid != self.log[self.last].oid:
                yield f"{self.label} was rewound or forked: it had {self.log[self.last]}, and now {head}, {found[:1]}"
                return
            found = found[1:]
        for event in found:
            yield from self._take(event)
        if (self.last, self.oid_at(self.last)) != (head.seq, head.oid):
            yield f"{self.label}: the head is {head}, and its events end with {self.last}"

    def _take(self, event: Event) -> Iterator[str]:
        if event.seq != self.last + 1:
            yield f"{self.label}: {event.seq} comes after {self.last}"
        if event.id in self.ids:
            yield f"{self.label}: {event.id} stands twice, at {self.ids[event.id]} and at {event.seq}"
        self.last = event.seq
        self.log[event.seq] = Seen(event.seq, event.oid, event.id, event.actor, event.epoch)
        self.ids[event.id] = event.seq
        if not self.leased or event.seq <= self.taken_in:
            return
        tenure = self.standing_at(event.seq)
        if tenure is None:
            yield f"{self.label}: {event} was appended before anybody held the lease"
        elif event.actor != tenure["holder"] or event.epoch not in (None, tenure["epoch"]):
            yield f"{self.label}: {event} stands under {tenure}"

    def _read_journal(self, stage: Stage) -> Iterator[str]:
        if GitLog(stage.repo(self.label)).head(space_of(self.label)) is None:
            return
        (found,) = stage.host_json("lease", "history", self.label)
        assert isinstance(found, list)
        journal: list[dict[str, Any]] = [each for each in found if isinstance(each, dict)]
        if journal[: len(self.journal)] != self.journal:
            yield f"{self.label}: the journal was rewritten: {self.journal[-3:]}, and now {journal[-3:]}"
        previous = self.journal[-1] if self.journal else None
        for entry in journal[len(self.journal) :]:
            if entry["epoch"] != (previous["epoch"] + 1 if previous else 1):
                yield f"{self.label}: {entry} follows {previous}"
            if previous and entry["resumed_at"]["seq"] < previous["resumed_at"]["seq"]:
                yield f"{self.label}: {entry} begins before {previous}"
            if entry["resumed_at"]["seq"] < self.last:
                yield f"{self.label}: {entry} begins before {self.last}, which was there before"
            previous = entry
        self.journal = journal

    def _standing(self, stage: Stage) -> dict[str, Any]:
        (standing,) = stage.host_json("lease", "show", self.label)
        assert isinstance(standing, dict)
        return standing

    def _agrees(self, stage: Stage) -> Iterator[str]:
        for entry in self.journal:
            at = entry["resumed_at"]
            if self.oid_at(at["seq"]) != at["oid"]:
                yield f"{self.label}: {entry} resumed at what is not in the log"
        standing = self._standing(stage)
        if standing["epoch"] > self.journal[-1]["epoch"]:
            # Whoever was killed between storing it and publishing it left that to the next one who takes the lock.
            stage.host("space", "thaw", self.label).must()
            yield from self._read_journal(stage)
            standing = self._standing(stage)
        newest = self.journal[-1]
        if standing["epoch"] != newest["epoch"] or standing["holder"] not in (None, newest["holder"]):
            yield f"{self.label}: the leases say {standing}, and the journal {newest}"
