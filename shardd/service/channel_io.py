"""Between an SSH channel and what serves it: pumps for a git child, blocking streams for a command in a thread."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import asyncssh

from shardd.errors import SharddError
from shardd.service.channel import Process

_CHUNK = 64 * 1024
_SILENCE = 1.0  # seconds that a client may say nothing while the server is leaving
_STILL_THERE = b"keepalive@openssh.com"
_ANSWER = 30.0  # seconds that a client may take to answer that

# What a client does to its channel when it leaves, or instead of sending: none of it is input.
_NO_INPUT = (
    asyncssh.Error,
    ConnectionError,
    asyncssh.BreakReceived,
    asyncssh.SignalReceived,
    asyncssh.TerminalSizeChanged,
)


async def to_child(
    process: Process,
    descriptor: int,
    seen: Callable[[bytes], None],
    refused: asyncio.Future[SharddError],
    moved: Callable[[], None],
) -> None:
    """Everything the client sends, into the child; closes the pipe at the end of it.

    seen: called in a thread with each piece, before the child gets it; refused: is told what that raises, if it does
    moved: called whenever bytes have come or gone
    """
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(descriptor, "wb"))
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    try:
        while data := await process.stdin.read(_CHUNK):
            moved()
            await asyncio.to_thread(seen, data)
            writer.write(data)
            await writer.drain()
            moved()
    except _NO_INPUT:
        pass  # the client left, or the child did: either way there is no more to pass on
    except SharddError as error:
        refused.set_result(error)
        await asyncio.Event().wait()  # the child is ended first: it would speak of an end of its input
    finally:
        writer.close()  # once all is written; nothing to wait for, and this protocol could not say when


async def from_child(descriptor: int, stream: asyncssh.SSHWriter[bytes], moved: Callable[[], None]) -> None:
    """Everything the child says, to the client. When the client has left, the child meets a closed pipe."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_CHUNK)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb")
    )
    try:
        while data := await reader.read(_CHUNK):
            moved()
            stream.write(data)
            await stream.drain()
            moved()
    except (asyncssh.Error, ConnectionError):
        pass
    finally:
        transport.close()


class ClientInput(io.RawIOBase):
    """The client's standard input, for a thread to read.

    BrokenPipeError where it breaks off: whoever reads must not take what has come for all of it. Once `left` is set,
    as the server is leaving, silence counts as breaking off. The end counts only from a client that is still there: one
    that gives up in the middle sends an end too, and closes the channel after it. So it is asked something that every
    client has to answer, and answers in order.
    """

    def __init__(self, process: Process, loop: asyncio.AbstractEventLoop, left: asyncio.Event) -> None:
        self._process = process
        self._loop = loop
        self._left = left
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = asyncio.run_coroutine_threadsafe(self._read(len(buffer)), self._loop).result()
        buffer[: len(data)] = data
        return len(data)

    async def _read(self, most: int) -> bytes:
        reading = asyncio.ensure_future(self._process.stdin.read(most))
        leaving = asyncio.ensure_future(self._left.wait())
        try:
            await asyncio.wait((reading, leaving), return_when=asyncio.FIRST_COMPLETED)
            data = await asyncio.wait_for(reading, None if reading.done() else _SILENCE)
            if not data and not self._ended:
                self._ended = True
                await asyncio.wait_for(self._process.channel._make_request(_STILL_THERE), _ANSWER)
                if self._process.is_closing():
                    raise BrokenPipeError
            return data
        except (*_NO_INPUT, TimeoutError):
            raise BrokenPipeError from None
        finally:
            leaving.cancel()


class ClientVoice:
    """Says lines to the client from a thread; waits while it does not read, BrokenPipeError once it has left.

    patience: seconds that it may read nothing; None for any number
    """

    def __init__(
        self, process: Process, loop: asyncio.AbstractEventLoop, gone: Callable[[], bool], patience: float | None
    ) -> None:
        self._process = process
        self._loop = loop
        self._gone = gone
        self._patience = patience
        self._pending: list[bytes] = []
        self._size = 0

    def out(self, line: str) -> None:
        self._pending.append(f"{line}\n".encode("utf-8", "replace"))
        self._size += len(line)
        if self._size >= _CHUNK:
            self.flush()

    def err(self, line: str) -> None:
        self.flush()
        self._say(self._process.stderr, f"{line}\n".encode("utf-8", "replace"))

    def paged(self, *, long: bool) -> AbstractContextManager[bool]:
        return nullcontext(False)

    def flush(self) -> None:
        if self._pending:
            self._say(self._process.stdout, b"".join(self._pending))
            self._pending, self._size = [], 0

    def _say(self, stream: asyncssh.SSHWriter[bytes], data: bytes) -> None:
        if self._gone():
            raise BrokenPipeError

        async def say() -> None:
            stream.write(data)
            await asyncio.wait_for(stream.drain(), self._patience)

        try:
            asyncio.run_coroutine_threadsafe(say(), self._loop).result()
        except (asyncssh.Error, ConnectionError, TimeoutError):
            raise BrokenPipeError from None
