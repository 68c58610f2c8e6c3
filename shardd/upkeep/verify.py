"""Proving a log whole, offline: in the authoritative repo, in a backup, in any clone. Nothing is written.

The rules are in core/log_check.py. Everything is read once, as a stream; object names are computed anew, so neither
git's indexes nor its commit graph are trusted. Signatures are checked by git, with the keys that it is given.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from shardd.core.codec import decode_event
from shardd.core.event import Head
from shardd.core.log_check import Journal, Verifier
from shardd.core.names import is_id
from shardd.core.objects import algorithm_of, commit_oid, first_parent
from shardd.core.refs import JOURNAL, LOG
from shardd.errors import Corrupt, Damaged, SharddError, Unavailable
from shardd.files.duplicate_ids import SeenIds, Twice
from shardd.git.place import remotes_of
from shardd.git.program import Git
from shardd.git.repository import Repository

_LOOKS = 100
"""Attempts to see log and journal at one moment."""

_SIGNED = 500  # signatures checked by one git


@dataclass(frozen=True, slots=True)
class Refs:
    """Where a repository keeps a space's log, and the journal of its leases, if it has it."""

    space: str
    log: str
    journal: str | None


@dataclass(frozen=True, slots=True)
class Keys:
    """What signatures are checked with. allowed: lines of an allowed-signers file (ssh-keygen(1)); home: for gpg

    ours: the file names principals, so that whoever signed an event must be its actor; elsewhere keys go by whatever
    names, and a signature of somebody else is only counted apart
    """

    allowed: Sequence[str] = ()
    home: str | None = None
    ours: bool = False


@dataclass(slots=True)
class Report:
    """What was found. head, events: as far as the log is whole; broken: where it is not

    epochs: in the journal, None where that is not at hand; signed: signatures by git's verdict: `good`, `unknown key`
    """

    space: str
    head: Head | None = None
    events: int = 0
    gaps: int = 0
    epochs: int | None = None
    signed: dict[str, int] = field(default_factory=dict)
    broken: Damaged | None = None

    @property
    def behind(self) -> bool:
        """Nothing is wrong but that, in a copy, log or journal has gone on."""
        return self.broken is not None and self.broken.rule == "behind"

    @property
    def shallow(self) -> bool:
        """Nothing is wrong but that the copy does not reach back to the first commit."""
        return self.broken is not None and self.broken.rule == "shallow"


def spaces_in(git: Git, *, bare: bool) -> list[Refs]:
    """The spaces that a repository has: the branches of a bare one, what a clone has fetched."""
    listed = git.run("for-each-ref", "--format=%(refname)").decode("utf-8", "surrogateescape").split("\n")
    names = set(listed)
    source = None if bare else remotes_of(git).main()
    prefixes = [*(source.places(LOG.prefix) if source else ()), LOG.prefix]
    prefix = next((each for each in prefixes if any(name.startswith(each) for name in listed)), LOG.prefix)
    places = (JOURNAL.prefix, *(source.places(JOURNAL.prefix) if source else ()))
    found = []
    for name in listed:
        space = name.removeprefix(prefix)
        if name.startswith(prefix) and is_id(space):
            journal = next((place + space for place in places if place + space in names), None)
            found.append(Refs(space, name, journal))
    return found


def verify(repository: Repository, refs: Refs, keys: Keys | None = None) -> Report:
    """Whether the log is whole, and if not, its first broken commit. Unavailable if that could not be found out."""
    report = Report(refs.space)
    journal: Journal | None = None
    verifier: Verifier | None = None
    with SeenIds() as seen, _Signatures(repository, keys or Keys(), report) as signatures:
        try:
            tip, newest = _tips(repository, refs)
            if repository.shallow:
                _check_depth(repository, *(each for each in (tip, newest) if each is not None))
            if newest is not None:
                journal = Journal(_commits(repository, newest))
            verifier = Verifier(refs.space, journal, copy=not repository.state.is_dir())
            _run(verifier, _commits(repository, tip), seen, signatures)
        except Damaged as damaged:
            report.broken = _first([damaged, _repeated(seen.flush()), signatures.flush()])
    if verifier is not None:
        report.head, report.events, report.gaps = verifier.head, verifier.events, verifier.gaps
    report.epochs = None if journal is None else journal.epochs
    return report


def _check_depth(repository: Repository, *tips: str) -> None:
    """Damaged `shallow` where a history was not fetched whole: nothing that is missing then says anything more."""
    for tip in tips:
        with contextlib.closing(_commits(repository, tip)) as commits:
            oid, raw = next(commits)
        if first_parent(raw) is not None:
            raise Damaged("shallow", None, oid, "the history before it is not here", "run `git fetch --unshallow`")


def _run(verifier: Verifier, commits: Iterator[tuple[str, bytes]], seen: SeenIds, signatures: _Signatures) -> None:
    verifier.begin(*next(commits))
    for oid, raw in commits:
        id, seq, signed = verifier.event(oid, raw)
        twice = seen.add(id, seq, "", oid)
        bad = signatures.add(seq, oid) if signed else None
        if twice is not None or bad is not None:
            raise _first([_repeated(twice), bad or signatures.flush()])
    late = [_repeated(seen.flush()), signatures.flush()]
    if any(late):
        raise _first(late)
    verifier.end()


def _first(found: Sequence[Damaged | None]) -> Damaged:
    """The one that comes first in the log; what has no place in it, before all."""
    there = [each for each in found if each is not None]
    return min(there, key=lambda each: -1 if each.seq is None else each.seq)


def _repeated(twice: Twice | None) -> Damaged | None:
    if twice is None:
        return None
    return Damaged("duplicate-event", twice.seq, twice.where, f"the event {twice.id} is also at seq {twice.earlier}")


def _commits(repository: Repository, tip: str) -> Generator[tuple[str, bytes], None, None]:
    """Oldest first; Damaged `missing` where git cannot go on."""
    last: str | None = None
    try:
        for oid, raw in repository.git.commits(tip):
            last = oid
            yield oid, raw
    except (Corrupt, Unavailable) as error:
        raise _unreadable(repository, tip, last, error) from None


def _unreadable(repository: Repository, tip: str, last: str | None, error: SharddError) -> Damaged:
    """Which commit it was. last: the newest that could be read, from the oldest on"""
    at, child = tip, ""
    while True:
        try:
            raw = repository.commit(at)
            found = commit_oid(raw, algorithm=algorithm_of(at)) == at
        except Exception:  # whatever a damaged file makes of itself
            found = False
        if not found:
            said = f"cannot be read; it is the parent of {child[:12]}" if child else "cannot be read"
            return Damaged("missing", None, at, said, "restore it from a backup or a clone")
        parent = first_parent(raw)
        if parent is None or parent == last:
            raise error  # nothing is wrong with the log: git failed for a reason of its own
        at, child = parent, at


def _tips(repository: Repository, refs: Refs) -> tuple[str, str | None]:
    """Where log and journal stand at one moment: the journal is the same before and after the log is looked at."""
    if refs.journal is None:
        return _oid(repository, refs.log), None
    for _ in range(_LOOKS):
        journal = _oid(repository, refs.journal)
        tip = _oid(repository, refs.log)
        if _oid(repository, refs.journal) == journal:
            return tip, journal
    raise Unavailable(f"the leases of {refs.space} change all the time", "verify a copy: `git clone --mirror`")


def _oid(repository: Repository, ref: str) -> str:
    found = repository.read_ref(ref)
    if found is None or found.startswith("ref: "):
        raise Damaged("missing", None, found or "", f"{ref} is not a plain ref")
    return found


class _Signatures:
    """Hands signed commits to git, some hundred at a time."""

    def __init__(self, repository: Repository, keys: Keys, report: Report) -> None:
        self._repository = repository
        self._git = Git(repository.path, quarantine={"HOME": keys.home} if keys.home else {})
        self._keys = keys
        self._report = report
        self._waiting: dict[str, int] = {}
        self._stack = contextlib.ExitStack()
        self._arguments: list[str] = []

    def __enter__(self) -> _Signatures:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, seq: int, oid: str) -> Damaged | None:
        self._waiting[oid] = seq
        return self.flush() if len(self._waiting) >= _SIGNED else None

    def flush(self) -> Damaged | None:
        """The first whose signature does not fit."""
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return None
        bad: Damaged | None = None
        for oid, (verdict, signer, author) in self._verdicts(waiting).items():
            said = _VERDICTS.get(verdict, "unknown key")
            if verdict == "B":
                bad = bad or Damaged("signature", waiting[oid], oid, "the signature does not fit the commit")
            elif verdict == "G":
                actor = self._actor(oid)
                if not _is_of(self._names(signer), (actor, author)):
                    said = "of another"
                    if self._keys.ours:
                        why = f"{signer} signed it, and its actor is {actor}"
                        bad = bad or Damaged("signature", waiting[oid], oid, why)
            self._report.signed[said] = self._report.signed.get(said, 0) + 1
        return bad

    def _names(self, signer: str) -> list[str]:
        """All that a signer is called, of whom git names one: the first name that stands with the key."""
        together = (line.split()[0].strip('"').split(",") for line in self._keys.allowed if line.strip())
        return [signer, *(name for names in together if signer in names for name in names)]

    def _actor(self, oid: str) -> str:
        return decode_event(self._repository.commit(oid), oid=oid, parent_seq=0).actor

    def _verdicts(self, oids: Mapping[str, int]) -> dict[str, tuple[str, str, str]]:
        """Git's verdict on each, who signed it, and the address of its author."""
        if not self._arguments:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="shardd-verify-"))
            file = Path(folder) / "allowed-signers"  # git takes a file, if need be an empty one
            file.write_text("".join(f"{line}\n" for line in self._keys.allowed))
            self._arguments = ["-c", f"gpg.ssh.allowedSignersFile={file}"]
        listed = self._git.run(
            *self._arguments,
            "log",
            "--no-walk=unsorted",
            "--stdin",
            "--format=%H%x00%G?%x00%GS%x00%ae",
            stdin="".join(f"{oid}\n" for oid in oids).encode(),
        )
        found: dict[str, tuple[str, str, str]] = {}
        for line in listed.decode("utf-8", "surrogateescape").split("\n")[:-1]:
            oid, verdict, signer, author = line.split("\0")
            found[oid] = verdict, signer, author
        return found


def _is_of(signer: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a signer, by all its names, is one of these. It may be called by patterns (ssh-keygen(1)), and by gpg
    like `Alice <alice@example.org>`.
    """
    said = {part for each in signer for part in (each, *each.removesuffix(">").rpartition(" <")[::2]) if part}
    return any(fnmatchcase(name.casefold(), each.casefold()) for each in said for name in names)


_VERDICTS = {"G": "good", "U": "unknown key", "B": "bad", "X": "expired", "Y": "expired key", "R": "revoked key"}
