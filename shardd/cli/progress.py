"""A bar on standard error, while a log is read, for whoever waits at a terminal: how far, how fast."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import IO

from shardd.errors import Misuse

_PATIENCE = 0.5  # seconds without a bar
_PERIOD = 0.1  # seconds between two drawings
_WIDTH = 24
_CHUNK = 256 * 1024


class Bar:
    """Drawn on `terminal` from time to time. size: in bytes, of all there is to read; None if nobody knows"""

    def __init__(self, terminal: IO[str], size: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._terminal = terminal
        self._size = size
        self._clock = clock
        self._began = clock()
        self._next = self._began + _PATIENCE
        self._bytes = 0
        self._events = 0
        self._drawn = False

    def advance(self, data: bytes) -> None:
        """So much more was read, one event a line."""
        self._bytes += len(data)
        self._events += data.count(b"\n")
        if self._clock() >= self._next:
            self._draw()

    def end(self) -> None:
        if self._drawn:
            self._draw()
            self._terminal.write("\n")
            self._terminal.flush()

    def _draw(self) -> None:
        now = self._clock()
        self._next = now + _PERIOD
        self._drawn = True
        rate = self._events / max(now - self._began, 0.001)
        bar = ""
        if self._size:
            part = min(1.0, self._bytes / self._size)
            bar = f"{'#' * round(part * _WIDTH):<{_WIDTH}} {part:4.0%}  "
        self._terminal.write(f"\r{bar}{self._events:,} events, {rate:,.0f}/s\x1b[K")
        self._terminal.flush()


class Metered(io.RawIOBase):
    """A stream whose reading moves a bar."""

    def __init__(self, stream: IO[bytes], bar: Bar) -> None:
        self._stream = stream
        self._bar = bar

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._bar.advance(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._bar.end()
        self._stream.close()
        super().close()


def open_input(file: str) -> IO[bytes]:
    """The bytes of a FILE argument, `-` for standard input; with a bar where somebody sees it. Misuse if unreadable."""
    try:
        stream = sys.stdin.buffer if file == "-" else Path(file).open("rb")  # noqa: SIM115
        size = None if file == "-" else os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise Misuse(f"{file} cannot be read: {error.strerror}") from None
    if not sys.stderr.isatty() or stream.isatty():
        return stream
    return io.BufferedReader(Metered(stream, Bar(sys.stderr, size)), _CHUNK)


def metered(lines: Iterable[bytes]) -> Generator[bytes, None, None]:
    """The same lines, with a bar where somebody sees it."""
    if not sys.stderr.isatty():
        yield from lines
        return
    bar = Bar(sys.stderr)
    try:
        for line in lines:
            yield line
            bar.advance(line)
    finally:
        bar.end()
