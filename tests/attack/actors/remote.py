"""`RemoteLog`, which finds a server again that was killed. Who asks again with the same ids appends exactly once."""

from __future__ import annotations

from shardd.client.remote_log import RemoteLog
from tests.attack.actors import leasing
from tests.attack.actors.appending import append
from tests.attack.actors.life import Life
from tests.attack.stage import REPO


def by_remote_log(life: Life) -> None:
    with connect(life) as log:
        for _ in range(life.operations):
            space = life.space()
            if life.chance.random() < 0.3:
                leasing.by_way(life, space, "ssh")
            for _ in range(life.chance.randint(1, 3)):
                if append(life, log, "remote", space, life.drafts(life.size())) != "ok":
                    break


def connect(life: Life) -> RemoteLog:
    actor = life.actor
    known = actor.home / "known_hosts"
    return RemoteLog(f"{life.stage.server.url}/{REPO}.git", key=actor.key, known_hosts=known, take_lease=True)
