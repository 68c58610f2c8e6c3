"""Refusals that carry what a program needs to go on, as data. Over the wire and back: core/error_values.py.

Their words are made from the data where somebody reads them. One that came from a server keeps the words that were said
there: its remedies name the commands by which this reader reaches that server.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

from shardd.core.durations import left_text
from shardd.core.event import Head
from shardd.core.mending import REBASED
from shardd.core.tenancy import Ended, Lease
from shardd.errors import Rejected

Words: TypeAlias = tuple[str, str]
"""Message and remedy."""


class Asked(StrEnum):
    """What somebody asked for whose turn it is not."""

    APPEND = "append"  # or to hold the lease
    KEEP = "keep"  # what is for the holder: to renew, release or transfer it
    GRANT = "grant"  # that it be granted to `principal`, without force


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Why it is not the turn of `principal`. Times in milliseconds of the lease clock, `now` among them.

    space: as it is called in messages, `repo/space`; lease: the live one; ended: how the last one did, where none is
    waiting: who comes first although nobody holds it, in order; barred_until: the lease was revoked from `principal`
    may_append: whether the role of `principal` would do; begins: nobody has created the space, which this would begin
    """

    space: str
    principal: str
    now: int
    lease: Lease | None = None
    asked: Asked = Asked.APPEND
    ended: Ended = Ended.FIRST
    waiting: tuple[str, ...] = ()
    barred_until: int | None = None
    may_append: bool = True
    begins: bool = False

    @property
    def left(self) -> int:
        """Milliseconds for which somebody still holds it."""
        return 0 if self.lease is None else self.lease.left(self.now)

    def words(self) -> Words:
        space, me, lease = self.space, self.principal, self.lease
        if self.barred_until is not None:
            left = left_text(self.barred_until - self.now)
            return (
                f"the lease of {space} was revoked from {me}, who may not hold it for {left}",
                f"wait, or ask an admin for `shardd lease grant {space} {me}`",
            )
        if self.asked is Asked.APPEND:
            message, remedy = self._free() if lease is None else self._held(lease)
            if not self.may_append:
                remedy = f"{me} needs the role append first: ask an admin for `shardd role grant {me} append {space}`"
            return message, remedy
        if lease is None:
            how = "" if self.ended is Ended.FIRST else f": the last one {_ENDINGS[self.ended]}"
            return f"nobody holds {space}{how}", f"run `shardd lease acquire {space}`"
        if self.asked is Asked.KEEP:
            return (
                f"{lease.holder} holds {space} (epoch {lease.epoch}), not {me}",
                f"ask {lease.holder}, or an admin: `shardd lease revoke {space}`",
            )
        return (
            f"{lease.holder} holds {space} (epoch {lease.epoch}, {left_text(self.left)} left)",
            f"wait, or run `shardd lease grant {space} {me} --force` to take it away",
        )

    def _free(self) -> Words:
        space = self.space
        if self.waiting:
            return (
                f"{space} is free, but {self.waiting[0]} waits for it and comes first",
                f"run `shardd lease acquire {space} --wait 60` to stand in line",
            )
        if self.begins:
            # A space that is not there yet has no lease that could be acquired.
            return (
                f"nobody holds the lease of {space}, which nobody has created",
                f"take the lease for this alone with `--take-lease`, or run `shardd space create {space}` and "
                f"`shardd lease acquire {space}`, then try again",
            )
        how = "" if self.ended is Ended.FIRST else f" (the last one {_ENDINGS[self.ended]})"
        return f"nobody holds the lease of {space}{how}", f"run `shardd lease acquire {space}`, then try again"

    def _held(self, lease: Lease) -> Words:
        space, holder = self.space, lease.holder
        since = f"(epoch {lease.epoch}, {left_text(self.left)} left)"
        if holder == self.principal:
            return (
                f"{holder} already holds {space} in another session {since}",
                f"run `shardd lease renew {space}` to keep it, or `shardd lease release {space}` first",
            )
        wait = f"`shardd lease acquire {space} --wait {-(-self.left // 1000)}`"
        return f"{holder} holds the lease of {space} {since}", f"ask {holder} to release it, or wait: {wait}"


_ENDINGS = {
    Ended.RELEASED: "was released",
    Ended.EXPIRED: "expired",
    Ended.TRANSFERRED: "was transferred",
    Ended.REVOKED: "was revoked",
    Ended.RESTORED: "ended when the repo was restored",
}


class NotHolder(Rejected):
    """It is not the caller's turn: somebody else holds the lease, or nobody does. words: as another process said it"""

    def __init__(self, turn: Turn, words: Words | None = None) -> None:
        super().__init__("not-holder", "")
        self.turn = turn
        self._said = words

    @property
    def lease(self) -> Lease | None:
        """The live one, which is another's."""
        return self.turn.lease

    def words(self) -> Words:
        return self._said or self.turn.words()


class Met(StrEnum):
    """How it came out that the log does not stand where somebody believed."""

    EXPECTED = "expected"  # the caller said where
    PUSHED = "pushed"  # the head is no ancestor of what was pushed
    MEANWHILE = "meanwhile"  # it moved between the push's look and its turn


class HeadMoved(Rejected):
    """The log has moved on since the caller looked. head: where it stands now; None if the space does not exist

    expected: where the caller believed it to stand, where that was said; words: as another process said it
    """

    def __init__(
        self,
        head: Head | None,
        *,
        space: str = "",
        expected: Head | Literal["absent"] | None = None,
        met: Met = Met.EXPECTED,
        words: Words | None = None,
    ) -> None:
        super().__init__("non-fast-forward", "")
        self.head = head
        self.space = space
        self.expected = expected
        self.met = met
        self._said = words

    def words(self) -> Words:
        if self._said:
            return self._said
        if self.met is Met.EXPECTED:
            now = "the space does not exist" if self.head is None else f"the head is {_at(self.head)}"
            believed = _at(self.expected) if isinstance(self.expected, Head) else self.expected
            return f"expected {believed}, but {now}", "read the events since, and decide again"
        at = self.space if self.head is None else f"{self.space} is at {_at(self.head)}"
        how = ", which what you push does not contain" if self.met is Met.PUSHED else "; it moved while you pushed"
        return at + how, f"run {REBASED}, then push again"


class Stale(StrEnum):
    """Where an epoch was missed, or another than the current one was named."""

    PUSH = "push"
    COMMIT = "commit"
    OVER = "over"  # named by a push that would begin another
    LEASE_CALL = "lease call"
    UNNAMED = "unnamed"
    UNNAMED_IMPORT = "unnamed, by an import"
    UNNAMED_LEASE_CALL = "unnamed, by a lease call"


_STALE = {
    Stale.PUSH: (
        "the epoch of {space} is {epoch}, and this push was made for {named}",
        "look before you push again: `shardd lease history {space}`",
    ),
    Stale.COMMIT: (
        "commit {commit} says Lease-Epoch: {named}, and the epoch of {space} is {epoch}",
        "look before you append again: `shardd lease history {space}`; if it still holds, leave the trailer out{edit}",
    ),
    Stale.OVER: (
        "epoch {named} of {space} is over and lease=acquire would begin another",
        "push without `-o epoch`",
    ),
    Stale.LEASE_CALL: ("the epoch of {space} is {epoch}, not {named}", "see `shardd lease show {space}`"),
    Stale.UNNAMED: (
        "the lease of {space} is fenced: a push names its epoch",
        "push with `-o epoch={epoch}` if it is yours",
    ),
    Stale.UNNAMED_IMPORT: ("the lease of {space} is fenced: an import names its epoch", "run it with `--epoch N`"),
    Stale.UNNAMED_LEASE_CALL: ("the lease of {space} is fenced: name its epoch", "run it again with `--epoch N`"),
}


class StaleEpoch(Rejected):
    """Not the current epoch. epoch: the current one, or the last; named: the caller's, None where it names none

    space: as it is called in messages, `repo/space`; commit, edit: which one names it, and the how that is edited
    words: as another process said it
    """

    def __init__(
        self,
        how: Stale,
        space: str,
        epoch: int,
        named: int | None,
        *,
        commit: str = "",
        edit: str = "",
        words: Words | None = None,
    ) -> None:
        super().__init__("stale-epoch", "")
        self.how = how
        self.space = space
        self.epoch = epoch
        self.named = named
        self.commit = commit
        self.edit = edit
        self._said = words

    def words(self) -> Words:
        if self._said:
            return self._said
        values = {
            "space": self.space,
            "epoch": self.epoch,
            "named": self.named,
            "commit": self.commit,
            "edit": self.edit,
        }
        message, remedy = _STALE[self.how]
        return message.format(**values), remedy.format(**values)


def _at(head: Head) -> str:
    return f"seq {head.seq}, {head.oid[:12]}"
