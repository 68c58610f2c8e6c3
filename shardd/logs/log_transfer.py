"""Whole logs from one place to another: import, export, migrate. `from shardd import import_log, …`

All or nothing: a refused or interrupted import leaves no space, and a refused or interrupted export no file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol, runtime_checkable

from shardd.core.event import Event, Head
from shardd.core.import_chain import Imported, of_events
from shardd.core.jsonl import Numbered, decode_lines, encode_line
from shardd.core.names import check_space
from shardd.errors import BadEvent, Misuse, Rejected
from shardd.files.durable import handed_over
from shardd.logs.decision_log import DecisionLog, ReadableLog

LONGEST_LINE = 16 * 1024 * 1024
"""In bytes. A commit holds far less by default, but JSON may spell one character with six."""


@runtime_checkable
class ImportTarget(Protocol):
    """A log that can take over another one whole."""

    def import_events(
        self, space: str, events: Iterable[Numbered], *, keep_gaps: bool = False, dry_run: bool = False
    ) -> Imported:
        """All of them into a space that has no events yet, or none."""
        ...


def import_log(
    log: DecisionLog, space: str, events: Iterable[Event], *, keep_gaps: bool = False, dry_run: bool = False
) -> Imported:
    """Take over the events of another log, their numbers, ids, times and actors kept, into a space without events.

    Rejected or BadEvent, naming event and field, and nothing is imported, if they are out of order, have an id twice,
    leave out numbers (unless keep_gaps), or hold what the bytes cannot.
    """
    return _target(log).import_events(check_space(space), of_events(events), keep_gaps=keep_gaps, dry_run=dry_run)


def import_jsonl(
    log: DecisionLog, space: str, path: str | os.PathLike[str], *, keep_gaps: bool = False, dry_run: bool = False
) -> Imported:
    """Like import_log, from a file of lines (core/jsonl.py); a refusal names line and field."""
    target = _target(log)
    try:
        file = Path(path).open("rb")  # noqa: SIM115
    except OSError as error:
        raise Misuse(f"{path} cannot be read: {error.strerror}") from None
    with file:
        events = decode_lines(lines_of(file), check_space(space))
        return target.import_events(space, events, keep_gaps=keep_gaps, dry_run=dry_run)


def export_jsonl(log: ReadableLog, space: str, path: str | os.PathLike[str], *, force: bool = False) -> Head:
    """Write the log as canonical lines, the file whole or not at all; where the log stood.

    Rejected if the space does not exist, or, unless `force`, the file does. Devices and pipes are written in place.
    """
    head = existing(log, space)
    with output(path, force=force) as file:
        for event in log.events(space):
            file.write(encode_line(event, space))
            head = Head(event.seq, event.oid)
    return head


@contextmanager
def output(path: str | os.PathLike[str], *, force: bool) -> Iterator[IO[bytes]]:
    """A file that somebody named, to be written; see files/durable.py. Rejected if it is there already."""
    try:
        with handed_over(Path(path), force=force) as file:
            yield file
    except FileExistsError:
        raise Rejected("exists", f"{path} exists already", "name another file, or replace it with --force") from None
    except OSError as error:
        raise Misuse(f"{path} cannot be written: {error.strerror or error}") from None


def exported_lines(log: ReadableLog, space: str) -> Iterator[bytes]:
    """What export_jsonl writes. Rejected if the space does not exist."""
    existing(log, space)
    return (encode_line(event, space) for event in log.events(space))


def migrate_space(
    source: ReadableLog, target: DecisionLog, space: str, *, keep_gaps: bool = False, dry_run: bool = False
) -> Imported:
    """Take over a space from another log; see import_log."""
    existing(source, space)
    return import_log(target, space, source.events(space), keep_gaps=keep_gaps, dry_run=dry_run)


def lines_of(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file, each of a bounded length."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise BadEvent("json", f"is longer than {LONGEST_LINE} bytes", code="too-large", where=f"line {number}")
        yield line


def _target(log: DecisionLog) -> ImportTarget:
    if not isinstance(log, ImportTarget):
        raise Misuse(f"a {type(log).__name__} takes no imports", "import into the server's own repo, or over ssh")
    return log


def existing(log: ReadableLog, space: str) -> Head:
    """Where the space stands; Rejected if there is none."""
    head = log.head(space)
    if head is None:
        raise Rejected("no-such-space", f"there is no space {space} to read")
    return head
