"""Which server a command is for, where none is named.

A clone may be of anybody's server, which is asked only if `shardd setup` or the user has named its remote as shardd's:
`remote.NAME.shardd`, or `shardd.remote`, in git's configuration; or by the default server of her own (user_config.py).
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace

from shardd.cli.clone import Clone, git
from shardd.cli.user_config import UserConfig
from shardd.client.address import Remote, parse_url
from shardd.errors import Misuse
from shardd.git.place import CHOSEN


def of_here() -> tuple[Remote, Clone | None]:
    """The server to ask from here, and the clone, if it is of that one; Misuse, with what mends it, if none is."""
    config = UserConfig.load()
    default = config.default()
    try:
        clone = _clone()
    except Misuse:
        if default is None:
            raise
        return default, None
    name, remote = clone.fetching.remote, replace(parse_url(clone.url), space=clone.space)
    said = git("config", "--type=bool", "--get", f"remote.{name}.shardd")
    if _named(name, remote, said, config):
        return config.reached(remote), clone
    if default is not None:
        return default, None
    if said is None and _agreed(name, remote):
        mark(name)  # said once, it is not asked again
        return remote, clone
    raise Misuse(
        f"whether {remote.destination}, the remote {name} of this clone, is a server of shardd is for you to say",
        f"run `shardd setup`, or {_marking(name)}; or name another: `--server URL`",
    )


def of(clone: Clone) -> Remote:
    """The server that a clone is of; Misuse if nobody has named it as shardd's. Nobody is asked."""
    config, name, remote = UserConfig.load(), clone.fetching.remote, parse_url(clone.url)
    if not _named(name, remote, git("config", "--type=bool", "--get", f"remote.{name}.shardd"), config):
        raise Misuse(f"nobody has said that {name} is a server of shardd", f"run `shardd setup`, or {_marking(name)}")
    return config.reached(remote)


def _named(name: str, remote: Remote, said: str | None, config: UserConfig) -> bool:
    return said == "true" or git("config", "--get", CHOSEN) == name or config.means(remote)


def _marking(name: str) -> str:
    return f"`git config {shlex.quote(f'remote.{name}.shardd')} true`"


def mark(name: str) -> None:
    """Let this clone ask the remote `name` from now on."""
    git("config", f"remote.{name}.shardd", "true")


def _clone() -> Clone:
    """As of the remote that is shardd's: the one that was chosen, the clone's own, or the only one that is marked."""
    own = Clone.here()
    marked = _marked()
    only = marked[0] if len(marked) == 1 and own.fetching.remote not in marked else None
    name = git("config", "--get", CHOSEN) or only
    return own if name in (None, own.fetching.remote) else Clone.here(name)


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
