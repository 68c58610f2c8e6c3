"""What a client sends to `git receive-pack`, measured before git sees it: refs, options, and what the pack expands to.

A pack of 2 MB may spell gigabytes, and git's own limit counts bytes as they are sent. Whatever of it git then holds in
memory (unpack-objects: every commit and tree of the push until the last is written; rev-list and index-pack: one
object at a time; any later fetch: the same again) follows from the sizes of the expanded objects. A pack states those:
in front of each object stands its size, and at the beginning of a delta the size of what it makes. So they are added
up here, on the way, and a piece of the stream is passed on only when all that begins in it is within bounds. That
states may lie does not help: each object is also inflated (and thrown away), since only that tells where the next one
begins, and one that does not inflate to exactly its size is refused, as git does too. Of a delta git makes as many
bytes as the delta states, or refuses it.

Why not git's own means: `receive.unpackLimit=1` bounds memory (2,405 to 125 MB for forty commits of 60 MB), but makes a
pack of every push, and bounds neither time nor disk; a limit on memory alone kills git in the middle, after most of the
work, and the pusher reads of signals. Such limits (files/bounds.py) stand behind this as the second line.

The rules of reading are git's own (builtin/receive-pack.c); wherever the two could understand something differently it
is refused here. After the refs, and the options if the client said `push-options`, nothing but one pack may follow.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Generator, Sequence
from typing import TypeAlias

from shardd.core.hook_protocol import (
    FLUSH,
    MOST_OPTION_BYTES,
    MOST_OPTIONS,
    MOST_REF_BYTES,
    MOST_REFS,
    packet,
    report,
    too_many,
)
from shardd.core.limits import PackBounds
from shardd.core.names import is_oid
from shardd.errors import Rejected

_LONGEST_REF = 4096
_LONGEST_OPTION = 8192
_LENGTH = re.compile(rb"[0-9A-Fa-f]{4}\Z")

_OFS_DELTA, _REF_DELTA = 6, 7
_PLAIN = (1, 2, 3, 4)
_NEAR = 512  # bytes: most objects end within so many
_FAR = 32 * 1024
_PIECE = 1024 * 1024  # of an expanded object, held at a time
_DELTA_HEAD = 20  # two sizes of at most ten bytes
_VARINT = 10
_BAND = 65_000  # bytes of one packet of a side band

_Steps: TypeAlias = Generator[None, None, None]


class Incoming:
    """Feed it every piece of the stream, in order, before git has it; Rejected as soon as a bound is passed.

    bounds: what may come, asked once with the names of all refs, before the pack begins; refs: those named so far
    """

    def __init__(self, bounds: Callable[[Sequence[str]], PackBounds]) -> None:
        self._bounds = bounds
        self._buffer = bytearray()
        self._at = 0
        self.refs: list[str] = []
        self._features: set[bytes] = set()
        self._steps = self._push()

    def feed(self, data: bytes) -> None:
        del self._buffer[: self._at]
        self._at = 0
        self._buffer += data
        try:
            next(self._steps)  # it comes back when it needs more
        except StopIteration:
            if self._at < len(self._buffer):
                raise _malformed("something after the pack") from None

    def answer(self, said: Sequence[str], why: str) -> bytes | None:
        """A refusal of the whole push, as git itself would send it; None if the client did not ask for such an answer.

        said: lines for the person; why: one line that stands beside each ref
        """
        if not self.refs or b"side-band-64k" not in self._features:
            return None
        if not self._features & {b"report-status", b"report-status-v2"}:
            return None
        status = packet(f"unpack {why}") + report(self.refs, why)
        bands = [(b"\2", f"{line}\n".encode("utf-8", "replace")) for line in said]
        bands += [(b"\1", status[i : i + _BAND]) for i in range(0, len(status), _BAND)]
        return b"".join(b"%04x" % (len(text) + 5) + band + text for band, text in bands) + FLUSH

    def _push(self) -> _Steps:
        width = yield from self._commands()
        if not self.refs:
            # Nothing is asked, and git reads no further. Stock ones send their options all the same.
            yield from self._options()
            return
        if any(word.partition(b"=")[0] == b"push-options" for word in self._features):
            yield from self._options()
        yield from self._pack(self._bounds(self.refs), width // 2)

    def _commands(self) -> Generator[None, None, int]:
        """Learns the names of the refs and what the client asks for; how many digits an oid has."""
        width = 40
        count = size = 0
        while (line := (yield from self._packet(_LONGEST_REF))) is not None:
            count, size = count + 1, size + len(line)
            if count > MOST_REFS:
                raise too_many("refs", MOST_REFS)
            if size > MOST_REF_BYTES:
                raise too_many("bytes of refs", MOST_REF_BYTES)
            command, _, features = line.partition(b"\0")
            self._features.update(features.partition(b"\0")[0].split())
            text = command.removesuffix(b"\n").decode("utf-8", "surrogateescape")
            if text.startswith("shallow "):
                continue
            old, _, rest = text.partition(" ")
            new, _, ref = rest.partition(" ")
            if not (is_oid(old) and is_oid(new) and ref):
                raise _malformed("a line that names no ref (signed pushes are not taken)")
            width = len(new)
            self.refs.append(ref)
        return width

    def _options(self) -> _Steps:
        count = size = 0
        while (option := (yield from self._packet(_LONGEST_OPTION))) is not None:
            count, size = count + 1, size + len(option)
            if count > MOST_OPTIONS:
                raise too_many("options", MOST_OPTIONS)
            if size > MOST_OPTION_BYTES:
                raise too_many("bytes of options", MOST_OPTION_BYTES)

    def _packet(self, longest: int) -> Generator[None, None, bytes | None]:
        """The payload of the next pkt-line; None for a flush."""
        head = yield from self._take(4)
        size = int(head, 16) if _LENGTH.match(head) else -1
        if size == 0:
            return None
        if size < 4:
            raise _malformed("a packet without a length")
        if size - 4 > longest:
            raise Rejected("too-large", f"a ref or push option of more than {longest} bytes", "make it shorter")
        return (yield from self._take(size - 4))

    def _pack(self, bounds: PackBounds, oid_bytes: int) -> _Steps:
        meter = _Meter(bounds)
        head = yield from self._take(12, meter)
        magic, version, count = struct.unpack(">4sII", head)
        if magic != b"PACK" or version not in (2, 3):
            raise _malformed("a pack that does not begin like one")
        meter.objects(count)
        for _ in range(count):
            kind, size = yield from self._object_head(meter)
            meter.expands(size)
            if kind == _OFS_DELTA:
                while (yield from self._take(1, meter))[0] & 0x80:
                    pass
            elif kind == _REF_DELTA:
                yield from self._take(oid_bytes, meter)
            elif kind not in _PLAIN:
                raise _malformed(f"an object of the unknown kind {kind}")
            beginning = yield from self._inflate(size, meter)
            if kind not in _PLAIN:
                _, rest = _varint(beginning)
                meter.expands(_varint(rest)[0])
        yield from self._take(oid_bytes, meter)

    def _object_head(self, meter: _Meter) -> Generator[None, None, tuple[int, int]]:
        byte = (yield from self._take(1, meter))[0]
        kind, size, shift = byte >> 4 & 7, byte & 15, 4
        while byte & 0x80:
            if shift > 7 * _VARINT:
                raise _malformed("an object without a size")
            byte = (yield from self._take(1, meter))[0]
            size |= (byte & 0x7F) << shift
            shift += 7
        return kind, size

    def _inflate(self, size: int, meter: _Meter) -> Generator[None, None, bytes]:
        """The first bytes of an object; all of it is read, and is of this size."""
        stream = zlib.decompressobj()
        beginning = b""
        made, window, full = 0, _NEAR, False
        while not stream.eof:
            # A small piece at first: zlib copies what it was given and does not need.
            given = bytes(self._buffer[self._at : self._at + window])
            if not given and not full:
                yield
                continue
            most = min(size - made + 1, _PIECE)
            try:
                found = stream.decompress(given, most)
            except zlib.error:
                raise _malformed("an object that does not inflate") from None
            # What it has left over after its end may stand in both.
            used = len(given) - len(stream.unused_data or stream.unconsumed_tail)
            meter.sent(used)
            self._at += used
            made += len(found)
            if made > size:
                raise _malformed("an object that is larger than it says")
            full = len(found) == most
            if given and not used and not full and not stream.eof:
                raise _malformed("an object that does not inflate")
            window = _FAR
            if len(beginning) < _DELTA_HEAD:
                beginning += found[:_DELTA_HEAD]
        if made != size:
            raise _malformed("an object that is smaller than it says")
        return beginning

    def _take(self, count: int, meter: _Meter | None = None) -> Generator[None, None, bytes]:
        if meter is not None:
            meter.sent(count)
        while len(self._buffer) - self._at < count:
            yield
        taken = bytes(self._buffer[self._at : self._at + count])
        self._at += count
        return taken


class _Meter:
    """Adds up, and refuses what is over the bounds."""

    def __init__(self, bounds: PackBounds) -> None:
        self._bounds = bounds
        self._sent = 0
        self._unpacked = 0

    def sent(self, count: int) -> None:
        self._sent += count
        if self._sent > self._bounds.pack_bytes:
            raise Rejected("too-large", f"a pack holds at most {self._bounds.pack_bytes} bytes here", _LESS)

    def objects(self, count: int) -> None:
        if count > self._bounds.objects:
            most = self._bounds.objects
            raise Rejected("too-large", f"a pack of {count} objects; {most} are allowed here", _LESS)

    def expands(self, size: int) -> None:
        most = self._bounds.object_bytes
        if size > most:
            raise Rejected("too-large", f"an object of {size} bytes; {most} are allowed here", _ELSEWHERE)
        self._unpacked += size
        if self._unpacked > self._bounds.unpacked_bytes:
            most = self._bounds.unpacked_bytes
            raise Rejected("too-large", f"the pack expands to more than {most} bytes", _LESS)


_LESS = "push in several steps"
_ELSEWHERE = "put the bulk elsewhere and point at it"


def _varint(raw: bytes) -> tuple[int, bytes]:
    """A size as a delta states it, and what follows."""
    size = 0
    for i, byte in enumerate(raw[:_VARINT]):
        size |= (byte & 0x7F) << 7 * i
        if not byte & 0x80:
            return size, raw[i + 1 :]
    raise _malformed("a delta without its sizes")


def _malformed(what: str) -> Rejected:
    return Rejected("bad-event", f"the push holds {what}", "push with a stock git; `git fsck` checks the clone")
