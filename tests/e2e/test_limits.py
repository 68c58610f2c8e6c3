"""The sizes that one push may have, on a server whose limits are small."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import begin
from tests.e2e.harness import Actor, Garden, Server

SETTINGS = "max-commit-bytes = 2000\nmax-push-events = 5\nmax-pack-bytes = 20000\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Path]) -> Iterator[Server]:
    server = begin(tmp_path_factory.mktemp("stage"), keys, settings=SETTINGS)
    yield server
    server.stop()
    server.fsck()


@pytest.fixture(autouse=True)
def alice_holds_the_lease(garden: Garden, alice: Actor) -> None:
    alice.clone(garden)
    alice.acquire(garden)


def test_an_event_of_too_many_bytes(garden: Garden, alice: Actor) -> None:
    alice.event("one", {"text": "x" * 2000})
    size = alice.git("cat-file", "-s", "HEAD")
    says = [f"commit {alice.head()[:12]} has {size} bytes; 2000 are allowed", "let the event point at it"]
    garden.refuses("too-large", alice, says=says)
    alice.git("reset", "--quiet", "--hard", "HEAD~1")
    room = 2000 - len(alice.git("cat-file", "commit", alice.event("one", {"text": ""}))) - 1
    alice.git("reset", "--quiet", "--hard", "HEAD~1")
    alice.event("one", {"text": "x" * room})
    assert alice.git("cat-file", "-s", "HEAD") == "2000"
    alice.push()
    alice.event("two", {"text": "x" * (room + 1)})
    garden.refuses("too-large", alice)


@pytest.mark.parametrize("many", [6, 80])
def test_too_many_events(garden: Garden, alice: Actor, many: int) -> None:
    for number in range(1, many + 1):
        alice.event(f"event/{number}")
    garden.refuses("too-large", alice, says=["at most 5 events", "in several steps"])
    alice.push("origin", f"HEAD~{many - 5}:spaces/whynot")
    assert garden.subjects() == [f"event/{number}" for number in range(1, 6)]


def test_too_big_a_pack(garden: Garden, alice: Actor) -> None:
    # What does not compress, so that the pack is as big as it looks.
    blob = alice.git("hash-object", "-w", "--stdin", input=random.Random(1).randbytes(60_000))
    assert int(alice.git("cat-file", "--batch-check=%(objectsize:disk)", input=blob.encode())) > 20_000
    alice.git("update-index", "--add", "--cacheinfo", f"100644,{blob},bulk")
    alice.event("one")
    before = garden.refs()
    answer = alice.tries_to_push()
    assert not answer.ok
    assert "shardd: too-large: an object of 60000 bytes; 20000 are allowed here" in answer.stderr
    assert garden.refs() == before
