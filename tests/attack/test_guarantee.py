"""The promise, attacked; see campaign.py. `ops/soak` runs it for long."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.campaign import CAST, DEAR, NEMESES, OTHERS, Campaign
from tests.attack.stage import Stage, build

SEED = "SHARDD_ATTACK_SEED"
ROUNDS = "SHARDD_ATTACK_ROUNDS"
SECONDS = "SHARDD_ATTACK_SECONDS"
EVENTS = "SHARDD_ATTACK_EVENTS"
WITHOUT = "SHARDD_ATTACK_WITHOUT"
PARTS = (*CAST, DEAR, *NEMESES, *OTHERS)
given = {name: os.environ[name] for name in (SEED, ROUNDS, SECONDS, EVENTS, WITHOUT) if name in os.environ}


def fight(stage: Stage, rounds: int, seconds: float | None = None, operations: int = 4) -> Campaign:
    without = [word for word in given.get(WITHOUT, "").split(",") if word]
    assert set(without) <= set(PARTS), f"{WITHOUT} takes {', '.join(PARTS)}"
    campaign = Campaign(stage, int(given.get(SEED, secrets.randbelow(10**9))), without, operations)
    try:
        done = campaign.run(rounds=rounds, seconds=seconds)
        print(f"{done} rounds, seed {campaign.seed}")
    finally:
        print(*(f"{count:6}  {what}" for what, count in sorted(campaign.counts.items())), sep="\n")
    return campaign


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Stage]:
    stage = build(tmp_path, events=50)
    yield stage
    stage.close()


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Stage]:
    stage = build(tmp_path, events=int(given.get(EVENTS, "60000")))
    yield stage
    stage.close()


def test_one_round(small: Stage) -> None:
    fight(small, 1, operations=1)


@pytest.mark.slow
def test_a_long_campaign(large: Stage) -> None:
    seconds = float(given[SECONDS]) if SECONDS in given else None
    campaign = fight(large, int(given.get(ROUNDS, "1000000" if seconds else "200")), seconds)
    if campaign.counts["round"] < 100 or campaign.without:
        return
    # Not everything is met in every campaign, but what nobody does any more would go unnoticed.
    did = {name for name, count in campaign.counts.items() if count}
    for way in ("ssh", "path", *(["openssh"] if large.openssh else [])):
        assert f"push by {way}: ok" in did
    for way in ("log", "remote", "lines", "shed", "beside a stopped one"):
        assert f"append by {way}: ok" in did
    assert {"act: kill client", "act: kill client with its gits", "act: kill git", "act: kill server"} <= did
    for who in ("git log", "server"):
        # A seam that nobody meets any more would go unnoticed.
        assert len([name for name in did if name.startswith(f"killed: {who}, to die")]) >= 6, did
    assert {"backup by host: ok", "restore by host: ok", "verify by restored: ok", "import by host: ok"} <= did
