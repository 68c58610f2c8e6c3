"""`shardd setup`: makes a clone fit for appending by hand. All that it sets is in the clone's own configuration.

- user.name becomes the principal (an event whose author is somebody else is refused), user.email is filled in;
- the remote is marked as shardd's, so that commands may be sent to it (cli/which_server.py);
- leases, everybody's notes and one's own intents are fetched along with the spaces;
- notes are written to, and shown from, one's own notes ref;
- pulls rebase, by the backend that keeps empty commits; `git event` commits one; no commit graph is trusted, which
  cannot hold every time; if asked for, a push takes a free lease by itself;
- the commit-msg hook is installed. One that was there is kept, and runs before it.

What was there before is noted (cli/setup_changes.py), so that `--undo` brings it back.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shardd.cli.clone import Clone, folder_of, git, settings
from shardd.cli.hook_types import forget, tell_hook
from shardd.cli.setup_changes import Changes
from shardd.cli.user_config import UserConfig
from shardd.client.address import Remote, parse_url
from shardd.commands.grammar import Words
from shardd.commands.result import Answer, Done, say
from shardd.core.names import check_principal
from shardd.core.refs import NOTES, SPACES, refspecs
from shardd.errors import Misuse, SharddError, Unavailable
from shardd.git.place import CHOSEN, Remotes

_EVENT = "commit --allow-empty"


@dataclass(frozen=True, slots=True)
class Setup:
    """remote: the server's, None for the one that the branch tracks; take_lease: a push is to take a free lease"""

    remote: str | None
    take_lease: bool
    undo: bool

    def answer(self) -> Answer[Done]:
        return _undone() if self.undo else self._set_up(Clone.here(self.remote))

    def _set_up(self, clone: Clone) -> Answer[Done]:
        server = UserConfig.load().reached(parse_url(clone.url))
        me = _whoami(server)
        changes = Changes.of(clone.folder)
        remotes = Remotes.of(settings())
        done = [
            *_identity(changes, me),
            *_refspecs(changes, remotes, clone, me),
            *_remote(changes, clone),
            *_notes(changes, clone, me),
            *_history(changes, remotes, clone),
            *_pushing(changes, remotes, ask=self.take_lease),
            *_hook(changes, clone),
            *tell_hook(server, clone.folder),
        ]
        return say([f"set up for {me}", *(f"  {line}" for line in done)], {"principal": me, "done": list(done)})


def add(words: Words) -> None:
    about = "make this clone fit for appending by hand: name, refspecs, notes, rebases, hook"
    parser = words.command("setup", Setup, about)
    parser.add_argument("--remote", metavar="NAME", help="the server's, where the branch does not say")
    parser.add_argument("--take-lease", action="store_true", help="have plain `git push` take a free lease by itself")
    parser.add_argument("--undo", action="store_true", help="bring back what was there before")


def _undone() -> Answer[Done]:
    folder = folder_of(".")
    if folder is None:
        raise Misuse("this is no repository", "run this in the clone that was set up")
    forget(folder)
    done = list(Changes.of(folder).undo())
    said = ["undone; what was fetched stays", *(f"  {line}" for line in done)] if done else ["there is nothing to undo"]
    return say(said, {"undone": list(done)})


def _whoami(remote: Remote) -> str:
    said = remote.answer(["whoami", "--json"])
    try:
        return check_principal(json.loads(said)["principal"])
    except (ValueError, KeyError, TypeError, RecursionError, SharddError):
        raise Unavailable(f"{remote.destination} does not say who you are", "see what ssh said above") from None


def _remote(changes: Changes, clone: Clone) -> Iterator[str]:
    changes.set(f"remote.{clone.fetching.remote}.shardd", "true")
    if changes.set(CHOSEN, clone.fetching.remote):
        yield f"the server is the remote {clone.fetching.remote}"


def _identity(changes: Changes, me: str) -> Iterator[str]:
    if changes.set("user.name", me):
        yield f"user.name is {me}"
    if git("config", "author.name") not in (None, me) and changes.set("author.name", me):
        yield f"author.name is {me}"
    if not git("config", "user.email"):
        changes.set("user.email", f"{me}@shardd")
        yield f"user.email is {me}@shardd"
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL"):
        if name in os.environ and (name.endswith("EMAIL") or os.environ[name] != me):
            yield f"but {name} is set, and comes first: run `unset {name}`"


def _refspecs(changes: Changes, remotes: Remotes, clone: Clone, me: str) -> Iterator[str]:
    remote = clone.fetching.remote
    elsewhere = {
        refspec.partition(":")[2]: name
        for name, each in remotes.all.items()
        for refspec in each.refspecs
        if name != remote
    }
    for refspec in refspecs(clone.spaces(), me, remote):
        other = elsewhere.get(refspec.partition(":")[2])
        if other is not None:
            yield f"does not fetch {refspec}: {other} is fetched to there"
        elif changes.add(f"remote.{remote}.fetch", refspec):
            yield f"fetches {refspec}"


def _notes(changes: Changes, clone: Clone, me: str) -> Iterator[str]:
    mine = NOTES.prefix + me
    if changes.set("core.notesRef", mine):
        yield f"notes go to {mine}"
    assert NOTES.fetched is not None
    shown = NOTES.fetched.partition(":")[2].format(remote=clone.fetching.remote)
    if changes.add("notes.displayRef", shown):
        yield "everybody's notes are shown by git log"


def _history(changes: Changes, remotes: Remotes, clone: Clone) -> Iterator[str]:
    if changes.set("rebase.backend", "merge"):
        yield "rebases keep empty commits"
    rebased = [name for name in _branches(remotes, clone.spaces()) if _rebases(changes, name)]
    if rebased:
        yield f"pulls on {', '.join(rebased)} rebase"
    encoding = git("config", "i18n.commitEncoding")
    if encoding and not re.fullmatch("utf-?8", encoding, re.IGNORECASE):
        changes.set("i18n.commitEncoding", "UTF-8")
        yield "commits are in UTF-8"
    if changes.set("core.commitGraph", "false"):
        yield "no commit graph is trusted: it holds no time after 2514"


def _branches(remotes: Remotes, spaces: Iterable[str]) -> list[str]:
    """Those of all spaces, which are set before they are checked out, and whatever tracks one."""
    named = {f"{SPACES.removeprefix('refs/heads/')}{space}" for space in spaces}
    return sorted(named | {name for name, (_, ref) in remotes.tracked.items() if ref and ref.startswith(SPACES)})


def _rebases(changes: Changes, branch: str) -> bool:
    return git("config", f"branch.{branch}.rebase") in (None, "false") and changes.set(
        f"branch.{branch}.rebase", "true"
    )


def _pushing(changes: Changes, remotes: Remotes, *, ask: bool) -> Iterator[str]:
    option = "lease=acquire"
    takes = option in (git("config", "--get-all", "push.pushOption") or "").split("\n")
    if ask and not takes:
        changes.add("push.pushOption", option)
        yield "plain `git push` takes a free lease by itself"
        if len(remotes.all) > 1:
            yield "but git says so to every remote: to one that takes no options push with `-c push.pushOption=`"
    alias = git("config", "alias.event")
    if alias not in (None, _EVENT):
        yield f"but `git event` is yours already: {alias}"
    elif changes.set("alias.event", _EVENT):
        yield "`git event -m TYPE` commits an event"
        if not (ask or takes):
            yield "`shardd setup --take-lease` has plain `git push` take a free lease by itself"


def _hook(changes: Changes, clone: Clone) -> Iterator[str]:
    looked = Path(git("rev-parse", "--path-format=absolute", "--git-path", "hooks") or "")
    own = clone.folder.resolve() in looked.resolve().parents
    folder = looked if own else clone.folder / "hooks"
    yield from changes.hook(folder)
    if not own:
        yield f"but git looks for hooks in {looked}: run `git config core.hooksPath {folder}` if it should not"
