"""A machine whose clocks the test turns."""

from __future__ import annotations

from dataclasses import dataclass

NOON = 1_781_517_600_000
"""2026-06-15T10:00:00Z in milliseconds."""

SECOND = 1_000
HOUR = 3_600_000
DAY = 24 * HOUR


@dataclass(slots=True)
class FakeTime:
    """A TimeSource. `skew` is how far the wall clock is from the truth."""

    true: int = NOON
    booted: int = NOON - DAY
    skew: int = 0
    boots: int = 1
    named: bool = True

    def boot(self) -> str:
        return f"boot-{self.boots}" if self.named else ""

    def uptime(self) -> int:
        return self.true - self.booted

    def wall(self) -> int:
        return self.true + self.skew

    def passes(self, milliseconds: int) -> None:
        self.true += milliseconds

    def reboot(self, *, down: int = 60_000, skew: int | None = None) -> None:
        """The machine was off for `down` milliseconds; its wall clock may have come back wrong."""
        self.true += down
        self.booted = self.true
        self.boots += 1
        if skew is not None:
            self.skew = skew
