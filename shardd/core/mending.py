"""Commands that mend commits which nobody has taken yet, in the clone of whoever made them.

Each is printed with a refusal and is meant to be run as it stands, with whatever configuration the reader's git has. An
event is an empty commit, and several of git's ways to rewrite history drop those without a word: `rebase.backend=apply`
does (the default before git 2.26), so what rebases names the other one, or has an option that only the other one knows.
"""

from __future__ import annotations

import re

from shardd.errors import BadEvent

REBASED = "`git -c rebase.backend=merge pull --rebase`"
"""What is not pushed yet put on top of what others have pushed; merges of the two are undone by it."""

_AMEND = "git commit --amend --allow-empty"
_SAFE = re.compile(r"[A-Za-z0-9._+@-]+\Z", re.ASCII)
_EMAIL = re.compile(rb"\nauthor [^<\n]*<([^>\n]*)>")
_WITHOUT_SIGNATURE = r"git cat-file commit HEAD | sed '1,/^$/d; /^-- *$/,{0}$d' | " + f"{_AMEND} -F -"


def each(command: str, short: str, *, last: bool) -> str:
    """A command that mends a commit by itself, for that one and all after it. last: there are none after it"""
    return f"`{command}`" if last else f'`git rebase --exec "{command}" {short}~1`'


def edited(short: str, *, last: bool, clean: bool = False) -> str:
    """Commands that open the message of a commit in the editor. clean: git tidies the ends of its lines besides"""
    config = " -c commit.cleanup=strip" if clean else ""
    if last:
        return f"`git{config} {_AMEND.removeprefix('git ')}`"
    # Not `reword`: for that git makes no empty commits.
    stop = f'`git -c sequence.editor="sed -i.old 1s/^[a-z]*/edit/" rebase -i {short}~1`'
    return f"{stop}, there `git{config} {_AMEND.removeprefix('git ')}`, then `git rebase --continue`"


def event(error: BadEvent, raw: bytes, short: str, me: str, *, last: bool) -> str:
    """What mends a commit of `me` that is no event."""
    match error.field:
        case "author":
            return renamed(raw, short, me, said=False, last=last)
        case "commit":
            return f"make it anew, without its headers: `git -c rebase.backend=merge rebase --no-ff {short}~1`"
        case "tree" if last:
            return f"take the files out, and keep them beside it: `git read-tree --empty`, then `{_AMEND} --no-edit`"
        case "tree":
            # Of later commits that change the files as well, none of it is taken.
            emptied = each(f"git read-tree --empty && {_AMEND} --no-edit", short, last=False)
            emptied = emptied.replace("git rebase", "git rebase -s ours --empty=keep", 1)
            return f"take the files out (they stay in ORIG_HEAD): {emptied}"
        case "encoding":
            return f"run `git config i18n.commitEncoding UTF-8`, then {each(f'{_AMEND} --no-edit', short, last=last)}"
        case "patch":
            signature = _WITHOUT_SIGNATURE.format("" if last else "\\")
            return f"{error.remedy}; here run {each(signature, short, last=last)}"
        case "message":
            return f"write it anew: {edited(short, last=last, clean=True)}"
        case _:
            how = error.remedy.removesuffix(".") or "mend it in the editor"
            return f"{how}: {edited(short, last=last)}"


def renamed(raw: bytes, short: str, me: str, *, said: bool, last: bool) -> str:
    """What makes `me` the actor of a commit by somebody else. said: it has a trailer that names that one"""
    match = _EMAIL.search(raw)
    found = match[1].decode("utf-8", "replace") if match else ""
    email = found if _SAFE.match(found) else f"{me}@shardd"
    quote = '"' if last else "'"
    # Above all configuration, and above the environment.
    amend = f"{_AMEND} --no-edit --author={quote}{me} <{email}>{quote}"
    if said:
        amend = f"{amend.replace('git', 'git -c trailer.ifExists=replace', 1)} --trailer {quote}Actor: {me}{quote}"
    return (
        f"run `git config user.name {me}` (if GIT_AUTHOR_NAME or author.name is set, that comes first: unset it), "
        f"then {each(amend, short, last=last)}"
    )


def dropped(short: str) -> str:
    """What takes one commit away, and keeps those after it."""
    return f"`git -c rebase.backend=merge rebase --onto {short}~1 {short}`"


def taken_along(oid: str, space: str) -> str:
    """What brings an event from another history onto the log of a space."""
    return (
        f"take the event along: `git fetch origin spaces/{space}`, `git switch --detach FETCH_HEAD`, "
        f"`git cherry-pick --allow-empty {oid[:12]}`, `git push origin HEAD:spaces/{space}`"
    )
