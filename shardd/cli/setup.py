"""`shardd setup`: makes a clone fit for appending by hand. Everything it sets is in the clone's own configuration.

- user.name becomes the principal (an event whose author is somebody else is refused), user.email is filled in;
- leases, everybody's notes and one's own intents are fetched along with the spaces;
- notes are written to, and shown from, one's own notes ref;
- the commit-msg hook is installed. One that was there is kept, and runs before it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shardd.cli.clone import BRANCH, Clone, git
from shardd.cli.hook_types import tell_hook
from shardd.client.address import Remote, parse_url
from shardd.commands.result import Answer, Done, say
from shardd.core.names import check_principal
from shardd.core.refs import NOTES, refspecs
from shardd.errors import SharddError, Unavailable
from shardd.files import hook_install
from shardd.files.durable import write_atomic

_KEPT = "commit-msg.before-shardd"


@dataclass(frozen=True, slots=True)
class Setup:
    def answer_in(self, clone: Clone) -> Answer[Done]:
        me = _whoami(parse_url(clone.url))
        done = [*_identity(me), *_refspecs(me), *_notes(me), *_hook()]
        done += tell_hook(parse_url(clone.url), Path(_run("rev-parse", "--git-common-dir")).resolve())
        return say([f"set up for {me}", *(f"  {line}" for line in done)], {"principal": me, "done": list(done)})


def _whoami(remote: Remote) -> str:
    done = subprocess.run(remote.command(["whoami", "--json"]), stdout=subprocess.PIPE, text=True, check=False)
    try:
        return check_principal(json.loads(done.stdout)["principal"])
    except (ValueError, KeyError, TypeError, SharddError):
        raise Unavailable(f"{remote.destination} does not say who you are", "see what ssh said above") from None


def _identity(me: str) -> Iterator[str]:
    if git("config", "user.name") != me:
        _set("user.name", me)
        yield f"user.name is {me}"
    if not git("config", "user.email"):
        _set("user.email", f"{me}@shardd")
        yield f"user.email is {me}@shardd"


def _refspecs(me: str) -> Iterator[str]:
    branches = (git("for-each-ref", "--format=%(refname:lstrip=3)", f"refs/remotes/origin/{BRANCH}") or "").split()
    have = (git("config", "--get-all", "remote.origin.fetch") or "").split("\n")
    for refspec in refspecs((branch.removeprefix(BRANCH) for branch in branches), me, "origin"):
        if refspec not in have:
            _run("config", "--add", "remote.origin.fetch", refspec)
            yield f"fetches {refspec}"


def _notes(me: str) -> Iterator[str]:
    mine = NOTES.prefix + me
    if git("config", "core.notesRef") != mine:
        _set("core.notesRef", mine)
        yield f"notes go to {mine}"
    shown = f"{NOTES.prefix}origin/*"
    if shown not in (git("config", "--get-all", "notes.displayRef") or "").split("\n"):
        _run("config", "--add", "notes.displayRef", shown)
        yield "everybody's notes are shown by git log"


def _hook() -> Iterator[str]:
    folder = Path(_run("rev-parse", "--git-common-dir")).resolve() / "hooks"
    path = folder / "commit-msg"
    ours = hook_install.script("commit-msg")
    folder.mkdir(exist_ok=True)
    if not path.exists() or path.read_bytes() != ours:
        if path.exists() and b"shardd" not in path.read_bytes():
            path.rename(folder / _KEPT)
            yield f"your commit-msg hook is kept as {_KEPT}, and runs first"
        write_atomic(path, ours, mode=0o755)
        yield "the commit-msg hook checks and completes events"
    elsewhere = git("config", "core.hooksPath")
    if elsewhere and Path(elsewhere).expanduser().resolve() != folder:
        yield f"but git looks for hooks in {elsewhere}: run `git config core.hooksPath {folder}` if it should not"


def _set(name: str, value: str) -> None:
    _run("config", name, value)


def _run(*arguments: str) -> str:
    found = git(*arguments)
    if found is None:
        raise Unavailable(f"`git {' '.join(arguments)}` failed", "run it by hand to see why")
    return found
