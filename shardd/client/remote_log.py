"""A log on a server, over ssh, by its commands: `append --lines --atomic`, `log`, `space show`.

One connection is kept and made anew when it breaks. A call that breaks off, or that the server cannot serve just now,
is tried again with growing pauses, so that a server which is started again is found again: reading is harmless, and an
append carries its ids, so the server answers with the original if an earlier try had gone through. An answer counts
only as a whole: every line ended, every line JSON, as many of them as there have to be.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import dropwhile, islice, takewhile
from pathlib import Path
from typing import IO, TypeVar, cast

import msgspec

from shardd.authority.whole_log import measure
from shardd.client.address import parse_url
from shardd.client.link import Broken, Link, Said
from shardd.client.ssh_settings import TIMEOUT
from shardd.core.append import Expected
from shardd.core.canonical import Json
from shardd.core.codec import genesis_oid
from shardd.core.error_values import error_from
from shardd.core.event import Draft, Event, Head, format_time, parse_time
from shardd.core.import_chain import Imported, chain
from shardd.core.jsonl import Numbered, encode_numbered
from shardd.core.limits import Limits
from shardd.core.names import check_repo, check_space
from shardd.errors import BadEvent, Corrupt, Misuse, Rejected, Unavailable
from shardd.logs.decision_log import Clock, DraftingLog, Ids, new_id, utc_now

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds
_STRETCH = 50  # events that are fetched first of those that are wanted newest first
_ANY = Limits(commit_bytes=2**40)

Values = list[dict[str, Json]]
T = TypeVar("T")


class RemoteLog(DraftingLog):
    """A DecisionLog over the repo that `url` names, like `ssh://host:2222/garden.git`.

    create: begin a space that nobody has created, by the first append to it; an admin of the space may
    take_lease: take a free lease for each append alone; otherwise the principal must hold it
    epoch: the one that the caller holds, where the lease is fenced; known_hosts: in place of ~/.ssh/known_hosts
    key: a private key file, in place of the agent's and those in ~/.ssh
    retry_seconds: for how long a call that broke off is tried again; Unavailable then, which names the `ids` of the
    events that may or may not be in the log: appending them again with these ids is safe
    Safe to share between threads, which take turns.
    """

    def __init__(
        self,
        url: str,
        *,
        take_lease: bool = True,
        create: bool = False,
        epoch: int | None = None,
        key: str | Path | None = None,
        known_hosts: str | Path | None = None,
        retry_seconds: float = 30.0,
        clock: Clock = utc_now,
        ids: Ids = new_id,
    ) -> None:
        address = parse_url(url)
        if address.repo is None:
            raise Misuse(f"{url!r} names no repo", "write it like ssh://host:2222/garden.git")
        self._url = url
        self._repo = check_repo(address.repo)
        self._destination = address.destination
        self._options = [
            *(["--take-lease"] if take_lease else []),
            *(["--epoch", str(epoch)] if epoch is not None else []),
        ]
        self._create = ["--create"] if create else []
        super().__init__(clock, ids)
        self._retry_seconds = retry_seconds
        self._lock = threading.RLock()
        self._link = Link(address, key=key, known_hosts=known_hosts)
        self._known_as: str | None = None

    def __repr__(self) -> str:
        return f"RemoteLog({self._url!r})"

    def close(self) -> None:
        """End the connection; the next call makes a new one."""
        with self._lock:
            self._link.close()

    def __enter__(self) -> RemoteLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append_many(self, space: str, events: Iterable[Draft], *, expected: Expected = None) -> list[Event]:
        drafts = self._whole(events)
        words = ["append", self._label(space), "--lines", "--atomic", *self._options, *self._create]
        if expected is not None:
            words += ["--expected", expected if isinstance(expected, str) else f"{expected.seq}:{expected.oid}"]

        def made(values: Values) -> list[Event]:
            found = _events(values)
            if [event.id for event in found] != [one.id for one in drafts]:
                raise Broken("its answer is not about all of these events")
            return found

        try:
            return self._ask(words, made, b"".join(_line(one) for one in drafts))
        except Unavailable as error:
            raise Unavailable(error.message, error.remedy, ids=[one.id for one in drafts]) from None

    def import_events(
        self, space: str, events: Iterable[Numbered], *, keep_gaps: bool = False, dry_run: bool = False
    ) -> Imported:
        """See logs/log_transfer.py. Checked here before any of it is sent."""
        flags = {"--keep-gaps": keep_gaps, "--dry-run": dry_run}
        words = ["import", self._label(space), "-", *self._options, *(name for name, on in flags.items() if on)]
        with tempfile.TemporaryFile() as lines:
            kept = _kept(events, lines, space)
            expected = measure(chain(space, kept, keep_gaps=keep_gaps, limits=_ANY))  # how large is the server's to say
            try:
                self._ask(words, _one, lines, patience=None)
            except Rejected as error:
                # The answer to an import that went through may have been lost, and the log may have grown since. Its
                # bytes follow from its events: where its last one stands, all of it does.
                if error.code != "exists" or not self._has(space, expected.head):
                    raise
        return expected

    def events(
        self,
        space: str,
        after: int | None = None,
        *,
        until: int | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Event]:
        head = self.head(space)
        if head is None or (after is not None and after >= head.seq):
            return iter(())
        if reverse:
            newest_first = dropwhile(
                lambda event: until is not None and event.seq > until, self._back(space, head, after)
            )
            return islice(newest_first, limit)
        found = self._up_to(space, head, after)
        return islice(takewhile(lambda event: until is None or event.seq <= until, found), limit)

    def _back(self, space: str, head: Head, after: int | None) -> Iterator[Event]:
        """The newest first, in stretches, each twice as long as the one before."""
        lowest, top, length = -1 if after is None else after, head, _STRETCH
        while True:
            below = max(lowest, top.seq - length)
            found = [event for event in self._up_to(space, head, below if below > -1 else None) if event.seq <= top.seq]
            yield from reversed(found)
            if below <= lowest:
                return
            top, length = Head(below, ""), length * 2

    def _up_to(self, space: str, head: Head, after: int | None) -> Iterator[Event]:
        """The events after a seq up to `head`."""
        words = ["log", self._label(space), *(["--after", str(after)] if after is not None and after >= 0 else [])]

        def known(values: Values) -> list[Event]:
            found = [event for event in _events(values) if event.seq <= head.seq]
            last = Head(found[-1].seq, found[-1].oid) if found else head
            if last != head or (not found and head.oid != genesis_oid(space, seq=head.seq, like=head.oid)):
                raise Broken("the log that it sent does not go up to its head")
            return found

        return iter(self._ask(words, known))

    def head(self, space: str) -> Head | None:
        try:
            value = self._ask(["space", "show", self._label(space)], _one)
        except Rejected as error:
            if error.code == "no-such-space":
                return None
            raise
        return Head(cast("int", value["seq"]), str(value["oid"]))

    def _has(self, space: str, head: Head) -> bool:
        """Whether the log stands at `head`, or did."""
        now = self.head(space)
        if now is None or now.seq <= head.seq:
            return now == head
        return next(self.events(space, after=head.seq - 1)).oid == head.oid

    def _label(self, space: str) -> str:
        return f"{self._repo}/{check_space(space)}"

    def _me(self) -> str:
        if self._known_as is None:
            self._known_as = str(self._ask(["whoami"], _one)["principal"])
        return self._known_as

    def _ask(
        self,
        words: list[str],
        read: Callable[[Values], T],
        stdin: bytes | IO[bytes] = b"",
        *,
        patience: float | None = TIMEOUT,
    ) -> T:
        """What `read` makes of the values that a command answers with; the error that it answers with is raised.

        read: raises Broken if these cannot be all; patience: see Link.run
        """
        pause, until = _FIRST_PAUSE, None
        with self._lock:
            while True:
                try:
                    return read(_values(self._link.run([*words, "--json"], stdin, patience)))
                except Broken as error:
                    self._link.close()
                    now = time.monotonic()
                    until = now + self._retry_seconds if until is None else until
                    if now + pause > until:
                        raise Unavailable(
                            f"{self._destination} could not be reached, or the connection broke off: {error}",
                            "see whether `ssh` gets through, and try again with the same ids",
                        ) from None
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)


def _values(said: Said) -> Values:
    """What a whole answer holds; the error if it is one."""
    # Lines end at \n alone: what else Unicode takes for the end of a line may stand in any string of an event.
    *lines, rest = said.out.split(b"\n")
    if rest:
        raise Broken("its answer was cut short")
    try:
        values = [json.loads(line) for line in lines]
    except ValueError:
        values = [None]
    readable = all(isinstance(value, dict) for value in values)
    if readable and values and "error" in values[-1]:
        error = error_from(values[-1]["error"])
        if isinstance(error, Unavailable):
            raise Broken(str(error))  # not now: perhaps in a moment
        raise error
    if said.status != 0:
        complaint = said.err.strip()
        raise Unavailable(f"the server answered: {complaint}") if complaint else Broken("it ended without an answer")
    if not readable:
        raise Corrupt("the server's answer does not read", "is it of another version?")
    return values


def _one(values: Values) -> dict[str, Json]:
    if len(values) != 1:
        raise Broken(f"its answer has {len(values)} lines in place of one")
    return values[0]


def _events(values: Values) -> list[Event]:
    return [_event(value) for value in values]


def _kept(events: Iterable[Numbered], lines: IO[bytes], space: str) -> Iterator[Numbered]:
    """The same events, written to `lines` on the way."""
    for each in events:
        lines.write(encode_numbered(each, space))
        yield each
    lines.flush()


def _line(one: Draft) -> bytes:
    said = {"type": one.type, "subject": one.subject, "data": dict(one.data), "id": one.id}
    return msgspec.json.encode(said | {"time": format_time(one.time), "actor": one.actor}) + b"\n"


def _event(value: dict[str, Json]) -> Event:
    try:
        return msgspec.convert(value | {"time": parse_time(str(value["time"]))}, _Wire).event()
    except (msgspec.ValidationError, KeyError, BadEvent) as error:
        raise Corrupt(f"the server's answer is no event: {error}", "is it of another version?") from None


class _Wire(msgspec.Struct, frozen=True):
    seq: int
    oid: str
    id: str
    type: str
    subject: str | None
    actor: str
    time: datetime
    data: dict[str, object]
    epoch: int | None = None
    source_epoch: int | None = None

    def event(self) -> Event:
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return Event(**fields)
