"""How much a principal may keep in notes. Whoever reads a repo may write some, so they alone have a quota."""

from __future__ import annotations

from dataclasses import dataclass

from shardd.core.limits import Limits, TooLarge
from shardd.errors import Rejected


@dataclass(frozen=True, slots=True)
class NotesFacts:
    """What a push of notes would make of them.

    objects, size: all that the ref would hold, with its history: their number and their bytes, expanded
    largest: of the objects that are new, the largest commit and the largest other one: oid and bytes
    strays: objects that the pack holds and the ref does not need
    """

    objects: int = 0
    size: int = 0
    largest_commit: tuple[str, int] = ("", 0)
    largest_other: tuple[str, int] = ("", 0)
    strays: int = 0


def check_notes(limits: Limits, ref: str, notes: NotesFacts) -> None:
    """Rejected if a ref of notes, or anything new in it, would be too large."""
    oid, size = notes.largest_commit
    if size > limits.commit_bytes:
        raise TooLarge(oid, size, limits.commit_bytes)
    oid, size = notes.largest_other
    if size > limits.note_bytes:
        raise Rejected(
            "too-large",
            f"object {oid[:12]} of {ref} has {size} bytes; {limits.note_bytes} are allowed",
            "put the bulk elsewhere and let the note point at it",
        )
    if notes.objects > limits.notes_objects or notes.size > limits.notes_bytes:
        raise Rejected(
            "too-large",
            f"{ref} would hold more than {limits.notes_objects} objects or {limits.notes_bytes} bytes,"
            " history included",
            "ask an admin to raise max-notes-objects or max-notes-bytes in config.toml",
        )
    if notes.strays:
        raise Rejected(
            "too-large",
            f"the pack holds {notes.strays} objects that {ref} does not need",
            "push with a stock git",
        )
