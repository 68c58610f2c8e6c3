"""What the kernel allows a git that works for others: the second line behind core/incoming.py.

Soft limits alone, which everything that such a git starts inherits; our hooks lift them for the site's own. On memory
it is RLIMIT_DATA: RLIMIT_AS would count the packs that git maps, and a large repo could not be read any more. A git
without memory says so and gives up; one that has used up its time is ended by SIGXCPU.
"""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """memory: bytes of one process; cpu: seconds of one process"""

    memory: int
    cpu: int

    def apply(self, pid: int = 0) -> None:
        """To a running process of ours (0: this one), and to all that it starts from now on."""
        if sys.platform != "linux":
            return  # nothing else can limit a process from outside; the pack is measured everywhere
        for what, most in ((resource.RLIMIT_DATA, self.memory), (resource.RLIMIT_CPU, self.cpu)):
            with suppress(ProcessLookupError):  # it has ended already
                _, hard = resource.prlimit(pid, what)
                soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
                resource.prlimit(pid, what, (soft, hard))
