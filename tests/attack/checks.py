"""What must hold when nobody is at work: each look reads what is new of logs, journals and history, and compares."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from shardd.errors import Rejected, SharddError
from shardd.logs.git_log import GitLog
from tests.attack.actors.life import a_draft
from tests.attack.model import Attempt, Told
from tests.attack.processes import Process, about
from tests.attack.records import Record
from tests.attack.stage import REPO, SPACES, Stage, space_of, values

T = TypeVar("T")

FIXED = tuple(f"{REPO}/{space}" for space in SPACES)
"""The spaces that an admin made before it all began."""

_QUIET = 90.0
"""Seconds that whatever was left behind has to end by itself: longer than anything waits for a lock."""


class Broken(AssertionError):
    """A promise does not hold."""


def _guards(each: Process, servers: set[int]) -> bool:
    return each.parent in servers and each.words[-1:] != () and each.words[-1].endswith("/guard.py")


@dataclass(slots=True)
class Checker:
    """Keeps what it has seen, so that each look is only at what is new."""

    stage: Stage
    told: Told = field(default_factory=Told)
    records: dict[str, Record] = field(default_factory=dict)
    _unread: set[str] = field(default_factory=set)
    _read: int = 0
    _server_log: int = 0

    def quiet(self, but: set[int]) -> None:
        """Wait until nothing that was started is left. but: servers, which may stay, and their guards"""
        began = time.monotonic()
        end = began + _QUIET
        noted = False
        while left := [each for each in about(self.stage.folder) if each.pid not in but and not _guards(each, but)]:
            if not noted and time.monotonic() > began + 1:
                self.stage.history.note(act="wait for quiet", left=[[each.pid, each.state, each.name] for each in left])
                noted = True
            if time.monotonic() > end:
                said = [f"{each.pid} {each.state} {' '.join(each.words)[:200]}" for each in left]
                for each in left:
                    each.signal(signal.SIGKILL)
                raise Broken("left running:\n" + "\n".join(said))
            time.sleep(0.02)

    def look(self) -> None:
        """Everything cheap; Broken, with all that is wrong."""
        problems = list(self._problems())
        self.told.checked()
        if problems:
            raise Broken(f"{len(problems)} findings:\n" + "\n".join(problem[:3000] for problem in problems[:20]))

    def _problems(self) -> Iterator[str]:
        lines, self._read = self.stage.history.read(self._read)
        self.told.read(lines)
        yield from self.told.problems
        self.told.problems.clear()
        called = {key for attempt in self.told.attempts for key in attempt.keys}
        before = {label: record.last for label, record in self.records.items()}
        labels = dict.fromkeys(FIXED)
        labels |= dict.fromkeys([*self.told.imports, *(space for space, _ in called)])
        for label in labels:
            yield from self._space(label)
        for label, record in self.records.items():
            for seq in range(max(before.get(label, 0), record.taken_in) + 1, record.last + 1):
                if seq in record.log and (label, record.log[seq].id) not in called:
                    yield f"{label}: nobody has asked for {record.log[seq]} since it was quiet"
        for group in self.told.groups():
            yield from self.judge(group)
        for sight in self.told.sights:
            if sight.space not in self._unread:
                yield from self.records[sight.space].sees(sight)
        yield from self._said_by_the_server()

    def _space(self, label: str) -> Iterator[str]:
        record = self.records.setdefault(label, Record(label))
        taken = self.told.imports.pop(label, None)
        if taken is not None:
            record.taken_in = taken["count"]
        try:
            yield from record.update(self.stage)
        except (SharddError, AssertionError) as error:
            yield f"LOST: {label} does not read any more: {type(error).__name__}: {error}"
            self._unread.add(label)
        if record.genesis is not None and not record.last and label not in FIXED:
            yield f"{label}: begun, and nothing is in it: whoever began it meant to append"
        if taken is not None:
            if record.last not in {"ok": {taken["count"]}, "refused": {0}}.get(taken["how"], {0, taken["count"]}):
                yield f"{label}: of {taken} there is {record.last} of {taken['count']}"
            elif taken["how"] == "ok" and record.oid_at(record.last) != taken["head"][1]:
                yield f"{label}: imported as {taken['head']}, and it is {record.oid_at(record.last)}"

    def judge(self, group: list[Attempt]) -> Iterator[str]:
        """What is wrong with the attempts to append the same events, now that the logs were read."""
        keys = group[0].keys
        if self._unread & {space for space, _ in keys}:
            return  # said once, for all that was in it
        landed = [key for key in keys if key[1] in self.records[key[0]].ids]
        who = " then ".join(map(str, group))
        if landed and len(landed) < len(keys):
            yield f"{who}: {len(landed)} of {len(keys)} events landed, beginning with {landed[0]}"
        if landed and all(attempt.how == "refused" for attempt in group):
            yield f"{who}: and yet {landed[0]} is in the log"
        for attempt in group:
            if attempt.how == "ok":
                yield from self._acknowledged(attempt, landed, who)
        for space, id in landed:
            record = self.records[space]
            seen = record.log[record.ids[id]]
            if seen.seq <= group[0].after[space]:
                yield f"{who}: {seen} stands before seq {group[0].after[space]}, which was acknowledged before the call"
            if seen.actor != group[0].call["who"] and record.leased:
                yield f"{who}: {seen} is not of {group[0].call['who']}"

    def _acknowledged(self, attempt: Attempt, landed: list[tuple[str, str]], who: str) -> Iterator[str]:
        lost = set(attempt.keys) - set(landed)
        if lost:
            yield f"LOST: {who}: acknowledged, and {len(lost)} events are not there: {sorted(lost)[:3]}"
        for key, (seq, oid) in attempt.placed.items():
            record = self.records[key[0]]
            at = record.ids.get(key[1])
            if at is not None and (at, record.log[at].oid) != (seq, oid):
                yield f"{who}: told as {seq} {oid}, and it is {record.log[at]}"

    def _said_by_the_server(self) -> Iterator[str]:
        with self.stage.server.log.open("rb") as log:
            log.seek(self._server_log)
            said = log.read()
        self._server_log += len(said)
        if b"Traceback" in said:
            yield f"the server's log:\n{said[said.index(b'Traceback') :].decode(errors='replace')[:2500]}"

    # What costs more, or changes something.

    def answered_again(self, chance: random.Random) -> None:
        """What is in the log already is answered with the original, and other content under its id is refused."""
        for label in FIXED:
            record = self.records[label]
            own = [e for e in record.log.values() if e.seq > record.taken_in and e.id != e.oid]
            for seen in chance.sample(own, min(2, len(own))):
                log = GitLog(self.stage.repo(label), principal=seen.actor)
                draft = a_draft(seen.actor, seen.id)
                (again,) = _willing(self.stage, partial(log.append_many, space_of(label), [draft]))
                if (again.seq, again.oid) != (seen.seq, seen.oid):
                    raise Broken(f"{label}: {seen}, asked for again, was answered with {again}")
                try:
                    event = log.append(space_of(label), "other", actor=seen.actor, id=seen.id)
                except Rejected as error:
                    if error.code != "duplicate-event":
                        raise Broken(f"{label}: other content under {seen.id}: {error}") from None
                else:
                    raise Broken(f"{label}: {seen}, and the same id once more: {event}")

    def whole(self) -> None:
        """By git's strictest measure, by `verify` from the first commit on, and by the doctor."""
        for path in (self.stage.garden, self.stage.shed):
            if not path.exists():
                continue
            done = self.stage.git(path, "fsck", "--strict", "--full", "--no-dangling", "--no-progress")
            if not done.ok or done.stdout or done.stderr:
                raise Broken(f"git fsck of {path.name}: {done}")
        verified = self.stage.host("verify", "--json")
        if not verified.ok:
            broken = [each for each in values(verified) if isinstance(each, dict) and not each.get("whole", False)]
            raise Broken(f"verify: {broken} {verified.stderr}")
        for each in values(self.stage.host("doctor", "--json")):
            # A lock that a killed git left is for the doctor to name, and nobody's fault.
            if isinstance(each, dict) and each.get("level") == "broken" and not str(each["where"]).endswith(".lock"):
                raise Broken(f"the doctor: {each}")

    def goes_on(self, label: str, who: str, push: Callable[[], bool]) -> None:
        """The next lease change and the next push go through, without a person having mended anything."""
        granted = _willing(self.stage, lambda: _granted(self.stage, label, who))
        assert granted
        for _ in range(2):
            if push():
                return
            minutes_pass(self.stage)
        raise Broken(f"{label}: {who} holds the lease, nobody else is there, and the push is refused: see the history")


def _granted(stage: Stage, label: str, who: str) -> bool:
    call = stage.history.call("lease", "operator", "host", verb="grant", space=label, words=[who])
    done = stage.host("lease", "grant", label, who, "--force", "--ttl", "60", "--json")
    if not done.ok:
        call.done("unknown", said=f"{done.stdout}{done.stderr}")
        raise SharddError(f"{done.stdout}{done.stderr}")
    (value,) = values(done)
    assert isinstance(value, dict)
    head = value["head"]
    assert isinstance(head, dict)
    call.done("ok", epoch=value["epoch"], holder=value["holder"], head=[head["seq"], head["oid"]])
    return True


def _willing(stage: Stage, job: Callable[[], T]) -> T:
    """Do it; if a lock of a killed git is in the way, once more after minutes, which is when it counts as left over."""
    try:
        return job()
    except SharddError:
        minutes_pass(stage)
        try:
            return job()
        except SharddError as error:
            raise Broken(f"nobody is at work, and: {error}") from error


def minutes_pass(stage: Stage) -> None:
    """Make git's lock files as old as they would be if somebody came back later."""
    long_ago = time.time() - 3600
    for path in (stage.garden, stage.shed):
        for lock in [*path.glob("*.lock"), *path.glob("refs/**/*.lock"), *path.glob("packed-refs.new")]:
            os.utime(lock, (long_ago, long_ago))
