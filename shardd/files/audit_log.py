"""The audit: one line of JSON for each outcome, appended, never changed, and bounded.

    audit/current.jsonl     the newest lines
    audit/1.jsonl … N       older ones, 1 the newest; the oldest goes when another is begun
    audit/strangers/        the same for logins of nobody: however many come, they push out none of the others

Several processes write it (the server, hooks without one, commands on the host): each line is one write at the end of
the file, and nobody waits for anybody. It is not synced: the log itself and the journal of leases say what happened,
and survive a power failure; the audit adds who asked and was refused. A line that a crash or a full disk tore is
skipped, and said to be.
"""

from __future__ import annotations

import errno
import fcntl
import heapq
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from shardd.core.outcome import Kind, Outcome
from shardd.errors import SharddError
from shardd.files.durable import writing

log = logging.getLogger("shardd.audit")

LARGEST = 8 * 1024 * 1024
"""Bytes of one file."""

KEPT = 8
"""Files, the current one included; two at least."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Outcome)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that does not read."""

    file: Path
    line: int


class AuditLog:
    """The lines in `folder`, which is made when first written."""

    def __init__(self, folder: Path, *, largest: int = LARGEST, kept: int = KEPT) -> None:
        self._folder = folder
        self._largest = largest
        self._kept = kept
        self._current = folder / "current.jsonl"

    def record(self, outcome: Outcome) -> None:
        """Append a line; Unavailable if the disk refuses."""
        line = _encoder.encode(outcome) + b"\n"
        with writing(self._folder):
            descriptor = self._open()
            try:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    line = b"\n" + line  # the last one was torn: it must not spoil this one
                if os.write(descriptor, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(descriptor)
            if size + len(line) >= self._largest:
                self._rotate()

    def read(self) -> Iterator[Outcome | Unreadable]:
        """All that is kept, oldest first."""
        with ExitStack() as open_files:
            for path, file in reversed(self._files(open_files)):
                for number, line in enumerate(file, 1):
                    try:
                        yield _decoder.decode(line)
                    except (msgspec.DecodeError, UnicodeDecodeError):
                        if line.strip():
                            yield Unreadable(path, number)

    def _files(self, open_files: ExitStack) -> list[tuple[Path, IO[bytes]]]:
        """All of them, newest first. One that is renamed just now is met a second time, and none is missed."""
        found: dict[tuple[int, int], tuple[Path, IO[bytes]]] = {}
        if not self._folder.is_dir():
            return []
        with ExitStack() as renaming:
            with suppress(OSError):  # a disk that takes nothing any more is read all the same
                renaming.enter_context(self._still())
            for path in [self._current, *(self._old(number) for number in range(1, self._kept))]:
                with suppress(FileNotFoundError):
                    file = open_files.enter_context(path.open("rb"))
                    stat = os.fstat(file.fileno())
                    found.setdefault((stat.st_dev, stat.st_ino), (path, file))
        return list(found.values())

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(self._current, flags, 0o600)
        except FileNotFoundError:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self._current, flags, 0o600)

    def _old(self, number: int) -> Path:
        return self._folder / f"{number}.jsonl"

    def _rotate(self) -> None:
        """Unless another process is at it, or opens them to read, which must not hold up this one."""
        with self._still() as still, suppress(FileNotFoundError):
            if not still or self._current.stat().st_size < self._largest:
                return  # it is done, or by the next one
            for number in range(self._kept - 1, 1, -1):
                if self._old(number - 1).exists():
                    self._old(number - 1).replace(self._old(number))
            self._current.replace(self._old(1))

    @contextmanager
    def _still(self) -> Iterator[bool]:
        """No file is renamed by others while the block lasts; False where somebody else has seen to that already."""
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(descriptor)


class Audit:
    """The audit of a server's directory. Fit for any thread. aloud: an operator reads what is logged here"""

    def __init__(self, root: Path, *, aloud: bool = False, largest: int = LARGEST, kept: int = KEPT) -> None:
        self._known = AuditLog(root / "audit", largest=largest, kept=kept)
        self._strangers = AuditLog(root / "audit" / "strangers", largest=largest, kept=kept)
        self._lock = threading.Lock()
        self._aloud = aloud
        self._missing = 0

    def tell(self, outcome: Outcome) -> None:
        """Record it. Never fails: that it cannot be written is no reason to refuse anything, and is logged once."""
        stranger = outcome.kind is Kind.LOGIN and outcome.who is None
        try:
            (self._strangers if stranger else self._known).record(outcome)
        except SharddError as error:
            with self._lock:
                self._missing += 1
                first = self._missing == 1
            if first and self._aloud:
                log.error("the audit is not written, and lacks what comes now: %s", error)
            return
        with self._lock:
            missing, self._missing = self._missing, 0
        if missing and self._aloud:
            log.warning("the audit is written again, and lacks %d outcomes", missing)

    def read(self) -> Iterator[Outcome | Unreadable]:
        """All that is kept, oldest first."""
        return (each for _, each in heapq.merge(_timed(self._known), _timed(self._strangers), key=lambda pair: pair[0]))


def _timed(lines: AuditLog) -> Iterator[tuple[int, Outcome | Unreadable]]:
    """Each with the time that it is to be told at: never before the one that stands before it."""
    at = 0
    for each in lines.read():
        if isinstance(each, Outcome):
            at = max(at, each.at)
        yield at, each
