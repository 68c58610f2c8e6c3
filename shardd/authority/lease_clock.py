"""The lease clock: one clock per authority, which nobody can set back.

While the machine stays up it is the boot-time clock (which runs through suspend) counted from a stored mark; wall-clock
time plays no part, so setting it changes nothing. After a reboot it resumes at the later of mark and wall clock: a
clock that was set back cannot revive a lease, and one that once ran ahead only shifts the scale on which all leases are
measured.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Mark:
    """The lease clock said `time` when boot `boot` had been up for `uptime`. In milliseconds."""

    boot: str
    uptime: int
    time: int


class TimeSource(Protocol):
    """What the machine says. Milliseconds."""

    def boot(self) -> str:
        """An identifier of this boot; empty if there is none, in which case every reading counts as a new boot."""
        ...

    def uptime(self) -> int: ...

    def wall(self) -> int: ...


class SystemTime:
    """The real clocks of this machine."""

    def boot(self) -> str:
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return ""

    def uptime(self) -> int:
        clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        return time.clock_gettime_ns(clock) // 1_000_000

    def wall(self) -> int:
        return time.time_ns() // 1_000_000


def read(source: TimeSource, mark: Mark | None) -> Mark:
    """The mark of this moment: its `time` is what the lease clock says. Never earlier than `mark`."""
    boot, uptime = source.boot(), source.uptime()
    if mark is None:
        return Mark(boot, uptime, source.wall())
    if boot and boot == mark.boot:
        return Mark(boot, uptime, mark.time + max(0, uptime - mark.uptime))
    return Mark(boot, uptime, max(mark.time, source.wall()))
