"""Backups beside everything else, and killed ones; what they hold is restored now and then, and must be whole."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from shardd.files.server_dir import RESTORING
from shardd.logs.git_log import GitLog
from tests.attack.children import Child
from tests.attack.history import Call
from tests.attack.nemeses.trouble import Trouble
from tests.attack.stage import REPO, SPACES, shardd
from tests.e2e.harness import Result


def backups(trouble: Trouble) -> None:
    """One place, to which all go: none may be in the way of the next."""
    dest = trouble.stage.folder / "saved"
    while not trouble.pause(2.0):
        killed = trouble.chance.random() < 0.5
        began = trouble.history.call("backup", "operator", "host", killed=killed)
        # What was acknowledged before it began is in it, as for any reader.
        reads = [(s, trouble.history.call("read", "operator", "backup", space=f"{REPO}/{s}")) for s in SPACES]
        result = _run(trouble, ["backup", str(dest), "--dir", str(trouble.stage.server.root), "--json"], killed)
        if result is None:
            continue
        _judge(trouble, began.number, "backup", result)
        if result.ok and trouble.chance.random() < 0.25:
            _bring_back(trouble, dest, reads)


def _bring_back(trouble: Trouble, dest: Path, reads: list[tuple[str, Call]]) -> None:
    root = trouble.stage.folder / "restored"
    shutil.rmtree(root, ignore_errors=True)
    words = ["restore", str(dest), str(root), "--json"]
    if trouble.chance.random() < 0.3:
        if _run(trouble, words, True) is None:
            trouble.history.note(act="killed a restore")
        if not (root / RESTORING).exists():
            shutil.rmtree(root, ignore_errors=True)  # it has come to its end, told or not; else the next one clears it
    call = trouble.history.call("restore", "operator", "host")
    result = shardd(*words)
    _judge(trouble, call.number, "restore", result)
    left = [path.name for path in root.parent.glob(f".{root.name}.restoring-*") if (path / "host_keys").exists()]
    if result.ok:
        call = trouble.history.call("verify", "operator", "restored", left=left)
        verified = shardd("verify", "--dir", str(root), "--json")
        _judge(trouble, call.number, "verify", verified, "" if not left else f"host keys are left in {left}")
        log = GitLog(root / "repos" / f"{REPO}.git")
        for space, read in reads:
            head = log.head(space)
            read.done("ok", head=head and [head.seq, head.oid])
        fsck = trouble.stage.git(root / "repos" / f"{REPO}.git", "fsck", "--strict", "--full", "--no-dangling")
        if not fsck.ok:
            call = trouble.history.call("fsck", "operator", "restored")
            call.done("failed", said=f"{fsck.stdout}{fsck.stderr}"[-1500:])
    shutil.rmtree(root, ignore_errors=True)


def _run(trouble: Trouble, words: list[str], killed: bool) -> Result | None:
    """A command in a process of its own. killed: with all that it has started, at any moment; None if that hit it"""
    child = Child(lambda say: say(tuple(_said(shardd(*words)))))
    if killed:
        time.sleep(trouble.chance.random() ** 2 * 1.5)
        child.kill(group=True)
    ending = child.ends(group=True)
    if not ending.said:
        return None
    status, out, err = ending.said[0]
    return Result(status, out, err)


def _said(result: Result) -> tuple[int, str, str]:
    return result.status, result.stdout[-1200:], result.stderr[-1200:]


def _judge(trouble: Trouble, number: str, what: str, result: Result, also: str = "") -> None:
    """A backup, a restore and the proof of what came back have nothing that could refuse them."""
    fine = result.ok and not also
    said = "" if fine else f"{also} {result.stdout[-1200:]} {result.stderr[-1200:]}"
    trouble.history.note(done=number, how="ok" if fine else "failed", code=f"{what}-{result.status}", said=said)
