"""What makes a log whole, checked commit by commit from the genesis on, together with the journal of its leases.

    genesis           the first commit is not exactly the space's genesis
    shallow           … because the history before it is not here
    missing           a commit is not here, or cannot be read
    oid               the bytes do not hash to their name
    not-linear        a commit has not exactly the one before it as parent
    bad-event         the bytes break the format (canonical or accepted), naming the field
    seq-gap           the number does not follow; only an import leaves numbers out, before anything else is appended
    duplicate-event   an id that an earlier event has
    epoch             a Lease-Epoch that goes back, or that is not the one in force there, or that nobody held
    journal           a commit of the journal that is not linear, not in the authority's form, or whose epoch goes back
    resumed-at        a tenure that resumes from a head that this log does not have
    behind            in a copy, where log or journal ends before what the other names: git fetches one after the other,
                      and both may have moved on between. Fetching again settles whether anything was lost
    signature         a signature that does not fit the commit (upkeep/verify.py)

An event's epoch is that of the last tenure that resumed at, or before, its parent. Where the journal is not at hand,
epochs are only checked for going back.
"""

from __future__ import annotations

from collections.abc import Iterator

from shardd.core.codec import decode_event, decode_genesis, is_canonical, skim
from shardd.core.event import Head
from shardd.core.journal import Entry, decode_entry
from shardd.core.objects import algorithm_of, commit_oid, parents, parse_commit
from shardd.errors import BadEvent, Damaged


class Journal:
    """The published leases of a space, oldest first, each checked as it is taken. commits: (oid, bytes)"""

    def __init__(self, commits: Iterator[tuple[str, bytes]]) -> None:
        self._commits = commits
        self._before: tuple[str, Entry] | None = None
        self.next: Entry | None = None
        self.next_oid = ""
        self.epochs = 0
        self.advance()

    def advance(self) -> None:
        """Go on to the next entry; `next` is None after the last."""
        found = next(self._commits, None)
        if found is None:
            self.next = None
            return
        oid, raw = found
        parent = None if self._before is None else self._before[0]
        try:
            entry = decode_entry(raw)
        except BadEvent as error:
            raise Damaged("journal", None, oid, error.message) from None
        if commit_oid(raw, algorithm=algorithm_of(oid)) != oid:
            raise Damaged("oid", None, oid, "the bytes of this entry of the journal do not hash to its name")
        if parse_commit(raw).parents != (() if parent is None else (parent,)):
            raise Damaged("journal", None, oid, "does not follow on the entry before it")
        if self._before is not None:
            last = self._before[1]
            if entry.tenure.epoch <= last.tenure.epoch:
                said = f"epoch {entry.tenure.epoch} after epoch {last.tenure.epoch}"
                raise Damaged("journal", None, oid, f"epochs only grow: {said}")
            if entry.resumed_at.seq < last.resumed_at.seq:
                said = f"seq {entry.resumed_at.seq} after seq {last.resumed_at.seq}"
                raise Damaged("journal", None, oid, f"heads only grow: resumed at {said}")
        self._before = oid, entry
        self.next, self.next_oid = entry, oid
        self.epochs += 1


class Verifier:
    """Takes a log commit by commit; Damaged at the first rule that is broken.

    journal: None where it is not at hand; copy: log and journal were fetched, not read where they are written
    """

    def __init__(self, space: str, journal: Journal | None, *, copy: bool = False) -> None:
        self._space = space
        self._copy = copy
        self._journal = journal
        self._seq = -1
        self._oid = ""
        self._genesis = -1
        self._epoch: int | None = None
        self._tenure: Entry | None = None
        self._importing = True
        self.events = 0
        self.gaps = 0

    @property
    def head(self) -> Head | None:
        return Head(self._seq, self._oid) if self._oid else None

    def begin(self, oid: str, raw: bytes) -> None:
        """The first commit."""
        _check_oid(oid, raw, None)
        try:
            self._seq = self._genesis = decode_genesis(raw, self._space)
        except BadEvent as error:
            if parents(raw):
                raise Damaged(
                    "shallow", None, oid, "the history before it is not here", "run `git fetch --unshallow`"
                ) from None
            raise Damaged("genesis", None, oid, f"is not the genesis of {self._space}: {error.message}") from None
        self._oid = oid
        self._resume()

    def event(self, oid: str, raw: bytes) -> tuple[str, int, bool]:
        """The next commit: its Event-Id, its number, and whether it is signed."""
        if commit_oid(raw, algorithm=algorithm_of(oid)) != oid:
            _check_oid(oid, raw, self._seq + 1)
        try:
            parents, seq, id, epoch, signed = skim(raw, oid=oid, parent_seq=self._seq)
        except BadEvent as error:
            raise self._damaged("bad-event", oid, error.message) from None
        if parents != (self._oid,):
            raise self._damaged("not-linear", oid, f"does not have the one parent {self._oid[:12]}")
        if seq != self._seq + 1:
            self._check_gap(oid, raw, seq)
        if epoch is not None:
            self._check_epoch(oid, epoch)
            self._importing = False
        self._seq, self._oid = seq, oid
        self.events += 1
        if self._journal is not None and self._journal.next is not None:
            self._resume()
        return id, seq, signed

    def end(self) -> None:
        """After the last commit."""
        journal = self._journal
        if journal is not None and journal.next is not None:
            at = journal.next.resumed_at
            raise Damaged(
                "behind" if self._copy else "resumed-at",
                self._seq,
                journal.next_oid,
                f"epoch {journal.next.tenure.epoch} resumed at seq {at.seq}, {at.oid[:12]}, and this log ends before",
                "run `git fetch` and verify again; if that does not help, events were lost",
            )

    def _resume(self) -> None:
        """Take the tenures that resume from the commit just read."""
        journal = self._journal
        while journal is not None and journal.next is not None and journal.next.resumed_at.seq <= self._seq:
            at = journal.next.resumed_at
            if at != Head(self._seq, self._oid):
                message = f"epoch {journal.next.tenure.epoch} resumed at seq {at.seq}, {at.oid[:12]}, which is not here"
                raise Damaged("resumed-at", self._seq, journal.next_oid, message)
            self._tenure = journal.next
            if self._seq > self._genesis:
                self._importing = False
            journal.advance()

    def _check_gap(self, oid: str, raw: bytes, seq: int) -> None:
        """Numbers may be left out by an import, which is canonical, under no lease, and first."""
        if seq > self._seq and self._importing:
            event = decode_event(raw, oid=oid, parent_seq=self._seq)
            if event.epoch is None and is_canonical(raw, event, self._oid):
                self.gaps += 1
                return
        raise self._damaged("seq-gap", oid, f"says Seq: {seq}, and follows on seq {self._seq}")

    def _check_epoch(self, oid: str, epoch: int) -> None:
        if self._epoch is not None and epoch < self._epoch:
            raise self._damaged("epoch", oid, f"epoch {epoch} after epoch {self._epoch}")
        if self._journal is not None:
            tenure = None if self._tenure is None else self._tenure.tenure
            if self._copy and self._journal.next is None and epoch > (tenure.epoch if tenure else 0):
                raise self._damaged("behind", oid, f"says epoch {epoch}, and this journal ends before")
            if tenure is None or tenure.epoch != epoch:
                inforce = "none" if tenure is None else f"epoch {tenure.epoch}"
                raise self._damaged("epoch", oid, f"says epoch {epoch}; by the journal {inforce} was in force here")
            if tenure.holder is None:
                raise self._damaged("epoch", oid, f"says epoch {epoch}, which nobody held")
        self._epoch = epoch

    def _damaged(self, rule: str, oid: str, message: str) -> Damaged:
        return Damaged(rule, self._seq + 1, oid, message)


def _check_oid(oid: str, raw: bytes, seq: int | None) -> None:
    found = commit_oid(raw, algorithm=algorithm_of(oid))
    if found != oid:
        raise Damaged("oid", seq, oid, f"its bytes hash to {found[:12]}")
