"""Those who begin spaces: by the first append to a repo of their own, and by importing a whole log."""

from __future__ import annotations

from shardd.logs.decision_log import new_id
from shardd.logs.git_log import GitLog
from tests.attack.actors.appending import append
from tests.attack.actors.life import BATCH, Life
from tests.attack.stage import REPO, SHED, take_in


def first_append(life: Life) -> None:
    """Into a space that nobody made, in the shed; and to one that all share, where no lease is asked for."""
    log = GitLog(life.stage.shed)
    for _ in range(4 * life.operations):
        drafts = life.drafts(life.size())
        if life.chance.random() < 0.6:
            append(life, log, "shed", f"{SHED}/{new_id()}", drafts, "absent")
        else:
            append(life, log, "shed", f"{SHED}/shared", drafts)


def by_import(life: Life) -> None:
    """Two logs, each into a space of its own."""
    for _ in range(2):
        prefix = f"i-{new_id()}"
        take_in(life.stage, f"{REPO}/{prefix}", prefix, life.chance.choice([3, BATCH, 2 * BATCH]), who=None)
