"""The sizes that one push, and one event, may have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """In bytes and commits; each is a setting of the server."""

    commit_bytes: int = 64 * 1024
    events: int = 10_000
    pack_bytes: int = 64 * 1024 * 1024
