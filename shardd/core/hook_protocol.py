"""What goes over the pipes between git, our hooks and the server, as bytes.

pkt-line (gitprotocol-common): four hex digits of length, the four included, then the payload; `0000` is a flush.

proc-receive (githooks): git sends `version=1\\0<features>`, we answer likewise; git sends one line per ref, and the
push options if both named that feature; we report per ref `ok <ref>` or `ng <ref> <why>`.

The relay: a hook under the server opens with NUL-terminated fields (a value can then hold anything but NUL): kind,
protocol version, quarantine, object directory, alternates, count of push options, the options. After pre-receive's
come its ref lines and an empty line; the answer is `accept` or `refuse`, lines for the pusher, and an empty line. After
proc-receive's comes git's own conversation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from shardd.core.names import is_oid
from shardd.core.refs import Change
from shardd.errors import Rejected, SharddError, Unavailable

QUARANTINE = ("GIT_QUARANTINE_PATH", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES")
TELLING = "SHARDD_TELLING"
"""Names the descriptor on which a hook says that the audit has been told of the push."""

RELAY_VERSION = "1"
_MAX_FIELD = 65_536

MOST_REFS = 10_000
MOST_OPTIONS = 100
MOST_REF_BYTES = 4 * 1024 * 1024
MOST_OPTION_BYTES = 64 * 1024
"""Of one push. Git itself keeps the whole list of refs, and hands its hooks the options as their environment."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How a relayed hook introduces itself. quarantine: the variables of that name, where set."""

    hook: str
    quarantine: Mapping[str, str]
    options: Sequence[str]


def read_opening(stream: IO[bytes]) -> Opening | None:
    """The next hook's opening, None at the end of the stream; Unavailable if it is cut short or of another version."""
    hook = _field(stream, first=True)
    if hook is None:
        return None
    version = _field(stream)
    if version != RELAY_VERSION:
        raise Unavailable(f"a hook speaks relay version {version!r}, the server {RELAY_VERSION}", "restart the server")
    values = [_field(stream) or "" for _ in QUARANTINE]
    count = _field(stream) or "0"
    if not count.isdigit() or int(count) > MOST_OPTIONS:
        raise too_many("options", MOST_OPTIONS)
    options = [_field(stream) or "" for _ in range(int(count))]
    return Opening(hook, {name: value for name, value in zip(QUARANTINE, values, strict=True) if value}, options)


def _field(stream: IO[bytes], *, first: bool = False) -> str | None:
    read = bytearray()
    while (byte := stream.read(1)) != b"\0":
        if not byte and first and not read:
            return None
        if not byte or len(read) >= _MAX_FIELD:
            raise Unavailable("a hook's message was cut short")
        read += byte
    return read.decode("utf-8", "surrogateescape")


def too_many(what: str, most: int) -> Rejected:
    return Rejected("too-large", f"a push has at most {most} {what}", "push in several steps, with fewer `-o`")


def parse_update(line: str) -> Change:
    """`<old> <new> <ref>` as git gives it to hooks."""
    parts = line.rstrip("\n").split(" ", 2)
    if len(parts) != 3 or not (is_oid(parts[0]) and is_oid(parts[1])):
        raise Unavailable(f"git gave the hook a line it should not: {line[:80]!r}")
    old, new, ref = parts
    return Change(ref, old if old.strip("0") else None, new if new.strip("0") else None)


def packet(text: str) -> bytes:
    """One pkt-line; what is longer than one holds is cut."""
    raw = text.encode("utf-8", "surrogateescape")[:65_000]
    return b"%04x" % (len(raw) + 4) + raw


FLUSH = b"0000"


def read_packets(stream: IO[bytes]) -> list[str]:
    """The payloads up to the next flush, without final newlines; Unavailable if the stream ends before."""
    found: list[str] = []
    while True:
        head = stream.read(4)
        if head == FLUSH:
            return found
        try:
            size = int(head, 16) - 4
        except ValueError:
            size = -1
        if len(head) != 4 or size < 0:
            raise Unavailable("git's conversation with the hook was cut short")
        raw = stream.read(size)
        if len(raw) != size:
            raise Unavailable("git's conversation with the hook was cut short")
        found.append(raw.decode("utf-8", "surrogateescape").rstrip("\n"))


def printable(text: str) -> str:
    """The text without control characters, for a terminal that shows it raw."""
    return "".join(c if c.isprintable() or c == " " else "?" for c in text)


def refusal_lines(error: SharddError, reach: str) -> list[str]:
    """What a pusher reads: code and message, and the remedy on a line of its own."""
    remedy = error.seen_from(reach)
    said = [f"shardd: {error.code}: {error.message}", *([f"shardd: to mend it: {remedy}"] if remedy else [])]
    return [printable(line) for line in said]


def one_line(lines: Sequence[str]) -> str:
    """The same beside a ref."""
    return "; ".join(line.removeprefix("shardd: ") for line in lines)


def report(refs: Iterable[str], refusal: str | None) -> bytes:
    """proc-receive's answer: every ref `ok`, or every ref `ng` with the one reason."""
    lines = (packet(f"ok {ref}" if refusal is None else f"ng {ref} {printable(refusal)}") for ref in refs)
    return b"".join(lines) + FLUSH
