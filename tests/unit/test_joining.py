"""Between a client and its git: what comes is passed on to its end, and a push is ended or decided, never both."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from shardd.commands.git_request import GitRun
from shardd.errors import Rejected, SharddError, Unavailable
from shardd.files.bounds import Bounds
from shardd.service import joining
from shardd.service.channel_io import to_child
from shardd.service.children import Children
from shardd.service.joining import Lasting, join
from shardd.service.push_stage import Stage

if TYPE_CHECKING:
    from shardd.service.channel import Process

EVER = Lasting(3600.0, 3600.0)


class Client:
    """Sends these pieces, and then the end; hears all that it is told. leaves: once it has heard something"""

    def __init__(self, *pieces: bytes, leaves: bool = False) -> None:
        self.stdin = self.stdout = self.stderr = self
        self.heard = b""
        self.looks = 0
        self._pieces = list(pieces)
        self._leaves = leaves

    async def read(self, most: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def write(self, data: bytes) -> None:
        self.heard += data

    async def drain(self) -> None:
        pass

    def is_closing(self) -> bool:
        self.looks += 1
        return self._leaves and bool(self.heard)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[Children]:
    monkeypatch.setattr(joining, "_LOOK", 0.01)
    children = Children(lambda: Bounds(memory=2**33, cpu=60))
    yield children
    assert children._guard is not None
    os.close(children._guard)  # which ends with it


async def joined(
    children: Children,
    folder: Path,
    script: str,
    client: Client,
    *,
    stage: Stage | None = None,
    lasting: Lasting = EVER,
    most: int = 2**20,
) -> int:
    """`sh -c SCRIPT` in place of git."""
    run = GitRun(("/bin/sh", "-c", script), {"PATH": os.environ["PATH"], "FOLDER": str(folder)}, folder)
    with children.started(run, relay=False) as (child, _):
        asked = joining.Asked(most)
        return await join(children, cast("Process", client), child, asked.feed, stage or Stage(), lasting)


async def test_all_that_is_sent_arrives_and_then_the_end() -> None:
    sent = [b"x" * 60_000, b"y" * 60_000, b"z"]
    seen: list[bytes] = []
    moves: list[None] = []
    ours, theirs = os.pipe()
    refused: asyncio.Future[SharddError] = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(asyncio.to_thread(everything, ours))
    await to_child(cast("Process", Client(*sent)), theirs, seen.append, refused, lambda: moves.append(None))
    assert not refused.done()
    assert await reading == b"".join(sent) == b"".join(seen)
    assert len(moves) == 2 * len(sent)


async def test_of_what_is_refused_nothing_arrives_and_no_end_either() -> None:
    ours, theirs = os.pipe()
    refused: asyncio.Future[SharddError] = asyncio.get_running_loop().create_future()

    def refuse(data: bytes) -> None:
        raise Rejected("too-large", "no")

    passing = asyncio.create_task(to_child(cast("Process", Client(b"x")), theirs, refuse, refused, lambda: None))
    assert (await refused).message == "no"
    os.set_blocking(ours, False)
    with pytest.raises(BlockingIOError):
        os.read(ours, 1)
    passing.cancel()
    await asyncio.gather(passing, return_exceptions=True)
    os.close(ours)


def everything(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


async def test_a_git_that_comes_to_its_end_says_all_and_how_it_ended(children: Children, tmp_path: Path) -> None:
    client = Client(b"one ", b"two")
    assert await joined(children, tmp_path, "cat; exit 3", client) == 3
    assert client.heard == b"one two"
    assert await joined(children, tmp_path, "kill -KILL $$", Client()) == 128 + 9


@pytest.mark.parametrize(
    ("lasting", "why"), [(Lasting(0.0, None), "git has taken more than"), (Lasting(3600.0, 0.0), "no byte has moved")]
)
async def test_a_git_that_takes_too_long_is_ended(
    children: Children, tmp_path: Path, lasting: Lasting, why: str
) -> None:
    with pytest.raises(Unavailable, match=why):
        await joined(children, tmp_path, "exec sleep 3600", Client(), lasting=lasting)
    assert not children._running


async def test_a_git_is_ended_for_what_its_client_sends(children: Children, tmp_path: Path) -> None:
    client = Client(b"x" * 10, b"x" * 10)
    with pytest.raises(Rejected, match="at most 15 bytes") as caught:
        await joined(children, tmp_path, "cat; echo the end", client, most=15)
    assert caught.value.code == "too-large"
    assert b"the end" not in client.heard, "it is ended before it could take the end of its input for the client's"


async def test_a_client_that_leaves_ends_its_git_but_no_push_that_decides(children: Children, tmp_path: Path) -> None:
    wait = "trap 'exit 7' TERM; echo ready; while [ ! -e $FOLDER/go ]; do sleep 0.01; done; exit 0"
    assert await joined(children, tmp_path, wait, Client(leaves=True)) == 7
    stage, client = Stage(), Client(leaves=True)
    stage.decide()
    going = asyncio.create_task(joined(children, tmp_path, wait, client, stage=stage))
    while client.looks < 2:
        await asyncio.sleep(0.01)
    (tmp_path / "go").touch()
    assert await going == 0


def test_a_push_that_was_ended_decides_nothing_and_one_that_decides_is_not_ended() -> None:
    ended = Stage()
    assert ended.end()
    with pytest.raises(Unavailable, match="the push was ended"):
        ended.decide()
    deciding = Stage()
    deciding.decide()
    assert not deciding.end()
    deciding.decide()
