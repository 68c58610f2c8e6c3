"""Readers: near, in a clone, and far away. None may ever see less than what was acknowledged before it asked."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from shardd.core.event import Event, Head
from shardd.logs.decision_log import DecisionLog
from shardd.logs.git_log import GitLog
from shardd.wiki.space import InformationSpace
from tests.attack.actors.life import PATIENCE, Life, seen
from tests.attack.actors.remote import connect
from tests.attack.answers import of_command
from tests.attack.history import How, tried
from tests.attack.stage import space_of
from tests.e2e.harness import run


def near(life: Life) -> None:
    """head, events, at and the commands that only show, in the server's own repo."""
    log = GitLog(life.stage.garden)
    while not life.over():
        time.sleep(life.chance.random() * 0.1)
        space = life.space()
        look = life.chance.choice([_head, _tail, _at])
        look(life, log, space, "near")
        if life.chance.random() < 0.3:
            command = life.chance.choice([["space", "show", space], ["lease", "show", space]])
            call = life.history.call("read", life.who, "host", space=space, words=command)
            of_command(call, life.stage.host(*command, "--json"), _shown)


def clones(life: Life) -> None:
    """Fetch and fold, in a clone that is kept."""
    clone = life.actor.home / "clone"
    if not clone.exists() and not _fetched(life, ["clone", "--quiet", _source(life), str(clone)]):
        shutil.rmtree(clone, ignore_errors=True)
        return
    while not life.over():
        space = life.space()
        if _fetched(life, ["-C", str(clone), "fetch", "--quiet", _source(life), "+refs/heads/*:refs/remotes/origin/*"]):
            log = GitLog(clone)
            _tail(life, log, space, "clone", current=False)
            if life.chance.random() < 0.2:
                _fold(life, space, clone)
        time.sleep(life.chance.random())


def far(life: Life) -> None:
    with connect(life) as log:
        while not life.over():
            life.chance.choice([_head, _tail])(life, log, life.space(), "far")
            time.sleep(life.chance.random() * 0.2)


def _source(life: Life) -> str:
    return life.chance.choice([f"{life.stage.server.url}/garden.git", str(life.stage.garden)])


def _fetched(life: Life, words: list[str]) -> bool:
    call = life.history.call("fetch", life.who, "git", words=words[-2:])
    version = life.chance.choice(["0", "1", "2"])
    result = run(
        ["git", "-c", f"protocol.version={version}", *words],
        cwd=life.actor.home,
        env=life.actor.env(),
        patience=PATIENCE,
    )
    call.done("ok" if result.ok else "unknown", said=result.stderr[-1000:])
    return result.ok


def _head(life: Life, log: DecisionLog, space: str, way: str) -> How:
    call = life.history.call("read", life.who, way, space=space, what="head")
    return tried(call, lambda: log.head(space_of(space)), seen)[0]


def _tail(life: Life, log: DecisionLog, space: str, way: str, *, current: bool = True) -> How:
    """The newest events. current: whether all that was acknowledged must be there"""
    call = life.history.call("read" if current else "glance", life.who, way, space=space, what="events")

    def look() -> Head | None:
        head = log.head(space_of(space))
        if head is None:
            return None
        found = list(log.events(space_of(space), after=max(0, head.seq - life.chance.choice([3, 100, 500]))))
        _in_a_row(found, head)
        return Head(found[-1].seq, found[-1].oid) if found else head

    return tried(call, look, seen)[0]


def _at(life: Life, log: GitLog, space: str, way: str) -> None:
    """The state at some point of the past."""
    head = life.head(space)
    if head is None or head.seq < 1:
        return
    point = life.chance.randint(1, min(head.seq, 200))
    call = life.history.call("read", life.who, way, space=space, what=f"at {point}")
    tried(call, lambda: InformationSpace(space_of(space), store=log, actor=life.who).at(point), lambda _: {})


def _fold(life: Life, space: str, clone: Path) -> None:
    call = life.history.call("read", life.who, "clone", space=space, what="fold")
    tried(call, lambda: InformationSpace.git_backed(space_of(space), clone).state, lambda _: {})


def _in_a_row(found: list[Event], head: Head) -> None:
    """What is read in one go has no gap, and reaches the head that was seen before."""
    numbers = [event.seq for event in found]
    if numbers and (numbers != list(range(numbers[0], numbers[-1] + 1)) or numbers[-1] < head.seq):
        raise AssertionError(f"{len(found)} events {numbers[0]} to {numbers[-1]}, with gaps or before {head.seq}")
    if not numbers and head.seq > 0:
        raise AssertionError(f"no events before {head}")


def _shown(value: dict[str, object]) -> dict[str, object]:
    head = value.get("head", value)
    assert isinstance(head, dict)
    return {"head": [head["seq"], head["oid"]]}
