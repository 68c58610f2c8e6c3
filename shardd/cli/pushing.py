"""A push over OpenSSH: all that comes is measured before git has it. Its hooks decide by themselves.

If the client leaves, git comes to its end by itself: a process of its own moves the refs here, and is not to be
disturbed; the limits of the kernel hold for all of them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from shardd.commands.git_request import GIT_REFUSED, GitRun
from shardd.commands.run_command import Voice, complain
from shardd.core.hook_protocol import TELLING, one_line, refusal_lines
from shardd.core.incoming import Incoming
from shardd.core.limits import PackBounds
from shardd.errors import SharddError
from shardd.git.quarantine import discard, named_by

_PIECE = 64 * 1024
_GRACE = 4.0


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a push. refs: those to be moved; told: a hook has told the audit; refused: for what it brought"""

    status: int
    refs: Sequence[str]
    told: bool
    refused: SharddError | None = None


def serve(run: GitRun, bounds: Callable[[Sequence[str]], PackBounds], voice: Voice, reach: str) -> Done:
    """Run receive-pack on our own streams."""
    incoming = Incoming(bounds)
    refused: list[SharddError] = []
    told, telling = os.pipe()
    os.set_blocking(told, False)
    environment = {**run.environment, TELLING: str(telling)}
    with subprocess.Popen(
        run.arguments, env=environment, stdin=subprocess.PIPE, start_new_session=True, pass_fds=(telling,)
    ) as child:
        # In a thread: git may have done before the client closes its side.
        passing = threading.Thread(target=_pass_on, args=(child, run, incoming, refused), daemon=True)
        passing.start()
        status = child.wait()
        if refused:
            passing.join()
    if not refused:
        return Done(status if status >= 0 else 128 - status, incoming.refs, _said(told))
    error = refused[0]
    said = refusal_lines(error, reach)
    answer = incoming.answer(said, one_line(said))
    if answer is None:
        complain(error, voice, reach, as_json=False)
    else:
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()
    return Done(GIT_REFUSED, incoming.refs, _said(told), error)


def _said(pipe: int) -> bool:
    """Whether anything was written into it."""
    try:
        return bool(os.read(pipe, 1))
    except BlockingIOError:
        return False


def _pass_on(child: subprocess.Popen[bytes], run: GitRun, incoming: Incoming, refused: list[SharddError]) -> None:
    assert child.stdin is not None
    try:
        while data := os.read(sys.stdin.fileno(), _PIECE):
            incoming.feed(data)
            child.stdin.write(data)
            child.stdin.flush()
    except OSError:
        pass  # git has ended
    except SharddError as error:
        refused.append(error)
        # Its input stays open until it is gone: it would speak of the end of it.
        left = named_by(child.pid, run.repository)
        for how in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(child.pid, how)
            with suppress(subprocess.TimeoutExpired):
                child.wait(_GRACE)
        discard(left)
        return
    with suppress(OSError):
        child.stdin.close()
