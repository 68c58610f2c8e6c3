"""Sending a log to a server, and reading one from it, with the user's own ssh."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from shardd.cli.progress import open_input
from shardd.cli.remote import no_ssh, reached
from shardd.client.address import Remote
from shardd.commands.grammar import Words, new_parser, parse
from shardd.commands.transfer import Import, add
from shardd.errors import Unavailable
from shardd.storage.transfer import lines_of

_CHUNK = 256 * 1024


def run(words: Sequence[str], remote: Remote) -> int:
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
