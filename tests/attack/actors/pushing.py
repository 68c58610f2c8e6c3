"""Stock `git push`, by our server, by sshd, or by a local path: few events or 130, into one space or several."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from dulwich.objects import Commit, ShaFile

from shardd.core.append import encode_batch
from shardd.core.event import Head
from shardd.core.names import space_ref
from shardd.storage.seams import VARIABLE
from tests.attack import answers
from tests.attack.actors import leasing
from tests.attack.actors.life import PATIENCE, Life
from tests.attack.history import Batches, How
from tests.attack.stage import REPO, space_of
from tests.e2e.harness import run


def by_ssh(life: Life) -> None:
    _live(life, "ssh")


def by_openssh(life: Life) -> None:
    _live(life, "openssh")


def by_path(life: Life) -> None:
    _live(life, "path")


def rival(life: Life) -> None:
    """Push, and push again, whoever holds the lease."""
    for _ in range(2 * life.operations):
        push(life, "ssh", [life.spaces[0]])


def _live(life: Life, way: str) -> None:
    for _ in range(life.operations):
        several = len(life.spaces) > 1 and life.chance.random() < 0.25
        spaces = life.chance.sample(life.spaces, life.chance.randint(2, min(3, len(life.spaces)))) if several else []
        spaces = spaces or [life.space()]
        if life.chance.random() < 0.5:
            for space in spaces:
                leasing.by_way(life, space, way)
        for _ in range(life.chance.randint(1, 3)):
            if push(life, way, spaces) != "ok":
                break


def push(life: Life, way: str, spaces: Sequence[str]) -> How | None:
    """One push of new events into all of these; None if there is nothing to push onto."""
    batches: Batches = {}
    refs: list[str] = []
    for space in spaces:
        head = life.head(space)
        if head is None:
            return None
        batch, tip = _prepare(life, head)
        batches = {**batches, space: batch}
        # A plus: it is the server that says whether it fits, not what this client believes.
        refs.append(f"{'+' if len(spaces) > 1 or life.chance.random() < 0.3 else ''}{tip}:{space_ref(space_of(space))}")
    options = ["--atomic"] if len(spaces) > 1 and life.chance.random() < 0.5 else []
    if life.chance.random() < 0.4:
        options += ["-o", "lease=acquire"]
    env: dict[str, str] = {}
    target = str(life.stage.garden)
    if way == "path":
        env = {"SHARDD_PRINCIPAL": life.who, **({VARIABLE: life.kill_at} if life.kill_at else {})}
    else:
        server = life.stage.openssh if way == "openssh" else life.stage.server
        assert server is not None
        target = f"{server.url}/{REPO}.git"
        if len(spaces) == 1 and life.chance.random() < 0.2:
            target = f"{server.url}/{spaces[0]}.git"
    call = life.history.call("push", life.who, way, events=batches, options=options)
    words = ["git", "push", "--porcelain", *options, target, *refs]
    return answers.of_push(call, run(words, cwd=life.actor.cwd, env=life.actor.env(env), patience=PATIENCE))


def _prepare(life: Life, head: Head) -> tuple[list[tuple[str, int | None, str | None]], str]:
    """Events on that head, in the pusher's own repo: what they are, and the last commit."""
    if life.chance.random() < 0.35:
        return _by_hand(life, head)
    drafts = life.drafts(life.size())
    commits = encode_batch(drafts, head, epoch=None)
    for oid, raw in commits:
        _write_object(life.actor.cwd, oid, raw)
    placed = zip(drafts, commits, strict=True)
    return [(draft.id, head.seq + i, oid) for i, (draft, (oid, _)) in enumerate(placed, 1)], commits[-1][0]


def _at_home(life: Life, *words: str) -> str:
    """What a git of the pusher's own says, on his side alone. Whoever kills gits at random may kill it too."""
    while (done := life.actor.try_git(*words)).status == -signal.SIGKILL:
        pass
    return done.must().stdout.strip()


def _by_hand(life: Life, head: Head) -> tuple[list[tuple[str, int | None, str | None]], str]:
    """As `git commit -m` makes them, without a trailer; such an event's id is its commit's."""
    subject = life.chance.choice(["page.bound: Home", "note"])
    if life.odd and life.chance.random() < 0.5:
        subject = life.chance.choice(["Seq: 1", "Lease-Epoch: 1", "Seq: 99999"])
    tree = _at_home(life, "hash-object", "-t", "tree", "-w", "/dev/null")
    oid = _at_home(life, "commit-tree", tree, "-p", head.oid, "-m", subject)
    return [(oid, head.seq + 1, oid)], oid


def _write_object(repository: Path, oid: str, raw: bytes) -> None:
    path = repository / "objects" / oid[:2] / oid[2:]
    path.parent.mkdir(exist_ok=True)
    draft = path.with_name(f"tmp_obj_{os.getpid()}")
    draft.write_bytes(ShaFile.from_raw_string(Commit.type_num, raw).as_legacy_object())
    draft.rename(path)
