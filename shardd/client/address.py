"""Where a server is, as git users write it: every form of git-clone(1) that goes over ssh, read as git reads it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from shardd.client.users_ssh import answer, arguments
from shardd.errors import Misuse

_SCHEMES = ("ssh", "git+ssh", "ssh+git")
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>[^/]*)(?P<path>.*)\Z", re.DOTALL)
_SCP_LIKE = re.compile(r"(?P<host>(?:[^@/:\[]*@)?(?:\[[^\]/]*\]|[^/:\[]+)):(?P<path>.*)\Z", re.DOTALL)
_HOST = re.compile(r"(?:(?P<user>[^\[]*)@)?(?:\[(?P<literal>[^\]]*)\]|(?P<name>[^:]*))(?::(?P<port>.*))?\Z", re.DOTALL)
_MEANS = re.compile(r"""[\s'"`$;&<>|(){}]|\\@|\\[^@]*\Z""")
"""What OpenSSH takes in no name of a host or a user, since a ProxyCommand or a `Match exec` is given them."""
_ALONE = re.compile(r"[A-Za-z0-9@._-]+\Z")


@dataclass(frozen=True, slots=True)
class Remote:
    """destination: what ssh takes as host, perhaps with a user; repo, space: what a clone's remote and branch name
    identity: a file with the private key to use, in place of those that ssh would
    """

    destination: str
    port: str | None
    repo: str | None = None
    space: str | None = None
    identity: str | None = None

    def command(self, words: Sequence[str]) -> list[str]:
        return arguments(self.destination, self.port, words, identity=self.identity)

    def answer(self, words: Sequence[str]) -> bytes:
        """What the server says to a command without input, nothing if that fails; Unavailable if there is no ssh."""
        return answer(self.command(words))


def parse_url(url: str) -> Remote:
    """`ssh://[USER@]HOST[:PORT][/REPO.git]`, `[USER@]HOST:REPO.git` or `HOST`; Misuse if it is none of these."""
    if match := _URL.match(url):
        if match["scheme"].lower() not in _SCHEMES:
            raise Misuse(f"{url!r} is not the address of a server over ssh", "write it like ssh://host:2222")
        # git decodes the whole of a URL, and nothing of what looks like scp's.
        return _remote(url, unquote(match["host"]), unquote(match["path"]))
    if match := _SCP_LIKE.match(url):
        inside = re.search(r"\[(.*)\]\Z", match["host"])
        # `[host:22]:repo` is an old way to name a port; `[::1]:repo` an address.
        host = (
            match["host"].replace("[", "").replace("]", "") if inside and inside[1].count(":") == 1 else match["host"]
        )
        return _remote(url, host, match["path"])
    if not _ALONE.match(url):
        raise _no_address(url)
    return _remote(url, url, "")


def _remote(url: str, host: str, path: str) -> Remote:
    match = _HOST.match(host)
    name = (match["literal"] if match["literal"] is not None else match["name"]) if match else ""
    port = match["port"] if match else None
    if not match or not name or (port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536)):
        raise _no_address(url)
    user = f"{match['user']}@" if match["user"] else ""
    destination = user + name
    # ssh would take it for an option, or a shell that ssh calls for more than a name; and a terminal shows it.
    if (
        destination.startswith("-")
        or name.startswith("-")
        or not destination.isprintable()
        or _MEANS.search(destination)
    ):
        raise Misuse(f"{url!r} is not the address of a server")
    return Remote(destination, port or None, _repo(path))


def _repo(path: str) -> str | None:
    """`/garden.git` and `/garden/whynot.git` both mean garden."""
    return path.strip("/").removesuffix(".git").split("/")[0] or None


def _no_address(url: str) -> Misuse:
    return Misuse(f"{url!r} is not the address of a server", "write it like ssh://host:2222")
