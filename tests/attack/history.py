"""Every call and every answer, by every process of an attack, as lines of JSON in one file.

    {"t": 81.2, "call": "4711-3", "do": "append", "who": "p3", "way": "ssh", "events": {"garden/one": [[ID, SEQ, OID]]}}
    {"t": 81.9, "done": "4711-3", "how": "ok"}
    {"t": 82.0, "act": "pack-refs", "slowed": "strace"}

A call is written before it is made and its answer after it was had, each by one write(2) to the end of the file: so the
order of lines is an order in which things can have happened, and a call whose process was killed has no answer. `how`
is `ok`, `refused` (a definite no), `unknown` (it may have been done), or `failed` (an answer that must never be given).
"""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from shardd.core.canonical import Json
from shardd.core.event import Event
from shardd.errors import Rejected, Unavailable

T = TypeVar("T")

How: TypeAlias = Literal["ok", "refused", "unknown", "failed"]

Batches: TypeAlias = Mapping[str, Sequence[tuple[str, int | None, str | None]]]
"""Events by space, `repo/space`: id, and where they are known beforehand or were told, seq and oid."""

_number = count(1)


class History:
    """The file at `path`. Forked children may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def note(self, **said: object) -> None:
        """One line. What is killed in the midst of it leaves a torn line, which the next one does not continue."""
        line = json.dumps({"t": round(time.monotonic(), 4), **said}, ensure_ascii=False, separators=(",", ":"))
        os.write(self._end, f"\n{line}\n".encode())

    def call(self, do: str, who: str, way: str, **said: object) -> Call:
        """Somebody is about to ask for something."""
        call = Call(self, f"{os.getpid()}-{next(_number)}")
        self.note(call=call.number, do=do, who=who, way=way, **said)
        return call

    def read(self, start: int) -> tuple[list[dict[str, Json]], int]:
        """What was written after the byte `start`, and where that ends."""
        with self.path.open("rb") as file:
            file.seek(start)
            raw = file.read()
        found: list[dict[str, Json]] = []
        for line in raw.splitlines():
            try:
                value = json.loads(line) if line else None
            except ValueError:
                continue  # torn: its writer was killed, and never came to what it was about to do
            if isinstance(value, dict):
                found.append(value)
        return found, start + len(raw)


@dataclass(frozen=True, slots=True)
class Call:
    """One call that was made, to be answered at most once."""

    history: History
    number: str

    def done(self, how: How, **said: object) -> None:
        self.history.note(done=self.number, how=how, **said)


def told(space: str, events: Iterable[Event]) -> Batches:
    """What an answer says of events, for the history."""
    return {space: [(event.id, event.seq, event.oid) for event in events]}


def tried(call: Call, job: Callable[[], T], tell: Callable[[T], Mapping[str, object]]) -> tuple[How, T | None]:
    """Do what the call asks for; its answer is kept, an error as what it says of itself. tell: what to keep of it"""
    try:
        value = job()
    except Unavailable as error:
        call.done("unknown", code=error.code, said=str(error)[:1000])
        return "unknown", None
    except Rejected as error:
        call.done("refused", code=error.code, said=str(error)[:1000])
        return "refused", None
    except Exception as error:
        # Corrupt as well: nobody has spoiled anything, so nothing may look spoiled.
        code = getattr(error, "code", type(error).__name__)
        call.done("failed", code=code, said="".join(traceback.format_exception(error))[-3000:])
        return "failed", None
    call.done("ok", **tell(value))
    return "ok", value
