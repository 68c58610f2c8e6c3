"""Commands sent to a server with the user's own ssh: keys, agent, config and jump hosts are those git uses."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from shardd.cli.clone import Clone
from shardd.errors import Misuse, Unavailable

_SCP_LIKE = re.compile(r"(?:([^@/:]+)@)?([^/:]+):(.+)\Z")
# Commands whose first argument is a space, which a clone can supply.
_ON_SPACE = {
    ("lease", "acquire"), ("lease", "renew"), ("lease", "release"), ("lease", "show"), ("lease", "history"),
    ("lease", "transfer"), ("lease", "grant"), ("lease", "revoke"), ("space", "show"), ("log",), ("append",), ("fold",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Remote:
    """destination: what ssh takes as host, perhaps with a user; repo, space: what a clone's remote and branch name"""

    destination: str
    port: str | None
    repo: str | None = None
    space: str | None = None

    def command(self, words: Sequence[str]) -> list[str]:
        port = ["-p", self.port] if self.port else []
        ssh = shlex.split(os.environ.get("GIT_SSH_COMMAND", "ssh"))
        return [*ssh, *port, "--", self.destination, shlex.join(words)]


def run(words: Sequence[str], url: str | None) -> int:
    """Run the command on the server; its exit status, or Unavailable if ssh could not reach it."""
    remote = parse_url(url) if url is not None else of_clone()
    if words[:1] == ["import"]:
        from shardd.cli import upload

        return upload.run(words, remote)
    try:
        return reached(remote, subprocess.run(remote.command(with_space(words, remote)), check=False).returncode)
    except FileNotFoundError:
        raise no_ssh() from None


def reached(remote: Remote, status: int) -> int:
    """ssh's exit status, if it is that of our command; Unavailable if ssh itself failed."""
    if status == 255:
        raise Unavailable(f"{remote.destination} could not be reached", "see what ssh said above")
    return status


def no_ssh() -> Unavailable:
    return Unavailable("ssh is not installed", "install the OpenSSH client")


def parse_url(url: str) -> Remote:
    """`ssh://[USER@]HOST[:PORT][/REPO.git]`, `[USER@]HOST:REPO.git` or `HOST`; Misuse if it is none of these."""
    if "://" in url:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme != "ssh" or not parts.hostname or port == 0:
            raise Misuse(f"{url!r} is not the address of a server", "write it like ssh://host:2222")
        user = f"{parts.username}@" if parts.username else ""
        return _safe(url, Remote(user + parts.hostname, str(port) if port else None, _repo(parts.path)))
    match = _SCP_LIKE.match(url)
    if match:
        user = f"{match[1]}@" if match[1] else ""
        return _safe(url, Remote(user + match[2], None, _repo(match[3])))
    if not re.match(r"[A-Za-z0-9@._-]+\Z", url):
        raise Misuse(f"{url!r} is not the address of a server", "write it like ssh://host:2222")
    return _safe(url, Remote(url, None))


def of_clone() -> Remote:
    """The server of the clone we stand in; Misuse elsewhere."""
    clone = Clone.here()
    return replace(parse_url(clone.url), space=clone.space)


def with_space(words: Sequence[str], remote: Remote) -> list[str]:
    """The words, with the clone's REPO/SPACE put in where the command takes one and none is given."""
    for size in (2, 1):
        if tuple(words[:size]) in _ON_SPACE and remote.repo and remote.space:
            following = words[size] if len(words) > size else ""
            if not following.startswith(f"{remote.repo}/"):
                return [*words[:size], f"{remote.repo}/{remote.space}", *words[size:]]
    return list(words)


def _repo(path: str) -> str | None:
    """`/garden.git` and `/garden/whynot.git` both mean garden."""
    return path.strip("/").removesuffix(".git").split("/")[0] or None


def _safe(url: str, remote: Remote) -> Remote:
    if remote.destination.startswith("-"):
        raise Misuse(f"{url!r} is not the address of a server")
    return remote
