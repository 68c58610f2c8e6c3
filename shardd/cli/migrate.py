"""`migrate SOURCE TARGET`: a whole log from one place to another, as lines of JSON that nobody has to store.

PATH/SPACE                      a repo on this machine, bare or a clone: ./old.git/whynot
ssh://HOST[:PORT]/REPO/SPACE    a server, over ssh
REPO/SPACE                      with --dir: of that server
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from shardd.cli.over_ssh import import_words, received, send
from shardd.cli.progress import metered
from shardd.client.address import Remote, parse_url
from shardd.commands.caller import Context
from shardd.commands.grammar import Words
from shardd.commands.import_export import Import, add_import_options, export_lines, import_lines, imported
from shardd.commands.result import NOTHING, Answer, Done
from shardd.core.jsonl import decode_lines
from shardd.core.names import Address, check_space
from shardd.errors import Misuse, Rejected
from shardd.logs.git_log import GitLog
from shardd.logs.log_transfer import exported_lines


@dataclass(frozen=True, slots=True)
class Local:
    """A space of a repository on this machine."""

    path: Path
    space: str


Place: TypeAlias = Local | Address | tuple[Remote, Address]
"""On this machine, of the server that --dir names, or of one over ssh."""


@dataclass(frozen=True, slots=True)
class Migrate:
    source: str
    target: str
    keep_gaps: bool
    dry_run: bool


def add(words: Words) -> None:
    parser = words.command("migrate", Migrate, "copy a whole log from one place into another")
    for name in ("source", "target"):
        where = "PATH/SPACE, ssh://HOST/REPO/SPACE, or REPO/SPACE of --dir"
        parser.add_argument(name, metavar=name.upper(), help=where)
    add_import_options(parser)


def run(asked: Migrate, context: Context | None) -> Answer[Done]:
    """context: of the server that --dir names, if any"""
    source, target = _parse(asked.source, context), _parse(asked.target, context)
    with closing(metered(_lines(source, context))) as lines:
        return _send(asked, target, lines, context)


def _lines(source: Place, context: Context | None) -> Iterator[bytes]:
    match source:
        case Local(path, space):
            yield from exported_lines(GitLog(path), space)
        case Address():
            assert context is not None
            yield from export_lines(context, source)
        case (remote, address):
            yield from received(remote, ["export", str(address)])


def _send(asked: Migrate, target: Place, lines: Iterator[bytes], context: Context | None) -> Answer[Done]:
    keep_gaps, dry_run = asked.keep_gaps, asked.dry_run
    match target:
        case Local(path, space):
            events = decode_lines(lines, space)
            done = GitLog(path).import_events(space, events, keep_gaps=keep_gaps, dry_run=dry_run)
        case Address():
            assert context is not None
            done = import_lines(context, target, lines, keep_gaps=keep_gaps, dry_run=dry_run)
        case (remote, address):
            if send(remote, import_words(Import(address, "-", keep_gaps, dry_run, None, take_lease=True)), lines) != 0:
                raise Rejected("refused", f"{remote.destination} did not take it", "see what it said above")
            return NOTHING  # the server has answered
    return imported(asked.target, done, dry_run=dry_run)


def _parse(text: str, context: Context | None) -> Place:
    if "://" in text:
        return parse_url(text), Address.parse(urlsplit(text).path.strip("/").removesuffix(".git"))
    if context is not None and not text.startswith(("/", "./", "../")):
        return Address.parse(text)
    path = Path(text)
    if path.is_file():
        raise Misuse(f"{text} is a file, and no space of a repo", "use `shardd import` or `shardd export`")
    return Local(path.parent, check_space(path.name))
