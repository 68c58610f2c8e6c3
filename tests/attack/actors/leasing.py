"""Every lease call, over ssh and on the host; and a duel, in which leases end in the midst of pushes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tests.attack import answers
from tests.attack.actors.life import Life
from tests.attack.history import How
from tests.attack.stage import PEOPLE


def by_ssh(life: Life) -> None:
    """Nothing but lease calls."""
    for _ in range(2 * life.operations):
        by_way(life, life.space(), "ssh")


def by_host(life: Life) -> None:
    for _ in range(3 * life.operations):
        by_way(life, life.space(), "host")


def by_way(life: Life, space: str, way: str) -> How:
    """One call, of any kind; most often one that gets the lease."""
    chance = life.chance
    ttl = chance.choice(["1", "5", "60"])
    other = chance.choice(PEOPLE)
    fenced = ["--fenced"] if chance.random() < 0.2 else []
    asked = chance.choice(
        [
            *[["grant", space, life.who, "--force", "--ttl", "60"]] * 8,
            ["grant", space, life.who, "--force", "--ttl", ttl, *fenced],
            ["grant", space, other, "--ttl", ttl],
            ["acquire", space, "--ttl", ttl, *fenced],
            ["acquire", space, "--ttl", ttl, "--wait", "1"],
            ["transfer", space, other, "--ttl", ttl],
            ["release", space],
            ["renew", space, "--ttl", ttl],
            ["revoke", space, "--bar", chance.choice(["0", "1"])],
            ["show", space],
            ["history", space],
        ]
    )
    return ask(life, asked, "ssh" if way in ("ssh", "openssh") else "host")


def ask(life: Life, asked: list[str], way: str) -> How:
    """One lease call, kept."""
    call = life.history.call("lease", life.who, way, verb=asked[0], space=asked[1], words=asked[2:])
    words = ["lease", *asked, "--json"]
    result = life.ssh(" ".join(words)) if way == "ssh" else life.stage.host(*words, who=life.who)
    return answers.of_command(call, result, _told if asked[0] != "history" else _nothing)


def hand_over(life: Life, rivals: tuple[str, str]) -> None:
    """Give the lease to one, and to the other, at any moment of their pushes."""
    for _ in range(8 * life.operations):
        ask(life, ["grant", life.spaces[0], life.chance.choice(rivals), "--force", "--ttl", "60"], "host")
        time.sleep(life.chance.random() * 0.1)


def _told(value: dict[str, Any]) -> Mapping[str, object]:
    head = value["head"]
    return {"epoch": value["epoch"], "holder": value["holder"], "head": head and [head["seq"], head["oid"]]}


def _nothing(value: object) -> Mapping[str, object]:
    return {}
