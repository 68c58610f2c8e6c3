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


def commit_too_large(oid: str, size: int, limit: int) -> Rejected:
    return Rejected(
        "too-large",
        f"commit {oid[:12]} has {size} bytes; {limit} are allowed",
        "put the bulk elsewhere and let the event point at it",
    )
