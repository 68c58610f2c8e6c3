"""Running one command and saying what came of it, alike on a terminal and over ssh."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from shardd.authority.moved import Pause, patiently
from shardd.commands.describe import describe
from shardd.commands.grammar import Grammar, HelpAsked, asks_json
from shardd.commands.result import AnyAnswer, Steps
from shardd.core.canonical import Json
from shardd.core.error_values import error_value
from shardd.core.hook_protocol import printable
from shardd.core.outcome import GONE
from shardd.errors import SharddError
from shardd.files.crash_points import Point, reached
from shardd.files.durable import refused
from shardd.files.work import Work

log = logging.getLogger("shardd.command")

OK = 0
REFUSED = 1
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
    grammar: Grammar,
    words: Sequence[str],
    run: Callable[[object], Steps],
    voice: Voice,
    *,
    reach: str = "shardd",
    work: Work | None = None,
) -> int:
    """Run `speaking` in this thread alone."""
    return patiently(speaking(grammar, words, run, voice, reach=reach, work=work or Work()))


def speaking(
    grammar: Grammar,
    words: Sequence[str],
    run: Callable[[object], Steps],
    voice: Voice,
    *,
    reach: str,
    work: Work,
) -> Generator[Pause, None, int]:
    """The exit status, after everything was said: 0 done, 1 refused, 2 misused, 3 unavailable, 4 corrupt, 70 our fault.

    Yields what the command waits for, and goes on after that, perhaps in another thread.

    reach: how this reader calls our commands, such as `ssh -p 2222 host`; work: is told what is asked, and the verdict
    """
    as_json = asks_json(words)
    try:
        parsed = grammar.parse(words)
        describe(work, parsed)
        answer = yield from run(parsed.command)
        if answer.complete:
            work.done()  # whether or not anybody hears of it; what is told as it comes, is still at it
        if as_json:
            for value in answer.values():
                _out(voice, encoded(value), answer)
        else:
            with voice.paged(long=answer.long) as colours:
                for line in answer.lines(colours=colours):
                    _out(voice, line, answer)
        voice.flush()
        reached(Point.AFTER_ANSWER)
    except HelpAsked as asked:
        with voice.paged(long=True):
            for line in asked.seen_from(reach).rstrip("\n").split("\n"):
                voice.out(line)
    except SharddError as error:
        work.failed(error)
        complain(error, voice, reach, as_json=as_json)
        return error.exit_status
    except BrokenPipeError:
        work.ended_as(GONE)
        raise
    except OSError as error:  # of a disk or a system, at a place where nobody foresaw it
        unforeseen = refused(error, f"{printable(str(error.filename))} cannot be used" if error.filename else "failed")
        work.failed(unforeseen)
        log.info("the command %s failed", list(words)[:2], exc_info=True)
        complain(unforeseen, voice, reach, as_json=as_json)
        return unforeseen.exit_status
    except Exception as error:
        work.failed(error)
        log.exception("the command %s failed", list(words)[:2])
        voice.err(f"shardd: internal error: {type(error).__name__}: {printable(str(error))}")
        return INTERNAL
    except BaseException:
        work.ended_as(GONE)
        raise
    return REFUSED if work.refused else OK  # an answer of many items may tell of some that were


def _out(voice: Voice, line: str, answer: AnyAnswer) -> None:
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


def encoded(value: Json) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # the name of a ref may be any bytes: JSON can spell what UTF-8 cannot
        return json.dumps(value, separators=(",", ":"))
