"""Commands sent to a server with the user's own ssh, and logs sent to it or read from it.

Keys, agent, config and jump hosts are those that git uses.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from shardd.cli.clone import Clone
from shardd.cli.progress import open_input
from shardd.client.address import Remote, parse_url
from shardd.commands.grammar import Words, new_parser, parse
from shardd.commands.import_export import Import, add
from shardd.errors import Misuse, Unavailable
from shardd.logs.log_transfer import lines_of

# Commands whose first argument is a space, which a clone can supply; True where it is the only one.
_ON_SPACE = {
    ("lease", "acquire"): True, ("lease", "renew"): True, ("lease", "release"): True, ("lease", "show"): True,
    ("lease", "history"): True, ("lease", "revoke"): True, ("space", "show"): True,
    ("lease", "transfer"): False, ("lease", "grant"): False, ("append",): False,
}  # fmt: skip
_CHUNK = 256 * 1024
_FLAGS = ("--json", "--fenced", "--force", "--lines", "--atomic", "--take-lease", "--create", "--help", "-h")


def run(words: Sequence[str], url: str | None) -> int:
    """Run the command on the server; its exit status, or Unavailable if ssh could not reach it."""
    remote = parse_url(url) if url is not None else of_clone()
    if words[:1] == ["import"]:
        return upload(words, remote)
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


def upload(words: Sequence[str], remote: Remote) -> int:
    """`import REPO/SPACE FILE`: the file goes to the server's standard input; ssh's exit status."""
    parser = new_parser("shardd", "On a server.")
    add(Words(parser))
    asked = parse(parser, words)
    assert isinstance(asked.command, Import)
    with open_input(asked.command.file) as stream:
        chunks = iter(lambda: stream.read(_CHUNK), b"")
        return send(remote, import_words(asked.command) + (["--json"] if asked.json else []), chunks)


def import_words(asked: Import) -> list[str]:
    """The words that ask a server for the same, its events to come on standard input."""
    options = {"--keep-gaps": asked.keep_gaps, "--dry-run": asked.dry_run, "--take-lease": asked.take_lease}
    epoch = [] if asked.epoch is None else ["--epoch", str(asked.epoch)]
    return ["import", str(asked.address), "-", *(name for name, on in options.items() if on), *epoch]


def send(remote: Remote, words: Sequence[str], chunks: Iterable[bytes]) -> int:
    """Run a command on the server and send it all the chunks; ssh's exit status."""
    with _ssh(remote, words, stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        with suppress(BrokenPipeError):  # it had enough: its answer says why
            child.stdin.writelines(chunks)
        with suppress(BrokenPipeError):
            child.stdin.close()
        return reached(remote, child.wait())


def received(remote: Remote, words: Sequence[str]) -> Iterator[bytes]:
    """The lines that a command says on the server; Unavailable in place of their end if it failed."""
    with _ssh(remote, words, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        yield from lines_of(child.stdout)
        if reached(remote, child.wait()) != 0:
            raise Unavailable(f"{remote.destination} did not send all of it", "see what it said above")


@contextmanager
def _ssh(
    remote: Remote, words: Sequence[str], *, stdin: int = subprocess.DEVNULL, stdout: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    try:
        child = subprocess.Popen(remote.command(words), stdin=stdin, stdout=stdout)
    except FileNotFoundError:
        raise no_ssh() from None
    try:
        yield child
    finally:
        # Cut off before its end, the other side takes nothing.
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
