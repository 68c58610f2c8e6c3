"""Commands sent to a server with the user's own ssh: keys, agent, config and jump hosts are those git uses."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace

from shardd.cli.clone import Clone
from shardd.client.address import Remote, parse_url
from shardd.errors import Misuse, Unavailable

# Commands whose first argument is a space, which a clone can supply; True where it is the only one.
_ON_SPACE = {
    ("lease", "acquire"): True, ("lease", "renew"): True, ("lease", "release"): True, ("lease", "show"): True,
    ("lease", "history"): True, ("lease", "revoke"): True, ("space", "show"): True,
    ("lease", "transfer"): False, ("lease", "grant"): False, ("append",): False,
}  # fmt: skip
_FLAGS = ("--json", "--fenced", "--force", "--lines", "--atomic", "--take-lease", "--help", "-h")


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
        raise Unavailable(
            f"{remote.destination} could not be reached, or did not let you in", "see what ssh said above"
        )
    return status


def no_ssh() -> Unavailable:
    return Unavailable("ssh is not installed", "install the OpenSSH client")


def of_clone() -> Remote:
    """The server of the clone we stand in; Misuse elsewhere."""
    clone = Clone.here()
    return replace(parse_url(clone.url), space=clone.space)


def with_space(words: Sequence[str], remote: Remote) -> list[str]:
    """The words, with the clone's REPO/SPACE put in where the command takes one and none is given.

    Where a space is all that the command takes, `SPACE` alone means that one of the clone's repo.
    """
    size = next((size for size in (2, 1) if tuple(words[:size]) in _ON_SPACE), 0)
    if not size or remote.repo is None or "--help" in words or "-h" in words:
        return list(words)
    at = _first_argument(words, size)
    given = words[at] if at < len(words) else None
    if given is not None and given.startswith(f"{remote.repo}/"):
        return list(words)
    if given is not None and _ON_SPACE[tuple(words[:size])]:
        return [*words[:at], given if "/" in given else f"{remote.repo}/{given}", *words[at + 1 :]]
    if remote.space is None:
        raise Misuse("which space?", "check one out with `git switch spaces/NAME`, or name it: REPO/SPACE")
    # Just before the other arguments: argparse wants them together.
    return [*words[:at], f"{remote.repo}/{remote.space}", *words[at:]]


def _first_argument(words: Sequence[str], start: int) -> int:
    """Where the first word stands that is no option, nor the value of one."""
    at = start
    while at < len(words) and words[at].startswith("-"):
        at += 1 if words[at] in _FLAGS or "=" in words[at] else 2
    return min(at, len(words))
