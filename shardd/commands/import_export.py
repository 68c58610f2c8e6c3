"""`import` and `export`: a whole log, as lines of JSON, into a space without events and out of any space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import msgspec

from shardd.authority.facts import LOCAL, Options, Pusher
from shardd.authority.whole_log import import_events
from shardd.commands.caller import Context
from shardd.commands.grammar import Parser, Words, integer
from shardd.commands.result import Answer, AnyAnswer, Done, Each, say
from shardd.core.canonical import Json
from shardd.core.import_chain import Imported
from shardd.core.jsonl import decode_lines
from shardd.core.names import Address
from shardd.core.plural import many
from shardd.core.roles import Role
from shardd.errors import Misuse
from shardd.logs.log_transfer import export_jsonl, exported_lines, lines_of


@dataclass(frozen=True, slots=True)
class Import:
    """file: of lines; `-` for standard input, which it always is for a remote caller"""

    address: Address
    file: str
    keep_gaps: bool
    dry_run: bool
    epoch: int | None
    take_lease: bool

    def run(self, context: Context) -> Answer[Done]:
        with context.opened(self.file) as stream:
            done = import_lines(
                context,
                self.address,
                lines_of(stream),
                options=Options(self.epoch, self.take_lease),
                keep_gaps=self.keep_gaps,
                dry_run=self.dry_run,
            )
        return imported(str(self.address), done, dry_run=self.dry_run)


@dataclass(frozen=True, slots=True)
class Export:
    """file: to be written; `-` for standard output, which is all that a remote caller may name; force: replace it"""

    address: Address
    file: str
    force: bool

    def run(self, context: Context) -> AnyAnswer:
        if self.file == "-":
            return listed(export_lines(context, self.address))
        target = context.target(self.file)
        if target is None:
            raise Misuse("over ssh a log goes to standard output", "leave out -o, and put `>FILE` after the command")
        with context.authority(self.address, Role.READ) as authority:
            head = export_jsonl(authority, self.address.space, target, force=self.force)
        return exported(str(self.address), self.file, head.seq, head.oid)


def export_lines(context: Context, address: Address) -> Iterator[bytes]:
    """The log of a space of the server."""
    with context.authority(address, Role.READ) as authority:
        yield from exported_lines(authority, address.space)


def import_lines(
    context: Context,
    address: Address,
    lines: Iterable[bytes],
    *,
    options: Options | None = None,
    keep_gaps: bool,
    dry_run: bool,
) -> Imported:
    """Take the log over into a space of the server. Whoever may write the files need not have begun it, nor need a
    lease while nobody holds one.
    """
    owner = context.rights().owner
    with context.authority(address, Role.APPEND, begun=False) as authority:
        return import_events(
            authority,
            address.space,
            decode_lines(lines, address.space),
            Pusher(context.principal or LOCAL, unleased=True) if owner else context.pusher(),
            options=options,
            keep_gaps=keep_gaps,
            create=owner,
            dry_run=dry_run,
            gone=context.gone,
            tell=context.tell,
        )


def imported(label: str, done: Imported, *, dry_run: bool) -> Answer[Done]:
    head = done.head
    what = f"{many(done.events, 'event')} into {label}, head {head.seq} {head.oid}"
    value: Json = {"space": label, "events": done.events, "seq": head.seq, "oid": head.oid, "dry_run": dry_run}
    return say(f"would import {what}; nothing was written" if dry_run else f"imported {what}", value)


def exported(label: str, file: str, seq: int, oid: str) -> Answer[Done]:
    return say(f"exported {label} to {file}, up to {seq} {oid}", {"space": label, "file": file, "seq": seq, "oid": oid})


def listed(lines: Iterator[bytes]) -> Answer[bytes]:
    """Lines of JSON, which are what programs want as well."""
    return Answer(lines, _LINES)


_LINES: Each[bytes] = Each(
    lambda line: line.decode().removesuffix("\n"), lambda line: cast("Json", msgspec.Raw(line.removesuffix(b"\n")))
)


def add_import_options(parser: Parser) -> None:
    parser.add_argument("--keep-gaps", action="store_true", help="keep numbers that were shared between logs")
    parser.add_argument("--dry-run", action="store_true", help="check everything, and write nothing")


def add_output(parser: Parser) -> None:
    parser.add_argument("-o", "--output", dest="file", metavar="FILE", default="-", help="default: standard output")
    parser.add_argument("--force", action="store_true", help="also if that replaces a file")


def add(words: Words) -> None:
    parser = words.command("import", Import, "take over a whole log, into a space without events")
    parser.add_space()
    parser.add_argument("file", metavar="FILE", help="lines of JSON; - for standard input")
    add_import_options(parser)
    parser.add_argument("--epoch", metavar="N", type=integer, help="the epoch you hold; a fenced lease asks for it")
    parser.add_argument("--take-lease", action="store_true", help="take the lease, if it is free, for this alone")
    parser = words.command("export", Export, "write a whole log as lines of JSON (CloudEvents)")
    parser.add_space()
    add_output(parser)
