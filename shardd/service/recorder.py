"""Where the daemon's outcomes go: each a line in the log and a line in the audit, in order, and in nobody's way."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import msgspec
import structlog

from shardd.core.outcome import INTERNAL, Outcome
from shardd.errors import Corrupt, Unavailable
from shardd.files.audit_log import Audit
from shardd.files.work import Work

log = structlog.stdlib.get_logger("shardd.outcome")

_PATIENCE = 1.0
"""Seconds that the end of a session waits for its line in the audit: a disk that hangs holds up nobody."""

_MOST = 10_000
"""Outcomes that wait for a disk; beyond them the audit lacks some, and the log has them all."""


class Recorder:
    """For the event loop's thread."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="shardd-audit")
        self._pending: set[asyncio.Future[None]] = set()

    def ended(self, work: Work) -> asyncio.Future[None] | None:
        """Tell what became of it, which is what is known now. The future ends when the audit has it."""
        outcome = work.outcome()
        say(outcome)
        if len(self._pending) >= _MOST:
            return None
        told = asyncio.get_running_loop().run_in_executor(self._writer, self._audit.tell, outcome)
        self._pending.add(told)
        told.add_done_callback(self._pending.discard)
        return told

    async def told(self, work: Work) -> None:
        """Like `ended`, and the audit has it on return: whoever asks for it next finds it there."""
        told = self.ended(work)
        if told is not None:
            await asyncio.wait((told,), timeout=_PATIENCE)

    async def finish(self) -> None:
        """As the process ends: what is on its way is written, if the disk lets it."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=_PATIENCE)


def say(outcome: Outcome) -> None:
    """The one line of the log."""
    facts = msgspec.structs.asdict(outcome)
    del facts["at"]  # the line has its own time
    kind = str(facts.pop("kind"))
    shown = {name: value for name, value in facts.items() if value not in (None, "")}
    if outcome.verdict in (INTERNAL, Corrupt.code):
        log.error(kind, **shown)
    elif outcome.verdict == Unavailable.code:
        log.warning(kind, **shown)
    else:
        log.info(kind, **shown)
