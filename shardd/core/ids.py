"""Event ids: UUIDs of RFC 9562, from arguments alone."""

from __future__ import annotations

import hashlib
import uuid


def uuid7(milliseconds: int, randomness: bytes) -> str:
    """A time-ordered UUID (version 7). randomness: 10 bytes, of which 74 bits are used."""
    value = (milliseconds & (2**48 - 1)) << 80 | int.from_bytes(randomness[:10], "big")
    return _versioned(value, 7)


def uuid8(content: bytes) -> str:
    """A UUID (version 8) that the content determines: the first bits of its SHA-256."""
    return _versioned(int.from_bytes(hashlib.sha256(content).digest()[:16], "big"), 8)


def _versioned(value: int, version: int) -> str:
    value = value & ~(0xF000 << 64) | version << 76
    value = value & ~(0xC000 << 48) | 0x8000 << 48
    return str(uuid.UUID(int=value))
