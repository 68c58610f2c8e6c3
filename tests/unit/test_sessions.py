"""What a session of the server stands on: who holds it, and when the end of what a client sends is one."""

from __future__ import annotations

import asyncio
import gc
from contextlib import nullcontext
from typing import Any, cast

import pytest

from shardd.files.settings import Settings
from shardd.service.admission import Admission
from shardd.service.channel import Process
from shardd.service.channel_io import ClientInput
from shardd.service.session import Service, Session


class Waiting:
    """Waits for what only it knows of."""

    def __init__(self, ended: list[str], *, fails: bool = False) -> None:
        self._ended = ended
        self._fails = fails

    async def run(self) -> None:
        try:
            mine = asyncio.get_running_loop().create_future()
            if self._fails:
                raise ValueError("a fault")
            await mine
        finally:
            self._ended.append("ended")


async def test_a_session_is_not_collected_while_it_runs() -> None:
    nothing = cast("Any", None)
    service = Service(nothing, nothing, Admission(Settings), nothing, nothing)
    ended: list[str] = []
    service.begin(cast("Session", Waiting(ended)))
    await asyncio.sleep(0)
    gc.collect()
    assert not ended
    (task,) = service.tasks
    task.cancel()
    service.begin(cast("Session", Waiting(ended, fails=True)))
    while service.tasks:
        await asyncio.sleep(0)
    assert ended == ["ended", "ended"]


@pytest.mark.parametrize("leaves", [False, True])
async def test_the_end_of_a_stream_counts_only_from_a_client_that_is_still_there(leaves: bool) -> None:
    """Who gives up sends an end, and then closes: the end alone may have been read so far."""
    asked: list[bytes] = []

    class Client:
        stdin = channel = property(lambda self: self)

        async def read(self, most: int) -> bytes:
            return b""

        async def _make_request(self, name: bytes) -> bool:
            asked.append(name)
            return False

        def is_closing(self) -> bool:
            return leaves and bool(asked)

    stream = ClientInput(cast("Process", Client()), asyncio.get_running_loop(), asyncio.Event())
    with pytest.raises(BrokenPipeError) if leaves else nullcontext():
        assert await asyncio.to_thread(stream.readinto, bytearray(10)) == 0
    assert len(asked) == 1
