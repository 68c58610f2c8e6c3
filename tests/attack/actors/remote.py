"""`RemoteLog`, which finds a server again that was killed. Who asks again with the same ids appends exactly once."""

from __future__ import annotations

from shardd.client.remote_log import RemoteLog
from shardd.errors import SharddError, Unavailable
from shardd.logs.decision_log import Ids, new_id
from tests.attack.actors import leasing
from tests.attack.actors.appending import append
from tests.attack.actors.life import Life
from tests.attack.history import told, tried
from tests.attack.stage import REPO, space_of


def by_remote_log(life: Life) -> None:
    with connect(life) as log:
        for _ in range(2 * life.operations):
            space = life.space()
            if life.chance.random() < 0.3:
                leasing.by_way(life, space, "ssh")
            if life.chance.random() < 0.3:
                forgetful(life, space)
            for _ in range(life.chance.randint(1, 3)):
                if append(life, log, "remote", space, life.drafts(life.size())) != "ok":
                    break


def forgetful(life: Life, space: str) -> None:
    """Append without an id of one's own. If nobody knows what became of it, the error has to tell the id to retry."""
    (draft,) = life.drafts(1)

    def job() -> dict[str, object]:
        with connect(life, ids=lambda: draft.id) as log:
            try:
                event = log.append(space_of(space), draft.type, draft.data, subject=draft.subject, actor=life.who)
            except Unavailable as error:
                if draft.id not in getattr(error, "ids", ()):
                    raise SharddError(f"whoever is told this cannot try again: {error}") from error
                raise
            return {"events": told(space, [event])}

    call = life.history.call("append", life.who, "forgetful", events={space: [(draft.id, None, None)]})
    how, _ = tried(call, job, lambda answer: answer)
    if how == "unknown":
        with connect(life) as log:
            append(life, log, "remote", space, [draft])


def connect(life: Life, *, ids: Ids = new_id) -> RemoteLog:
    actor = life.actor
    known = actor.home / "known_hosts"
    url = f"{life.stage.server.url}/{REPO}.git"
    return RemoteLog(url, key=actor.key, known_hosts=known, take_lease=True, ids=ids)
