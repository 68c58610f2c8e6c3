"""Commands sent to a server with the user's own ssh, and logs sent to it or read from it.

It is called as git would call it (client/users_ssh.py): keys, agent, config and jump hosts are those that git uses.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from shardd.cli.clone import Clone
from shardd.cli.progress import open_input
from shardd.cli.user_config import UserConfig
from shardd.cli.which_server import of_here
from shardd.client.address import Remote, parse_url
from shardd.client.users_ssh import no_ssh, reached
from shardd.commands.all_commands import server_grammar
from shardd.commands.grammar import HelpAsked, RawParser
from shardd.commands.import_export import Export, Import
from shardd.core.names import Address
from shardd.errors import Misuse, Unavailable
from shardd.logs.log_transfer import lines_of, output

_CHUNK = 256 * 1024


def run(words: Sequence[str], url: str | None) -> int:
    """Run the command on the server; its exit status, or Unavailable if ssh could not reach it."""
    try:
        remote, clone = of_here() if url is None else (UserConfig.load().reached(parse_url(url)), None)
    except Misuse:
        if server_grammar().words.find(words) is None:
            server_grammar().parse(words)  # what is no command is none anywhere
        raise
    if words[:1] == ["import"]:
        return upload(words, remote)
    sent = with_space(words, remote)
    if words[:1] == ["export"] and (done := download(sent, remote)) is not None:
        return done
    try:
        status = reached(remote.destination, subprocess.run(remote.command(sent), check=False).returncode)
    except FileNotFoundError:
        raise no_ssh() from None
    if clone is not None and words[:1] == ["append"] and (status == 0 or "--lines" in words):
        _fetch(clone, sent, remote)
    return status


def _fetch(clone: Clone, sent: Sequence[str], remote: Remote) -> None:
    """Have the clone know what was appended. It is, whatever comes of this."""
    there = (Address.parse(word) for word in sent[1:] if _is_address(word))
    address = next((each for each in there if each.repo == remote.repo), None)
    if address is None:
        return
    try:
        clone.fetch(address.space)
    except Unavailable as error:
        print(f"shardd: appended, and not fetched yet: {error}", file=sys.stderr)


def with_space(words: Sequence[str], remote: Remote) -> list[str]:
    """The words, with the clone's REPO/SPACE put in where the command takes one and none is given.

    Where a space is all that the command takes, `SPACE` alone means that one of the clone's repo. What does not parse
    here goes as it is: the server, which may know more words than we do, says what is wrong, and what may be asked.
    """
    found = server_grammar(RawParser).words.find(words)
    if found is None or remote.repo is None or found[0].takes[:1] != ["address"]:
        return list(words)
    parser, rest = found
    told = [_Word(word, len(words) - len(rest) + at) for at, word in enumerate(rest)]
    try:
        said = vars(parser.parse_intermixed_args(told))
    except (Misuse, HelpAsked):
        return list(words)
    values = (said[name] for name in parser.takes)
    words_of = (each for value in values for each in (value if isinstance(value, list) else [value]))
    given = [word for word in words_of if isinstance(word, _Word)]
    # Just before the other arguments: argparse wants them together.
    at = given[0].at if given else len(words)
    if given and _is_address(given[0]):
        return list(words)
    if given and parser.takes == ["address"]:
        return [*words[:at], given[0] if "/" in given[0] else f"{remote.repo}/{given[0]}", *words[at + 1 :]]
    if not parser.fills:
        return list(words)
    if remote.space is None:
        raise Misuse("which space?", "check one out with `git switch spaces/NAME`, or name it: REPO/SPACE")
    return [*words[:at], f"{remote.repo}/{remote.space}", *words[at:]]


def _is_address(text: str) -> bool:
    try:
        Address.parse(text)
    except Misuse:
        return False
    return True


class _Word(str):
    """A word that knows where it stood."""

    __slots__ = ("at",)

    def __new__(cls, text: str, at: int) -> _Word:
        self = super().__new__(cls, text)
        self.at = at
        return self

    at: int


def upload(words: Sequence[str], remote: Remote) -> int:
    """`import REPO/SPACE FILE`: the file goes to the server's standard input; ssh's exit status."""
    asked = server_grammar().parse(words)
    assert isinstance(asked.command, Import)
    with open_input(asked.command.file) as stream:
        chunks = iter(lambda: stream.read(_CHUNK), b"")
        return send(remote, import_words(asked.command) + (["--json"] if asked.json else []), chunks)


def download(words: Sequence[str], remote: Remote) -> int | None:
    """`export REPO/SPACE -o FILE`: what the server sends goes to that file, here. None if no FILE is named."""
    try:
        asked = server_grammar().parse(words).command
    except Misuse:
        return None  # the server says what is wrong, and what may be asked
    assert isinstance(asked, Export)
    if asked.file == "-":
        return None
    with output(asked.file, force=asked.force) as file:
        file.writelines(received(remote, ["export", str(asked.address)]))
    return 0


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
        return reached(remote.destination, child.wait())


def received(remote: Remote, words: Sequence[str]) -> Iterator[bytes]:
    """The lines that a command says on the server; Unavailable in place of their end if it failed."""
    with _ssh(remote, words, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        yield from lines_of(child.stdout)
        if reached(remote.destination, child.wait()) != 0:
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
