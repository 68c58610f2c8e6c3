"""The sizes that one push, and one event, may have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shardd.core.refs import NotesRef, SpaceRef, classify
from shardd.core.roles import Role
from shardd.errors import Rejected


@dataclass(frozen=True, slots=True)
class PackBounds:
    """What may come in one pack.

    pack_bytes: as it is sent; objects: how many; object_bytes: one of them, expanded; unpacked_bytes: all, expanded
    """

    pack_bytes: int
    objects: int
    object_bytes: int
    unpacked_bytes: int


@dataclass(frozen=True, slots=True)
class Limits:
    """In bytes and counts; each is a setting of the server.

    commit_bytes: an event, or a commit of notes; note_bytes: any other object of notes
    notes_bytes, notes_objects: all notes of one principal in one repo, with their history
    unpacked_bytes: what a pack may expand to, all its objects and the results of its deltas together
    """

    commit_bytes: int = 64 * 1024
    events: int = 10_000
    pack_bytes: int = 64 * 1024 * 1024
    unpacked_bytes: int = 512 * 1024 * 1024
    pack_objects: int = 100_000
    note_bytes: int = 1024 * 1024
    notes_bytes: int = 64 * 1024 * 1024
    notes_objects: int = 50_000

    @property
    def for_events(self) -> PackBounds:
        """Of a push to where the pusher may append. No object is larger than what a pack holds uncompressed."""
        return PackBounds(self.pack_bytes, self.pack_objects, self.pack_bytes, self.unpacked_bytes)

    @property
    def for_notes(self) -> PackBounds:
        """Of any other push: notes, which readers may push, or what is going to be refused."""
        return PackBounds(
            min(self.pack_bytes, self.notes_bytes),
            min(self.pack_objects, self.notes_objects),
            max(self.commit_bytes, self.note_bytes),
            min(self.unpacked_bytes, self.notes_bytes),
        )


def pack_bounds(limits: Limits, refs: Sequence[str], role: Callable[[str | None], Role]) -> PackBounds:
    """What the pack of a push to these refs may hold: less for who may append to none, or not to all, of them.

    role: the pusher's, on a space or (None) on the whole repo
    """
    found = [ref for ref in map(classify, refs) if not isinstance(ref, NotesRef)]
    spaces = [ref.space if isinstance(ref, SpaceRef) else None for ref in found]
    if spaces and all(role(space) >= Role.APPEND for space in spaces):
        return limits.for_events
    return limits.for_notes


class TooLarge(Rejected):
    """A commit has more bytes than `limit`."""

    def __init__(self, oid: str, size: int, limit: int) -> None:
        super().__init__("too-large", "")
        self.oid = oid
        self.size = size
        self.limit = limit

    def words(self) -> tuple[str, str]:
        return (
            f"commit {self.oid[:12]} has {self.size} bytes; {self.limit} are allowed",
            "put the bulk elsewhere and let the event point at it",
        )
