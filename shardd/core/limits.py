"""The sizes that one push, and one event, may have."""

from __future__ import annotations

from dataclasses import dataclass

from shardd.errors import Rejected


@dataclass(frozen=True, slots=True)
class Limits:
    """In bytes and commits; each is a setting of the server."""

    commit_bytes: int = 64 * 1024
    events: int = 10_000
    pack_bytes: int = 64 * 1024 * 1024


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
