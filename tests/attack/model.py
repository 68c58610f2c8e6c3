"""What follows from the calls and answers of a history: what must be there, what must not, and what may be.

Attempts with the same ids belong together, as whoever got no answer asked again. If one of them was acknowledged, all
their events are there as it was told; if all were refused, none is; else all are there, or none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, str]
"""A space, `repo/space`, and an Event-Id."""

_ANYTHING = frozenset({"not-holder", "stale-epoch", "non-fast-forward"})
REFUSALS = {
    "push": _ANYTHING | {"unavailable"},  # nothing was moved: `prune --expire=now` takes what is on its way, too
    "append": _ANYTHING,
    "lease": _ANYTHING | {"exists", "not-waiting"},
}
"""What a call may be refused with; whoever reads or imports may be refused nothing."""


@dataclass(slots=True)
class Attempt:
    """One call that was to append. placed: seq and oid, where the caller knew them beforehand or was told

    after: the highest number that had been acknowledged in each of its spaces before the call was made
    """

    call: dict[str, Any]
    keys: tuple[Key, ...]
    placed: dict[Key, tuple[int | None, str | None]]
    after: dict[str, int]
    how: str = "unknown"

    def __str__(self) -> str:
        return f"{self.call['do']} {self.call['call']} of {self.call['who']} by {self.call['way']} ({self.how})"


@dataclass(slots=True)
class Sight:
    """A head, or an epoch and a head, that an answer told of. after, epoch_after: what had been told before the call"""

    call: dict[str, Any]
    space: str
    head: tuple[int, str] | None
    after: int
    epoch: int | None = None
    holder: str | None = None
    epoch_after: int = 0


_Open = tuple[dict[str, Any], Attempt | None, dict[str, int], dict[str, int]]
"""A call without an answer: its line, what it was to append, and what had been told of its spaces, seqs and epochs."""


@dataclass(slots=True)
class Told:
    """Read from a history, piece by piece; what it has found wrong already is in `problems`."""

    attempts: list[Attempt] = field(default_factory=list)
    sights: list[Sight] = field(default_factory=list)
    imports: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _open: dict[str, _Open] = field(default_factory=dict)
    _acknowledged: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _epochs: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def read(self, lines: Iterable[dict[str, Any]]) -> None:
        for line in lines:
            if "call" in line:
                self._called(line)
            elif "done" in line:
                self._answered(line)
            elif "act" in line:
                self.counts[f"act: {line['act']}"] += 1

    def checked(self) -> None:
        """Everything up to here was held against the logs; nobody is at work."""
        self.attempts.clear()
        self.sights.clear()
        self._open.clear()

    def groups(self) -> Iterator[list[Attempt]]:
        """The attempts that belong together."""
        found: dict[tuple[Key, ...], list[Attempt]] = defaultdict(list)
        for attempt in self.attempts:
            found[attempt.keys].append(attempt)
        return iter(found.values())

    def _called(self, line: dict[str, Any]) -> None:
        attempt = None
        batches = line.get("events", {})
        spaces = list(batches) or ([line["space"]] if "space" in line else [])
        after = {space: self._acknowledged[space] for space in spaces}
        if batches:
            placed = {(space, id): (seq, oid) for space, each in batches.items() for id, seq, oid in each}
            attempt = Attempt(line, tuple(placed), placed, after)
            self.attempts.append(attempt)
        if line["do"] == "import":
            self.imports[line["space"]] = {**line, "how": "unknown"}
        self._open[line["call"]] = (line, attempt, after, {space: self._epochs[space] for space in spaces})

    def _answered(self, line: dict[str, Any]) -> None:
        if line["done"] not in self._open:
            self.problems.append(f"an answer to no call, or a second one: {line}")
            return
        call, attempt, after, epochs = self._open.pop(line["done"])
        how = line["how"]
        what = f"{call['do']}{' ' + call['verb'] if 'verb' in call else ''} by {call['way']}"
        self.counts[f"{what}: {line.get('code', how) if how == 'refused' else how}"] += 1
        if how == "failed" or (how == "refused" and line.get("code") not in REFUSALS.get(call["do"], ())):
            self.problems.append(f"{what} must not be answered like this: {_short(call)}\n    {_short(line)}")
        if attempt is not None:
            attempt.how = "refused" if how == "refused" else "ok" if how == "ok" else "unknown"
            for space, each in line.get("events", {}).items():
                attempt.placed.update({(space, id): (seq, oid) for id, seq, oid in each})
            if how == "ok":
                for (space, _), (seq, _) in attempt.placed.items():
                    self._acknowledged[space] = max(self._acknowledged[space], seq or 0)
        if call["do"] == "import":
            self.imports[call["space"]] |= {"how": how, "head": line.get("head")}
            if how == "ok":
                self._acknowledged[call["space"]] = max(self._acknowledged[call["space"]], line["head"][0])
        if how == "ok" and "head" in line and call["do"] != "import":
            space = call["space"]
            head = line["head"] and (line["head"][0], line["head"][1])
            floor = 0 if call["do"] == "glance" else after[space]
            sight = Sight(call, space, head, floor, line.get("epoch"), line.get("holder"), epochs[space])
            self.sights.append(sight)
            if head:
                self._acknowledged[space] = max(self._acknowledged[space], head[0] if call["do"] != "glance" else 0)
            if sight.epoch is not None:
                self._epochs[space] = max(self._epochs[space], sight.epoch)


def _short(line: dict[str, Any]) -> dict[str, Any]:
    """Of many events only how many they are: the rest is in the history."""
    return {**line, "events": {k: len(v) for k, v in line["events"].items()}} if "events" in line else line
