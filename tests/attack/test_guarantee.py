"""The promise of a lease, attacked; see campaign.py. `ops/soak` runs it for long."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.campaign import Campaign
from tests.attack.stage import Stage, build

SEED = "SHARDD_ATTACK_SEED"
ROUNDS = "SHARDD_ATTACK_ROUNDS"
SECONDS = "SHARDD_ATTACK_SECONDS"
given = {name: os.environ[name] for name in (SEED, ROUNDS, SECONDS) if name in os.environ}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = build(tmp_path)
    yield stage
    stage.close()
    said = stage.server.log.read_text()
    assert "Traceback" not in said, said[-3000:]


def fight(stage: Stage, rounds: int, seconds: float | None = None) -> Campaign:
    campaign = Campaign(stage, int(given.get(SEED, secrets.randbelow(10**9))))
    done = campaign.run(rounds=rounds, seconds=seconds)
    print(f"{done} rounds, seed {campaign.seed}")
    print(*(f"{count:6}  {what}" for what, count in sorted(campaign.counts.items())), sep="\n")
    assert campaign.counts["event"], "nobody ever appended"
    if done >= 100:
        ways = ("ssh", "path", "log", *(["openssh"] if stage.openssh else []))
        assert all(campaign.counts[f"pushed by {way}"] for way in ways)
    assert campaign.counts["epoch"], "no lease was ever granted"
    return campaign


def test_a_few_rounds(stage: Stage) -> None:
    fight(stage, 4)


@pytest.mark.slow
def test_two_hundred_rounds(stage: Stage) -> None:
    seconds = float(given[SECONDS]) if SECONDS in given else None
    campaign = fight(stage, int(given.get(ROUNDS, "1000000" if seconds else "200")), seconds)
    died = {name for name in campaign.counts if name.startswith("killed: ")}
    assert {"killed: shot", "killed: server, shot"} <= died
    if campaign.counts["round"] < 100:
        return
    # Not every point is met in every campaign, but a seam that nobody meets any more would go unnoticed.
    for who in ("server", "hook", "log"):
        assert len([name for name in died if name.startswith(f"killed: {who} at")]) >= 6, died
