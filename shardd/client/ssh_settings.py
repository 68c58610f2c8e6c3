"""What the user's ssh configuration says of a server: as `ssh -G` says it, or by our own reading where there is no ssh.

With `ssh -G` come Include, Match, canonical names and whatever else only ssh itself knows how to read.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shardd.client.address import Remote
from shardd.client.users_ssh import says
from shardd.errors import Unavailable

TIMEOUT = 30.0  # seconds to connect, where ConnectTimeout does not say

_DEFAULT_KEYS = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
_DEFAULT_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
_GLOBAL_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"

Said = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Settings:
    """host: HostName; alias: by which known_hosts calls it; agent: the socket of one; only: no key but these
    proxy: a command that is the way to it
    """

    host: str
    port: int
    user: str
    alias: str | None
    identities: Sequence[Path]
    certificates: Sequence[Path]
    only: bool
    agent: str | None
    known_hosts: Sequence[Path]
    proxy: str | None
    timeout: float

    @classmethod
    def of(cls, remote: Remote, *, key: str | Path | None, known_hosts: str | Path | None) -> Settings:
        """Those of the user. key, known_hosts: in place of what they say."""
        found = cls._configured(remote)
        if key is not None:
            found = replace(found, identities=[Path(key)], certificates=[], only=True, agent=None)
        if known_hosts is not None:
            found = replace(found, known_hosts=[Path(known_hosts)])
        return found

    @classmethod
    def _configured(cls, remote: Remote) -> Settings:
        text = says(remote.destination, remote.port)
        said = _by_us(remote) if text is None else _read(text)
        user, _, name = remote.destination.rpartition("@")
        host = _one(said, "hostname") or name
        try:
            port = int(remote.port or _one(said, "port") or 22)
            timeout = float(_one(said, "connecttimeout") or TIMEOUT)
        except ValueError as error:
            raise Unavailable(f"the ssh configuration of {name} does not read: {error}", "mend ~/.ssh/config") from None
        alias = _one(said, "hostkeyalias")
        tokens = {
            "h": host, "n": name, "p": str(port), "r": user or _one(said, "user") or _me(),
            "k": alias or name, "d": str(_path("~", {})), "i": str(os.getuid()), "u": _me(),
            "l": socket.gethostname(), "L": socket.gethostname().partition(".")[0], "%": "%",
        }  # fmt: skip

        def paths(name: str) -> list[Path]:
            return [_path(each, tokens) for each in said.get(name, ()) if each.lower() != "none"]

        hosts = [
            *_words(said, "userknownhostsfile", _DEFAULT_HOSTS),
            *_words(said, "globalknownhostsfile", _GLOBAL_HOSTS),
        ]
        return cls(
            host=host,
            port=port,
            user=tokens["r"],
            alias=alias,
            identities=paths("identityfile") or [_path(each, tokens) for each in _DEFAULT_KEYS],
            certificates=paths("certificatefile"),
            only=_one(said, "identitiesonly") == "yes",
            agent=_agent(said, tokens),
            known_hosts=[_path(each, tokens) for each in hosts if each.lower() != "none"],
            proxy=_proxy(said, tokens),
            timeout=timeout,
        )


def _read(text: str) -> Said:
    said: dict[str, list[str]] = {}
    for line in text.split("\n"):
        name, _, value = line.partition(" ")
        said.setdefault(name.lower(), []).append(value)
    return said


def _by_us(remote: Remote) -> Said:
    from paramiko import SSHConfig, SSHException

    path = Path("~/.ssh/config").expanduser()
    if not path.is_file():
        return {}
    try:
        found: dict[str, str | list[str]] = dict(
            SSHConfig.from_path(str(path)).lookup(remote.destination.rpartition("@")[2])
        )
    except (SSHException, OSError, ValueError, ImportError) as error:
        raise Unavailable(f"{path} does not read: {error}", "mend it, or install the OpenSSH client") from None
    return {name: value if isinstance(value, list) else [str(value)] for name, value in found.items()}


def _one(said: Said, name: str) -> str | None:
    value = next(iter(said.get(name, ())), "")
    return None if value.lower() in ("", "none") else value


def _words(said: Said, name: str, default: str) -> list[str]:
    return (_one(said, name) or ("" if name in said else default)).split()


def _filled(text: str, tokens: Mapping[str, str]) -> str:
    return re.sub("%(.)", lambda found: tokens.get(found[1], found[0]), text)


def _path(text: str, tokens: Mapping[str, str]) -> Path:
    named = re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], ""), text)
    path = Path(_filled(named, tokens).strip('"'))
    try:
        return path.expanduser()
    except RuntimeError:  # the home of nobody
        return path


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without a name
        return str(os.getuid())


def _agent(said: Said, tokens: Mapping[str, str]) -> str | None:
    named = next(iter(said.get("identityagent", ())), "SSH_AUTH_SOCK")
    if named.lower() == "none":
        return None
    if named == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK") or None
    if named.startswith("$"):
        return os.environ.get(named.strip("${}")) or None
    return str(_path(named, tokens))


def _proxy(said: Said, tokens: Mapping[str, str]) -> str | None:
    jump = _one(said, "proxyjump")
    if jump is not None:
        # What ssh itself makes of it.
        *before, last = jump.split(",")
        through = ["-J", ",".join(before)] if before else []
        hop = last if "://" in last else f"ssh://{last}"
        return shlex.join(["ssh", *through, "-W", f"[{tokens['h']}]:{tokens['p']}", hop])
    command = _one(said, "proxycommand")
    return None if command is None else _filled(command, tokens)
