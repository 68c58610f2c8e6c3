"""Which server a command is for, where none is named.

A clone may be of anybody's server, which is asked only if `shardd setup` or the user has named its remote as shardd's:
`remote.NAME.shardd`, or `shardd.remote`, in git's configuration; or by the default server of her own (user_config.py).
"""

from __future__ import annotations

import sys
from dataclasses import replace

from shardd.cli.clone import Clone, git
from shardd.cli.user_config import UserConfig
from shardd.client.address import Remote, parse_url
from shardd.errors import Misuse


def of_here() -> Remote:
    """The server to ask from here; Misuse, with what mends it, if there is none."""
    config = UserConfig.load()
    try:
        clone = Clone.here()
        name, remote = _remote(clone)
    except Misuse:
        default = config.default()
        if default is None:
            raise
        return default
    remote = replace(remote, space=clone.space)
    named = git("config", "--type=bool", "--get", f"remote.{name}.shardd")
    if named == "true" or git("config", "--get", "shardd.remote") == name or config.means(remote):
        return config.reached(remote)
    if (default := config.default()) is not None:
        return default
    if named is None and _agreed(name, remote):
        mark(name)  # said once, it is not asked again
        return remote
    raise Misuse(
        f"whether {remote.destination}, the remote {name} of this clone, is a server of shardd is for you to say",
        f"run `shardd setup`, or `git config remote.{name}.shardd true`; or name another: `--server URL`",
    )


def mark(name: str) -> None:
    """Let this clone ask the remote `name` from now on."""
    git("config", f"remote.{name}.shardd", "true")


def name_of(url: str) -> str:
    """The remote of this clone that has the address."""
    names = (git("remote") or "").split("\n")
    return next((name for name in names if git("remote", "get-url", name) == url), "origin")


def _remote(clone: Clone) -> tuple[str, Remote]:
    """The remote that is shardd's: the one that was chosen, the clone's own, or the only one that is marked."""
    own = name_of(clone.url)
    marked = _marked()
    name = git("config", "--get", "shardd.remote") or (marked[0] if len(marked) == 1 and own not in marked else own)
    url = git("remote", "get-url", name)
    if url is None:
        raise Misuse(f"this clone has no remote {name}", "mend `git config shardd.remote`")
    return name, parse_url(url)


def _marked() -> list[str]:
    said = git("config", "--type=bool", "--get-regexp", r"^remote\..*\.shardd$") or ""
    lines = (line.rpartition(" ") for line in said.split("\n") if line)
    return [key.removeprefix("remote.").removesuffix(".shardd") for key, _, value in lines if value == "true"]


def _agreed(name: str, remote: Remote) -> bool:
    """Whether somebody at a terminal says that it is."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    asked = f"shardd: is {remote.destination}, the remote {name} of this clone, a server of shardd? [y/N] "
    print(asked, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
