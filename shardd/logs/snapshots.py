"""Snapshots: folded states on disk, so that a fold need not start at the first event. Disposable: delete them freely.

One file per snapshot, under the directory that the caller gives:

    <space>/<fold>/<version>-<seq>-<oid>.json     {"sha256": …, …, "events": 1234}      one line
                                                  <the state's JSON>                    the rest

A snapshot is used only where the log, asked for the event at its seq, answers with its oid. An oid names the whole
history before it, so then the state is right; after a rewind no event, or another, stands there. Whatever is wrong
with a file or the directory, garbage or no permission, costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from shardd.core.event import Event, Head
from shardd.core.fold import Reducer
from shardd.core.names import check_space
from shardd.files.durable import write_atomic
from shardd.git.place import place_of
from shardd.logs.decision_log import ReadableLog

S = TypeVar("S")

_FILE = re.compile(r"(?P<version>[A-Za-z0-9.]+)-(?P<seq>[0-9]{1,16})-(?P<oid>[0-9a-f]{40,64})\.json\Z")
_WORTH_SAVING = 100  # events; a twentieth of all, if that is more: so what saving costs per event stays the same


@dataclass(frozen=True, slots=True)
class Folded(Generic[S]):
    """How far a fold has come.

    head: the last event folded, None before the first; events: how many in all; saved: how many of them on disk
    """

    head: Head | None
    state: S
    events: int = 0
    saved: int = 0


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    space: str
    fold: str
    version: str
    seq: int
    oid: str
    events: int
    sha256: str


class SnapshotStore:
    """Snapshots in a directory that is nobody else's; made when first needed. Any number of processes may share it.

    keep: how many of one fold of one space stay, the newest
    """

    def __init__(self, directory: Path, *, keep: int = 3) -> None:
        self._directory = directory
        self._keep = keep

    @classmethod
    def of(cls, repo: Path) -> SnapshotStore:
        """The store that belongs to a git repository: CLI and library share it.

        A clone's lies in the clone. Reading writes nothing into a bare repo, which is others' as well: its snapshots
        are in the cache of whoever reads ($XDG_CACHE_HOME, or ~/.cache; XDG Base Directory Specification).
        """
        there = place_of(repo) if repo.exists() else None
        if there is not None and not there.bare:
            return cls(there.folder / "shardd-cache" / "snapshots")
        cache = os.environ.get("XDG_CACHE_HOME", "")
        try:
            home = Path(cache) if cache.startswith("/") else Path("~/.cache").expanduser()
        except RuntimeError:
            home = Path(os.devnull)  # without a home, as in many containers: nothing is kept, which is no error
        name = hashlib.sha256(os.fsencode(repo.resolve())).hexdigest()[:32]
        return cls(home / "shardd" / "snapshots" / name)

    def newest_first(self, space: str, reducer: Reducer[S], *, up_to: int | None = None) -> Iterator[Folded[S]]:
        """Every readable snapshot of this very fold, none beyond the seq `up_to`. Not yet held against the log."""
        for path, head in self._files(space, reducer):
            if up_to is None or head.seq <= up_to:
                found = self._load(path, space, reducer, head)
                if found is None:
                    self.discard(space, reducer, head)
                else:
                    yield found

    def save(self, space: str, reducer: Reducer[S], folded: Folded[S]) -> bool:
        """Write it and drop the oldest; False if nothing could be written, which is no error."""
        if folded.head is None:
            return False
        folder = self._folder(space, reducer)
        body = msgspec.json.encode(reducer.to_json(folded.state))
        header = _Header(
            space=space,
            fold=reducer.name,
            version=str(reducer.version),
            seq=folded.head.seq,
            oid=folded.head.oid,
            events=folded.events,
            sha256=hashlib.sha256(body).hexdigest(),
        )
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"{reducer.version}-{folded.head.seq}-{folded.head.oid}.json"
            write_atomic(folder / name, msgspec.json.encode(header) + b"\n" + body)
        except OSError:
            return False
        with contextlib.suppress(OSError):
            self._prune(folder, space, reducer)
        return True

    def discard(self, space: str, reducer: Reducer[Any], head: Head) -> None:
        """Forget the snapshot at this head: the log no longer has it, or it cannot be read."""
        name = f"{reducer.version}-{head.seq}-{head.oid}.json"
        with contextlib.suppress(OSError):
            (self._folder(space, reducer) / name).unlink()

    def _folder(self, space: str, reducer: Reducer[Any]) -> Path:
        return self._directory / check_space(space) / reducer.name

    def _files(self, space: str, reducer: Reducer[Any]) -> list[tuple[Path, Head]]:
        found: list[tuple[Path, Head]] = []
        with contextlib.suppress(OSError):
            for path in self._folder(space, reducer).iterdir():
                match = _FILE.match(path.name)
                if match and match["version"] == str(reducer.version):
                    found.append((path, Head(int(match["seq"]), match["oid"])))
        return sorted(found, key=lambda pair: (pair[1].seq, pair[1].oid), reverse=True)

    def _load(self, path: Path, space: str, reducer: Reducer[S], head: Head) -> Folded[S] | None:
        try:
            first, _, body = path.read_bytes().partition(b"\n")
            header = msgspec.json.decode(first, type=_Header)
            expected = _Header(
                space=space,
                fold=reducer.name,
                version=str(reducer.version),
                seq=head.seq,
                oid=head.oid,
                events=header.events,
                sha256=hashlib.sha256(body).hexdigest(),
            )
            if header != expected:
                return None
            return Folded(head, reducer.from_json(msgspec.json.decode(body)), header.events, header.events)
        except Exception:  # a cache: whatever is wrong with it, and with a from_json that meets it, the log is right
            return None

    def _prune(self, folder: Path, space: str, reducer: Reducer[Any]) -> None:
        for path, _ in self._files(space, reducer)[self._keep :]:
            path.unlink(missing_ok=True)
        # Left over from other versions, or from a process that was killed as it wrote.
        files = [path for path in folder.iterdir() if not path.is_dir()]
        by_age = sorted(files, key=lambda path: path.lstat().st_mtime_ns, reverse=True)
        for path in by_age[self._keep * 4 :]:
            path.unlink(missing_ok=True)


def catch_up(
    log: ReadableLog,
    space: str,
    reducer: Reducer[S],
    *,
    known: Folded[S] | None = None,
    snapshots: SnapshotStore | None = None,
    up_to: int | None = None,
) -> Folded[S]:
    """The fold of the log as it stands now, or up to the seq `up_to`; reads only what is new since what it starts from.

    known: an earlier answer; held against the log before it is believed, like a snapshot
    Saves a snapshot when that has become worth while, never for a point in the past.
    """
    found = _resumed(log, space, reducer, known, snapshots, up_to)
    if found is None:
        found = _run(reducer, Folded(None, reducer.initial), log.events(space), up_to)
    if snapshots is None or up_to is not None or found.events - found.saved < max(_WORTH_SAVING, found.events // 20):
        return found
    snapshots.save(space, reducer, found)
    # Not tried again at once where it failed.
    return Folded(found.head, found.state, found.events, found.events)


def _resumed(
    log: ReadableLog,
    space: str,
    reducer: Reducer[S],
    known: Folded[S] | None,
    snapshots: SnapshotStore | None,
    up_to: int | None,
) -> Folded[S] | None:
    if known is not None and known.head is not None and (up_to is None or known.head.seq <= up_to):
        if known.head == log.head(space):
            return known
        found = _continued(log, space, reducer, known, known.head, up_to)
        if found is not None:
            return found
    if snapshots is None:
        return None
    for snapshot in snapshots.newest_first(space, reducer, up_to=up_to):
        assert snapshot.head is not None
        found = _continued(log, space, reducer, snapshot, snapshot.head, up_to)
        if found is not None:
            return found
        snapshots.discard(space, reducer, snapshot.head)
    return None


def _continued(
    log: ReadableLog, space: str, reducer: Reducer[S], start: Folded[S], head: Head, up_to: int | None
) -> Folded[S] | None:
    """From `start` onwards; None if the log does not hold the event that `start` ends with."""
    events = log.events(space, after=head.seq - 1)
    first = next(events, None)
    if first is None or Head(first.seq, first.oid) != head:
        return None
    return _run(reducer, start, events, up_to)


def _run(reducer: Reducer[S], start: Folded[S], events: Iterable[Event], up_to: int | None) -> Folded[S]:
    state, head, count = start.state, start.head, start.events
    for event in events:
        if up_to is not None and event.seq > up_to:
            break
        state, head, count = reducer.step(state, event), Head(event.seq, event.oid), count + 1
    return Folded(head, state, count, start.saved)
