"""What a push brings into a bare repo: its own quarantine, or the repo once git has taken the objects in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from shardd.core.event import Head
from shardd.core.limits import Limits
from shardd.core.notes import NotesFacts
from shardd.core.objects import first_parent
from shardd.core.push_facts import Candidate, Relation
from shardd.errors import Corrupt, Unavailable
from shardd.git.repository import NEAR, Repository


class PushedObjects:
    """See Incoming. repository: as it is, or together with what is in quarantine"""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._git = repository.git

    def is_commit(self, oid: str) -> bool:
        header = self._repository.header(oid)
        if header is None:
            raise _gone(f"{oid[:12]} is no longer in {self._repository.path.name}")
        return header[0] == "commit"

    def descends(self, new: str, old: str) -> bool:
        return self._git.is_ancestor(old, new)

    def relate(self, head: Head, new: str, limits: Limits) -> tuple[Relation, Sequence[Candidate]]:
        if not self.is_commit(new):
            return Relation.NO_COMMIT, ()
        with _brought():
            return self._related(head, new, limits)

    def _related(self, head: Head, new: str, limits: Limits) -> tuple[Relation, Sequence[Candidate]]:
        limit, largest = limits.events, limits.commit_bytes
        near, reached = self._repository.chain(new, head.oid, at_most=NEAR, largest=largest)
        if reached:
            if len(near) > limit:
                return Relation.TOO_LONG, ()
            return Relation.EXTENDS, [Candidate(oid, raw) for oid, raw in near]
        git = self._git
        if git.is_ancestor(new, head.oid):
            return Relation.BEHIND, ()
        if not git.is_ancestor(head.oid, new):
            # Asked that, git takes a history that breaks off for one that has come to its end; counting, it does not.
            git.run("rev-list", "--first-parent", "--count", new, f"^{head.oid}")
            return (Relation.FORKS if git.related(new, head.oid) else Relation.UNRELATED), ()
        commits = islice(git.commits(new, after=head.oid, largest=largest), limit + 1)
        far = [Candidate(oid, raw) for oid, raw in commits]
        if len(far) > limit:
            return Relation.TOO_LONG, ()
        return (Relation.EXTENDS if first_parent(far[0].raw) == head.oid else Relation.MERGES), far

    def notes(self, new: str, old: str | None, limits: Limits, *, alone: bool) -> NotesFacts:
        largest = {True: ("", 0), False: ("", 0)}
        added: set[str] = set()
        with _brought():
            for oid, kind, size in self._git.objects(new, without=old):
                added.add(oid)
                if size > largest[kind == "commit"][1]:
                    largest[kind == "commit"] = (oid, size)
        count = total = 0
        for _, _, size in self._git.objects(new):
            count, total = count + 1, total + size
            if count > limits.notes_objects or total > limits.notes_bytes:
                break
        strays = self._repository.strays(added) if alone else 0
        return NotesFacts(count, total, largest[True], largest[False], strays)


@contextmanager
def _brought() -> Iterator[None]:
    """While only what the push brings is read: git found all of it there, so what is missing now was taken since."""
    try:
        yield
    except Corrupt as error:
        raise _gone(error.message) from None


def _gone(why: str) -> Unavailable:
    return Unavailable(f"what was pushed is gone: {why}", "push it again")
