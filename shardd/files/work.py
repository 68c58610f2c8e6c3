"""Work: one thing that was asked for, while it is done. Whoever does it notes here what becomes known of it."""

from __future__ import annotations

import time

from shardd.core.outcome import OK, Kind, Outcome, shortened, verdict_of


class Work:
    """For one thread at a time. origin, key: see Outcome."""

    def __init__(
        self, kind: Kind = Kind.COMMAND, *, who: str | None = None, origin: str = "", key: str | None = None
    ) -> None:
        self.kind = kind
        self.who = who
        self.origin = origin
        self.key = key
        self.repo: str | None = None
        self.space: str | None = None
        self.what = ""
        self.settled = False
        self._verdict, self._why = OK, ""
        self._waited = 0.0
        self._began = time.monotonic()

    def about(self, repo: str | None, space: str | None, what: str | None = None) -> None:
        self.repo, self.space = repo, space
        if what is not None:
            self.what = shortened(what)

    def failed(self, error: BaseException) -> None:
        self.ended_as(*verdict_of(error))

    def ended_as(self, verdict: str, why: str = "") -> None:
        """The first verdict counts: what comes after it follows from it."""
        if not self.settled:
            self.settled = True
            self._verdict, self._why = verdict, shortened(why)

    @property
    def refused(self) -> bool:
        """Whether it, or a part of it, came to nothing."""
        return self.settled and self._verdict != OK

    def done(self) -> None:
        """It was accepted and carried out: whatever is heard after that, it is no refusal."""
        self.ended_as(OK)

    def waited(self, seconds: float) -> None:
        """So long of it was waiting for a lock, or for one's turn."""
        self._waited += seconds

    def outcome(self) -> Outcome:
        return Outcome(
            kind=self.kind,
            at=time.time_ns() // 1_000_000,
            who=self.who,
            origin=self.origin,
            key=self.key,
            repo=self.repo,
            space=self.space,
            what=self.what,
            verdict=self._verdict,
            why=self._why,
            waited=round(self._waited * 1000),
            took=round((time.monotonic() - self._began) * 1000),
        )
