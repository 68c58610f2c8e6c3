"""Commands sent to a server with the user's own ssh: keys, agent, config and jump hosts are those git uses."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace

from shardd.cli.clone import Clone
from shardd.client.address import Remote, parse_url
from shardd.errors import Unavailable

# Commands whose first argument is a space, which a clone can supply.
_ON_SPACE = {
    ("lease", "acquire"), ("lease", "renew"), ("lease", "release"), ("lease", "show"), ("lease", "history"),
    ("lease", "transfer"), ("lease", "grant"), ("lease", "revoke"), ("space", "show"), ("log",), ("append",), ("fold",),
}  # fmt: skip


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
