"""The audit: one line of JSON for each outcome, appended, never changed, and bounded.

    audit/current.jsonl     the newest lines
    audit/1.jsonl … N       older ones, 1 the newest; the oldest goes when another is begun

Several processes write it (the server, hooks without one, commands on the host): each line is one write under a lock.
It is not synced: the log itself and the journal of leases say what happened, and survive a power failure; the audit
adds who asked and was refused. A line that a crash tore is skipped, and said to be.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from shardd.core.outcome import Outcome
from shardd.files.durable import writing

LARGEST = 8 * 1024 * 1024
"""Bytes of one file."""

KEPT = 8
"""Files, the current one included."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Outcome)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that does not read."""

    file: Path
    line: int


class AuditLog:
    """The audit in `folder`, which is made when first written."""

    def __init__(self, folder: Path, *, largest: int = LARGEST, kept: int = KEPT) -> None:
        self._folder = folder
        self._largest = largest
        self._kept = kept
        self._current = folder / "current.jsonl"

    def record(self, outcome: Outcome) -> None:
        """Append a line; Unavailable if the disk refuses."""
        line = _encoder.encode(outcome) + b"\n"
        with writing(self._folder), self._locked():
            descriptor = os.open(self._current, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    line = b"\n" + line  # a crash tore the last one: it must not spoil this one
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
            if size + len(line) >= self._largest:
                self._rotate()

    def read(self) -> Iterator[Outcome | Unreadable]:
        """All that is kept, oldest first."""
        for path in [*(self._old(number) for number in range(self._kept - 1, 0, -1)), self._current]:
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue
            with file:
                for number, line in enumerate(file, 1):
                    try:
                        yield _decoder.decode(line)
                    except (msgspec.DecodeError, UnicodeDecodeError):
                        if line.strip():
                            yield Unreadable(path, number)

    def _old(self, number: int) -> Path:
        return self._folder / f"{number}.jsonl"

    def _rotate(self) -> None:
        for number in range(self._kept - 1, 1, -1):
            if self._old(number - 1).exists():
                self._old(number - 1).replace(self._old(number))
        if self._kept > 1:
            self._current.replace(self._old(1))
        else:
            self._current.unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
