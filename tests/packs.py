"""Packs made by hand, also such as no git would make."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence

KINDS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
REF_DELTA = 7
ZERO = "0" * 40


def oid_of(kind: str, raw: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(raw)}\0".encode() + raw, usedforsecurity=False).hexdigest()


def commit(tree: str, parents: Sequence[str] = (), message: bytes = b"x\n") -> bytes:
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    who = "carol <carol@example.org> 1781517600 +0000"
    return "\n".join([*lines, f"author {who}", f"committer {who}", "", ""]).encode() + message


def varint(size: int) -> bytes:
    out = bytearray()
    while size >= 128:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes([*out, size])


def copied(old: int, new: bytes) -> bytes:
    """A delta that puts up to 100 new bytes in front of all but as many of a base of `old` bytes."""
    delta = varint(old) + varint(old) + bytes([len(new)]) + new
    at = len(new)
    while at < old:
        size = min(old - at, 0xFFFF)
        delta += b"\xb7" + struct.pack("<I", at)[:3] + struct.pack("<H", size)
        at += size
    return delta


class Pack:
    def __init__(self) -> None:
        self._entries: list[bytes] = []

    def put(self, kind: str, raw: bytes) -> str:
        self.entry(KINDS[kind], len(raw), zlib.compress(raw, 9))
        return oid_of(kind, raw)

    def delta(self, base: str, delta: bytes) -> None:
        self.entry(REF_DELTA, len(delta), bytes.fromhex(base) + zlib.compress(delta, 9))

    def entry(self, kind: int, size: int, rest: bytes) -> None:
        head, left = kind << 4 | size & 15, size >> 4
        out = bytearray()
        while left:
            out.append(head | 128)
            head, left = left & 127, left >> 7
        self._entries.append(bytes([*out, head]) + rest)

    def bytes(self, *, count: int | None = None) -> bytes:
        count = len(self._entries) if count is None else count
        raw = struct.pack(">4sII", b"PACK", 2, count) + b"".join(self._entries)
        return raw + hashlib.sha1(raw, usedforsecurity=False).digest()


def packet(text: bytes) -> bytes:
    return b"%04x" % (len(text) + 4) + text


def push(
    commands: Sequence[tuple[str, str, str]], pack: bytes, *, options: Sequence[str] | None = None, more: str = ""
) -> bytes:
    """What a client sends to receive-pack. commands: old, new, ref"""
    asks = "report-status side-band-64k" + ("" if options is None else " push-options") + more
    lines = [f"{old} {new} {ref}".encode() for old, new, ref in commands]
    sent = packet(lines[0] + b"\0" + asks.encode()) + b"".join(packet(line) for line in lines[1:]) + b"0000"
    if options is not None:
        sent += b"".join(packet(option.encode()) for option in options) + b"0000"
    return sent + pack
