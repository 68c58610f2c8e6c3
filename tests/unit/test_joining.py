"""Between a client and its git: what comes is passed on to its end, and a push is ended or decided, never both."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, cast

import pytest

from shardd.errors import Rejected, SharddError, Unavailable
from shardd.service.channel_io import to_child
from shardd.service.push_stage import Stage

if TYPE_CHECKING:
    from shardd.service.channel import Process


class Client:
    """Sends these pieces, and then the end."""

    def __init__(self, *pieces: bytes) -> None:
        self.stdin = self
        self._pieces = list(pieces)

    async def read(self, most: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def test_all_that_is_sent_arrives_and_then_the_end() -> None:
    sent = [b"x" * 60_000, b"y" * 60_000, b"z"]
    seen: list[bytes] = []
    moves: list[None] = []

    async def pass_on() -> bytes:
        ours, theirs = os.pipe()
        refused: asyncio.Future[SharddError] = asyncio.get_running_loop().create_future()
        reading = asyncio.create_task(asyncio.to_thread(everything, ours))
        client = cast("Process", Client(*sent))
        await to_child(client, theirs, seen.append, refused, lambda: moves.append(None))
        assert not refused.done()
        return await reading

    assert asyncio.run(pass_on()) == b"".join(sent) == b"".join(seen)
    assert len(moves) == 2 * len(sent)


def test_of_what_is_refused_nothing_arrives_and_no_end_either() -> None:
    async def pass_on() -> str:
        ours, theirs = os.pipe()
        refused: asyncio.Future[SharddError] = asyncio.get_running_loop().create_future()

        def refuse(data: bytes) -> None:
            raise Rejected("too-large", "no")

        passing = asyncio.create_task(to_child(cast("Process", Client(b"x")), theirs, refuse, refused, lambda: None))
        error = await refused
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 1)
        passing.cancel()
        await asyncio.gather(passing, return_exceptions=True)
        os.close(ours)
        return error.message

    assert asyncio.run(pass_on()) == "no"


def everything(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


def test_a_push_that_was_ended_decides_nothing_and_one_that_decides_is_not_ended() -> None:
    ended = Stage()
    assert ended.end()
    with pytest.raises(Unavailable, match="the push was ended"):
        ended.decide()
    deciding = Stage()
    deciding.decide()
    assert not deciding.end()
    deciding.decide()
