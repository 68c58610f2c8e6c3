"""Running one command and saying what came of it, alike on a terminal and over ssh."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from shardd.commands.answer import Answer
from shardd.commands.grammar import HelpAsked, Parser, parse
from shardd.core.canonical import Json
from shardd.core.wire import printable
from shardd.errors import HeadMoved, SharddError
from shardd.storage.seams import Point, reached

log = logging.getLogger("shardd.command")

OK = 0
INTERNAL = 70
"""EX_SOFTWARE of sysexits.h: a fault of ours, with more in the log."""


class Voice(Protocol):
    """Where text goes. Each call takes one line, without its newline."""

    def out(self, line: str) -> None: ...

    def err(self, line: str) -> None: ...

    def flush(self) -> None: ...

    def paged(self, *, long: bool) -> AbstractContextManager[bool]:
        """Says whether colours may be used; on a terminal, what is long goes through a pager."""
        ...


def speak(
    parser: Parser, words: Sequence[str], run: Callable[[object], Answer], voice: Voice, *, reach: str = "shardd"
) -> int:
    """The exit status, after everything was said: 0 done, 1 refused, 2 misused, 3 unavailable, 4 corrupt, 70 our fault.

    reach: how this reader calls our commands, such as `ssh -p 2222 host`
    """
    as_json = "--json" in words
    try:
        parsed = parse(parser, words)
        as_json = parsed.json
        answer = run(parsed.command)
        if as_json:
            for value in answer.values:
                _out(voice, encoded(value), answer)
        else:
            with voice.paged(long=answer.long) as colours:
                lines = answer.coloured if colours and answer.coloured is not None else answer.lines
                for line in lines:
                    _out(voice, line, answer)
        voice.flush()
        reached(Point.AFTER_ANSWER)
    except HelpAsked as asked:
        voice.out(asked.text.rstrip("\n"))
    except SharddError as error:
        complain(error, voice, reach, as_json=as_json)
        return error.exit_status
    except BrokenPipeError:
        raise
    except Exception as error:
        log.exception("the command %s failed", list(words)[:2])
        voice.err(f"shardd: internal error: {type(error).__name__}: {printable(str(error))}")
        return INTERNAL
    return OK


def _out(voice: Voice, line: str, answer: Answer) -> None:
    voice.out(line)
    if answer.live:
        voice.flush()


def complain(error: SharddError, voice: Voice, reach: str, *, as_json: bool) -> None:
    """Say what is wrong and what mends it."""
    remedy = error.seen_from(reach)
    if as_json:
        voice.out(encoded({"error": error_value(error, reach)}))
        return
    voice.err(printable(f"shardd: {error.code}: {error.message}"))
    if remedy:
        voice.err(printable(f"shardd: to mend it: {remedy}"))


def error_value(error: SharddError, reach: str) -> Json:
    """`{"code", "message", "remedy"}`, and `head` where the log has moved on."""
    value: dict[str, Json] = {"code": error.code, "message": error.message, "remedy": error.seen_from(reach)}
    if isinstance(error, HeadMoved):
        value["head"] = None if error.head is None else {"seq": error.head.seq, "oid": error.head.oid}
    return value


def encoded(value: Json) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # the name of a ref may be any bytes: JSON can spell what UTF-8 cannot
        return json.dumps(value, separators=(",", ":"))
