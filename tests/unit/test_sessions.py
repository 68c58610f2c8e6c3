"""A session is held by the service that began it, and by nothing else: its connection may be gone before its end."""

from __future__ import annotations

import asyncio
import gc
from typing import Any, cast

from shardd.files.settings import Settings
from shardd.service.admission import Admission
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
    service = Service(nothing, Settings(), nothing, nothing, Admission(Settings()), nothing)
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
