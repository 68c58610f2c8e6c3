"""The bytes of a pack and of its index (gitformat-pack), as far as we write them: whole objects, no deltas."""

from __future__ import annotations

import hashlib
import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from shardd.errors import Corrupt

_MAGIC = b"\xfftOc\x00\x00\x00\x02"
_FANOUT = struct.Struct(">256I")
_FAR = 1 << 31  # an offset from here on does not fit the short table


class Kind(IntEnum):
    """Of an object."""

    COMMIT = 1
    TREE = 2


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack and its index."""

    pack: bytes
    index: bytes


def entry(kind: Kind, raw: bytes) -> bytes:
    """How an object stands in a pack."""
    size = len(raw)
    first, size = (kind << 4) | (size & 15), size >> 4
    head = bytearray()
    while size:
        head.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    head.append(first)
    return bytes(head) + zlib.compress(raw)


def stream(count: int, entries: bytes | bytearray) -> bytes:
    """A pack without its index, of so many entries."""
    return _sealed(struct.pack(">4sII", b"PACK", 2, count) + entries)


def build(entries: Mapping[str, bytes]) -> Pack:
    """A pack of entries by their oids; SHA-1 repos."""
    offset = 12
    rows: list[tuple[bytes, int, int]] = []
    for oid, data in entries.items():
        rows.append((bytes.fromhex(oid), zlib.crc32(data), offset))
        offset += len(data)
    if offset >= _FAR:
        raise ValueError("a pack of 2 GiB is none of ours")
    rows.sort()
    counts = [0] * 256
    for name, _, _ in rows:
        counts[name[0]] += 1
    for place in range(1, 256):
        counts[place] += counts[place - 1]
    pack = stream(len(rows), b"".join(entries.values()))
    many = f">{len(rows)}I"
    index = _MAGIC + _FANOUT.pack(*counts) + b"".join(row[0] for row in rows)
    index += struct.pack(many, *(row[1] for row in rows)) + struct.pack(many, *(row[2] for row in rows))
    return Pack(pack, _sealed(index + pack[-20:]))


def entries(pack: bytes, index: bytes) -> Iterator[tuple[str, bytes]]:
    """The oids and entries of what `build` made, unpacked no further. Corrupt if it is not whole."""
    try:
        if index[:8] != _MAGIC or index[-40:-20] != pack[-20:]:
            raise ValueError("the index is none of this pack")
        (count,) = struct.unpack_from(">I", index, 8 + 255 * 4)
        names = 8 + _FANOUT.size
        sums, offsets = (
            struct.unpack_from(f">{count}I", index, names + 20 * count + part * 4 * count) for part in (0, 1)
        )
        rows = sorted(zip(offsets, range(count), sums, strict=True))
        ends = [row[0] for row in rows[1:]] + [len(pack) - 20]
        for (start, place, wanted), end in zip(rows, ends, strict=True):
            data = pack[start:end]
            if zlib.crc32(data) != wanted:
                raise ValueError("an object does not agree with its checksum")
            yield index[names + 20 * place : names + 20 * place + 20].hex(), data
    except (ValueError, struct.error) as error:
        raise Corrupt(f"a pack does not read: {error}", "run `git fsck`") from None


def find(index: bytes, oid: str) -> int | None:
    """Where in its pack the object stands, by an index that `build` made; None if it is not in there."""
    name = bytes.fromhex(oid)
    low = struct.unpack_from(">I", index, 8 + 4 * (name[0] - 1))[0] if name[0] else 0
    high, count = (struct.unpack_from(">I", index, 8 + 4 * place)[0] for place in (name[0], 255))
    start = 8 + _FANOUT.size
    place = bisect_left(range(high), name, low, high, key=lambda at: index[start + 20 * at : start + 20 * at + 20])
    if index[start + 20 * place : start + 20 * place + 20] != name or place >= high:
        return None
    return int(struct.unpack_from(">I", index, start + 24 * count + 4 * place)[0])


def read(data: bytes) -> tuple[int, bytes]:
    """Kind and bytes of the object whose entry `data` begins with. ValueError or zlib.error if it is not whole."""
    kind, size, shift, at = data[0] >> 4 & 7, data[0] & 15, 4, 0
    while data[at] & 0x80:
        at += 1
        size |= (data[at] & 0x7F) << shift
        shift += 7
    raw = zlib.decompressobj().decompress(data[at + 1 :])
    if len(raw) != size:
        raise ValueError("an object is shorter than it says")
    return kind, raw


def _sealed(data: bytes) -> bytes:
    return data + hashlib.sha1(data, usedforsecurity=False).digest()
