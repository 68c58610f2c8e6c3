"""SIGSTOP for a while: whoever comes along, and whoever holds a lock, beside whom all other spaces must go on."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

from shardd.logs.decision_log import new_id
from shardd.logs.git_log import GitLog
from tests.attack.actors.life import a_draft
from tests.attack.history import How, told, tried
from tests.attack.nemeses.trouble import Trouble
from tests.attack.processes import Process, holders, running
from tests.attack.stage import PEOPLE, REPO, SPACES, space_of


def stops(trouble: Trouble) -> None:
    """For 50 to 3000 ms."""
    while not trouble.pause(0.7):
        everybody = running()
        candidates = [everybody[pid] for pid in trouble.victims if pid in everybody] + trouble.gits()
        server = trouble.server(everybody)
        if server is not None and trouble.chance.random() < 0.1:
            candidates = [server]
        if candidates:
            victim = trouble.chance.choice(candidates)
            trouble.history.note(act="stop", victim=[victim.pid, victim.name])
            _stopped(victim, trouble.chance.uniform(0.05, 3.0))


def _stopped(victim: Process, seconds: float) -> None:
    if victim.signal(signal.SIGSTOP):
        try:
            time.sleep(seconds)
        finally:
            victim.signal(signal.SIGCONT)


def held_up(trouble: Trouble) -> None:
    """Stop somebody who holds locks of one space, and append to another one before it goes on."""
    while not trouble.pause(2.0):
        holder = _catch(trouble)
        if holder is None:
            continue
        holder.signal(signal.SIGSTOP)
        try:
            locked = holders(trouble.stage.garden).get(holder.pid, set())
            names = {str(path.relative_to(trouble.stage.garden)) for path in locked}
            busy = {space for space in SPACES if any(space in re.split("[./]", name) for name in names)}
            others = [space for space in SPACES if space not in busy]
            if not busy or not others or any("@" in name for name in names):
                continue  # it holds what belongs to all, or has let go meanwhile
            trouble.history.note(act="stop a holder", victim=[holder.pid, holder.name], locks=sorted(names))
            _append(trouble, f"{REPO}/{trouble.chance.choice(others)}")
        finally:
            holder.signal(signal.SIGCONT)
            trouble.history.note(act="let it go on", victim=[holder.pid, holder.name])


def _catch(trouble: Trouble) -> Process | None:
    """Whoever comes to hold a lock in the garden first, the server aside: beside it nobody could be answered."""
    server = trouble.server()
    end = time.monotonic() + 2.0
    while time.monotonic() < end and not trouble.over():
        for pid in holders(trouble.stage.garden):
            if (server is not None and pid == server.pid) or not (pid in trouble.victims or _is_hook(pid)):
                continue
            everybody = running()
            if pid in everybody:
                return everybody[pid]
    return None


def _is_hook(pid: int) -> bool:
    try:
        return b"shardd.authority.hook_process" in (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False


def _append(trouble: Trouble, space: str) -> None:
    """Get the lease and append, by ways that need nobody else. Any answer will do but that somebody is in the way."""
    who = trouble.chance.choice(PEOPLE)
    call = trouble.history.call("lease", "operator", "host", verb="grant to go on", space=space, words=[who])
    granted = trouble.stage.host("lease", "grant", space, who, "--force", "--ttl", "60")
    how: How = "ok" if granted.ok else "failed" if granted.status == 3 else "refused"
    if how == "failed" and "another git holds" in granted.stderr:
        how = "unknown"  # one that cleans up, slowed by another trouble, and not who is stopped
    call.done(how, said=granted.stderr[-500:])
    id = new_id()
    log = GitLog(trouble.stage.garden, principal=who)
    call = trouble.history.call("append", who, "beside a stopped one", events={space: [(id, None, None)]})
    tried(
        call,
        lambda: log.append_many(space_of(space), [a_draft(who, id)]),
        lambda events: {"events": told(space, events)},
    )
