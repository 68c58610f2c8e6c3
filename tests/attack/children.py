"""Work done by a forked child, which may die of it. A fork costs a millisecond where a new Python costs a second."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shardd.files import crash_points


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended. said: what it reported before; killed: it died of SIGKILL"""

    said: list[Any]
    killed: bool


class Child:
    """A forked process that runs `job(say)`; `say` reports a value, safe from whatever happens next."""

    def __init__(
        self, job: Callable[[Callable[[object], None]], None], *, kill_at: str = "", stop_at: str = ""
    ) -> None:
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(write)
            with contextlib.suppress(ProcessLookupError):
                os.setpgid(self.pid, self.pid)  # by both of us, so that it is done whoever comes first
            return
        status = 1
        try:
            os.setpgid(0, 0)
            os.close(self._read)
            crash_points.arm(kill_at)
            if stop_at:
                crash_points.arm(stop_at, how=signal.SIGSTOP)
            job(lambda value: _write(write, pickle.dumps(value)))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def stops(self) -> None:
        """Wait until it stands still."""
        found = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert found is not None
        assert found.si_code == os.CLD_STOPPED, "the child ended without coming to where it was to stop"

    def goes_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    @property
    def ended(self) -> bool:
        """Whether there is nothing to wait for."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def kill(self, *, group: bool = False) -> None:
        """SIGKILL. group: also to whatever it has started."""
        (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)

    def hears(self) -> Any:
        """The next value that it says."""
        head = os.read(self._read, 4)
        assert len(head) == 4, "the child ended without saying more"
        return pickle.loads(self._exactly(int.from_bytes(head, "big")))

    def ends(self, *, group: bool = False) -> Ending:
        """Wait for it. A child that failed by an exception fails the test. group: kill what it has left running."""
        said: list[Any] = []
        while head := os.read(self._read, 4):
            if len(head) < 4:
                break
            size = int.from_bytes(head, "big")
            raw = self._exactly(size)
            if len(raw) == size:
                said.append(pickle.loads(raw))
        os.close(self._read)
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)  # it still owns its number, and its group
        if group:
            os.killpg(self.pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        assert status in (0, -signal.SIGKILL), f"a child ended with status {status}"
        return Ending(said, status == -signal.SIGKILL)

    def _exactly(self, size: int) -> bytes:
        raw = b""
        while len(raw) < size and (more := os.read(self._read, size - len(raw))):
            raw += more
        return raw


def _write(descriptor: int, raw: bytes) -> None:
    # One write of less than PIPE_BUF is never torn.
    message = len(raw).to_bytes(4, "big") + raw
    assert len(message) <= 4096
    os.write(descriptor, message)
