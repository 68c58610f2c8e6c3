"""One push, received: how git's pre-receive and proc-receive ask the authority, in the server and without one.

pre-receive looks at the quarantined objects, without locks and without effects: it keeps refused objects out of the
repo and answers most refusals. proc-receive alone pushes. Whatever goes wrong in either is a refusal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from shardd.authority.authorities import EmbeddedAuthority, embedded_authority
from shardd.authority.facts import Pusher, parse_options
from shardd.authority.lease_clock import SystemTime, TimeSource
from shardd.authority.moved import Moved
from shardd.core.hook_protocol import FLUSH, one_line, packet, parse_update, read_packets, refusal_lines, report
from shardd.core.limits import Limits
from shardd.core.outcome import Kind, refs_of
from shardd.core.policy import Reject
from shardd.core.refs import Change
from shardd.core.roles import Rights
from shardd.errors import SharddError
from shardd.files.crash_points import Point, reached
from shardd.files.work import Work
from shardd.git.pushed_objects import PushedObjects
from shardd.git.repository import Repository

log = logging.getLogger("shardd.push")

_FEATURES = ("push-options", "atomic")


@dataclass(frozen=True, slots=True)
class Receiver:
    """Receives pushes into one repo from one pusher.

    label: the repo's name in messages; pusher: who, with what rights, looked up anew at each decision, as rights change
    reach: how the pusher calls our commands, such as `ssh -p 2222 host`
    work: is told what becomes of the push; moved: that of the repo in this process
    """

    path: Path
    label: str
    pusher: Callable[[], tuple[Pusher, Rights]]
    reach: str = "shardd"
    limits: Limits = field(default_factory=Limits)
    source: TimeSource = field(default_factory=SystemTime)
    work: Work = field(default_factory=lambda: Work(Kind.PUSH))
    moved: Moved = field(default_factory=Moved)

    def pre_receive(self, lines: Sequence[str], options: Sequence[str], quarantine: Mapping[str, str]) -> Reject | None:
        """None if the push may go on. lines: `<old> <new> <ref>`; quarantine: git's variables for a hook."""
        changes = [parse_update(line) for line in lines]
        self.note(changes, options)
        # What is pushed is looked up in the quarantine; how a space stands, beside it: that may have to be settled
        # first, and from inside git moves no ref.
        with Repository(self.path, quarantine=quarantine) as incoming, Repository(self.path) as repository:
            authority = self._authority(repository)
            rejected = authority.look(changes, parse_options(options), self._who, PushedObjects(incoming))
            if rejected is not None:
                self.work.failed(rejected.reason)
            return rejected

    def proc_receive(self, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        """Git's conversation with the hook, to its end."""
        version, _, offered = (read_packets(stdin) or [""])[0].partition("\0")
        if version != "version=1":
            raise SharddError(f"git speaks {version!r} to proc-receive, and we version=1")
        common = [feature for feature in offered.split() if feature in _FEATURES]
        stdout.write(packet("version=1\0" + " ".join(common)) + FLUSH)
        stdout.flush()
        changes = [parse_update(line) for line in read_packets(stdin)]
        options = read_packets(stdin) if "push-options" in common else []
        refusal = self._move(changes, options)
        stdout.write(report((change.ref for change in changes), refusal))
        stdout.flush()
        reached(Point.AFTER_ANSWER)

    def _move(self, changes: Sequence[Change], options: Sequence[str]) -> str | None:
        """None if all was moved, else why nothing was."""
        self.note(changes, options)
        try:
            with Repository(self.path) as repository:
                authority = self._authority(repository)
                incoming = PushedObjects(repository)
                decision = authority.push(changes, parse_options(options), self._who, incoming)
            if isinstance(decision, Reject):
                self.work.failed(decision.reason)
                return self.one_line(decision)
        except SharddError as error:
            self.work.failed(error)
            return self.one_line(error)
        except Exception as error:
            self.work.failed(error)
            log.exception("push into %s failed", self.label)
            return "internal error: the server's log has more"
        self.work.done()
        return None

    def note(self, changes: Sequence[Change], options: Sequence[str]) -> None:
        """What is asked, for whoever is told what became of it."""
        spaces = {change.parsed.space for change in changes}
        self.work.about(self.label, spaces.pop() if len(spaces) == 1 else None, refs_of(changes, options))

    def lines_for(self, refusal: Reject | SharddError) -> list[str]:
        """What the pusher reads."""
        return refusal_lines(refusal.reason if isinstance(refusal, Reject) else refusal, self.reach)

    def one_line(self, refusal: Reject | SharddError) -> str:
        return one_line(self.lines_for(refusal))

    def _who(self) -> Pusher:
        """Who pushes, noted for whoever is told of it."""
        pusher, _ = self.pusher()
        self.work.who = pusher.principal
        return pusher

    def _authority(self, repository: Repository) -> EmbeddedAuthority:
        return embedded_authority(
            repository,
            label=self.label,
            rights=lambda: self.pusher()[1],
            limits=self.limits,
            source=self.source,
            moved=self.moved,
            waited=self.work.waited,
        )
