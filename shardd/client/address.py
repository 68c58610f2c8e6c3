"""Where a server is, as git users write it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from shardd.errors import Misuse

_SCP_LIKE = re.compile(r"(?:([^@/:]+)@)?([^/:]+):(.+)\Z")


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


def _repo(path: str) -> str | None:
    """`/garden.git` and `/garden/whynot.git` both mean garden."""
    return path.strip("/").removesuffix(".git").split("/")[0] or None


def _safe(url: str, remote: Remote) -> Remote:
    if remote.destination.startswith("-"):
        raise Misuse(f"{url!r} is not the address of a server")
    return remote
