"""Our end of the pipes that the hooks of one push relay to: read an opening, do what the hook would, answer.

Runs in a thread of its own, since locks and disks block. When the thread ends, for whatever reason, both pipes are
closed, and a hook that still waits refuses.
"""

from __future__ import annotations

import logging
import os
from typing import IO

from shardd.authority.receive import Receiver
from shardd.core.hook_protocol import MOST_REFS, Opening, read_opening, too_many
from shardd.errors import SharddError, Unavailable
from shardd.service.push_stage import Stage

log = logging.getLogger("shardd.push")


def serve(receiver: Receiver, incoming: int, outgoing: int, stage: Stage) -> Exception | None:
    """Answer the hooks of one push until git closes the pipe; what cut that short. Takes over both descriptors."""
    with os.fdopen(incoming, "rb") as asks, os.fdopen(outgoing, "wb") as answers:
        try:
            while (opening := read_opening(asks)) is not None:
                stage.asked = True
                if opening.hook == "pre-receive":
                    _pre_receive(receiver, opening, asks, answers)
                elif opening.hook == "proc-receive":
                    stage.decide()
                    receiver.proc_receive(asks, answers)
                    return None
                else:
                    raise Unavailable(f"there is no hook {opening.hook!r}")
        except BrokenPipeError:
            log.info("git went away during a push into %s", receiver.label)
        except SharddError as error:
            return error
        except Exception as error:
            log.exception("a push into %s failed", receiver.label)
            return error
        return None


def _pre_receive(receiver: Receiver, opening: Opening, asks: IO[bytes], answers: IO[bytes]) -> None:
    lines: list[str] = []
    while (line := asks.readline()) != b"\n":
        if not line.endswith(b"\n"):
            raise Unavailable("a hook's list of refs was cut short")
        if len(lines) <= MOST_REFS:
            lines.append(line.decode("utf-8", "surrogateescape"))
    try:
        if len(lines) > MOST_REFS:
            raise too_many("refs", MOST_REFS)
        reject = receiver.pre_receive(lines, opening.options, opening.quarantine)
        said = [] if reject is None else receiver.lines_for(reject)
        verdict = "accept" if reject is None else "refuse"
    except SharddError as error:
        receiver.work.failed(error)
        verdict, said = "refuse", receiver.lines_for(error)
    except Exception as error:
        receiver.work.failed(error)
        log.exception("a push into %s failed", receiver.label)
        verdict, said = "refuse", ["shardd: refused: internal error; the server's log has more"]
    answers.write("\n".join([verdict, *said, "", ""]).encode("utf-8", "replace"))
    answers.flush()
