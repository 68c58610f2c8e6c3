"""The settings of a server: its `config.toml`, where every key is optional and none is unknown."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
import msgspec.inspect

from shardd.core.limits import Limits
from shardd.core.nearest import did_you_mean, nearest
from shardd.errors import Misuse, SharddError
from shardd.files import toml_file
from shardd.files.bounds import Bounds
from shardd.files.durable import write_atomic
from shardd.files.last_good import LastGood

_DEFAULT = Limits()
_EXPANDS = 8

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Seconds: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=86_400)]
SecondsOrOff: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=86_400)]
Bytes: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**40)]
BytesOrDerived: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
_HOST_PORT = r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]/@-][^\s:\[\]/@]*)?:[0-9]{1,5}"
HostPort: TypeAlias = Annotated[str, msgspec.Meta(pattern=f"^{_HOST_PORT}$")]
LogStyle: TypeAlias = Literal["console", "json"]
HostPortOrNone: TypeAlias = Annotated[str, msgspec.Meta(pattern=f"^(?:{_HOST_PORT})?$")]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """config.toml.

    listen: HOST:PORT; public: how clients reach it, if that differs; log: how the lines of the log look
    max_commit_bytes, max_push_events, max_pack_bytes: the limits of one push
    max_unpacked_bytes: what its pack may expand to (0: eight times max_pack_bytes); max_pack_objects: how many it holds
    max_note_bytes: an object under notes; max_notes_bytes, max_notes_objects: the notes of one principal in one repo
    max_git_memory_bytes: of one git process (0: 1 GiB and four times what a pack may expand to)
    max_git_cpu_seconds: of one git process; max_git_seconds: a push or fetch, by the clock
    login_grace_seconds: to prove who one is; max_unauthenticated: connections that have not; for one more, the oldest
    of the address that has most is dropped; keepalive_seconds, keepalive_count: a client that has answered so many
    keep-alives in a row with silence is gone (0 seconds: none are sent); idle_seconds: a connection without a session
    is closed (0: never); stall_seconds: a git, or an answer that is not read, is ended when no byte has moved for so
    long (0: never); drain_seconds: what a running push has to finish once the server is told to leave
    max_connections, and per address and principal: of who has proven who it is; refused beyond
    max_sessions, and per principal and connection: commands that run at once
    """

    listen: HostPort = "127.0.0.1:2222"
    public: HostPortOrNone = ""
    log: LogStyle = "console"
    max_commit_bytes: Bytes = _DEFAULT.commit_bytes
    max_push_events: Count = _DEFAULT.events
    max_pack_bytes: Bytes = _DEFAULT.pack_bytes
    max_unpacked_bytes: BytesOrDerived = 0
    max_pack_objects: Count = _DEFAULT.pack_objects
    max_note_bytes: Bytes = _DEFAULT.note_bytes
    max_notes_bytes: Bytes = _DEFAULT.notes_bytes
    max_notes_objects: Count = _DEFAULT.notes_objects
    max_git_memory_bytes: BytesOrDerived = 0
    max_git_cpu_seconds: Seconds = 600
    max_git_seconds: Seconds = 3600
    login_grace_seconds: Seconds = 30
    keepalive_seconds: SecondsOrOff = 30
    keepalive_count: Count = 4
    idle_seconds: SecondsOrOff = 900
    stall_seconds: SecondsOrOff = 600
    drain_seconds: SecondsOrOff = 60
    max_connections: Count = 1024
    max_connections_per_address: Count = 256
    max_connections_per_principal: Count = 128
    max_unauthenticated: Count = 256
    max_sessions: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 200
    max_sessions_per_principal: Count = 50
    max_sessions_per_connection: Count = 32

    @property
    def limits(self) -> Limits:
        return Limits(
            commit_bytes=self.max_commit_bytes,
            events=self.max_push_events,
            pack_bytes=self.max_pack_bytes,
            unpacked_bytes=self.max_unpacked_bytes or _EXPANDS * self.max_pack_bytes,
            pack_objects=self.max_pack_objects,
            note_bytes=self.max_note_bytes,
            notes_bytes=self.max_notes_bytes,
            notes_objects=self.max_notes_objects,
        )

    @property
    def git_bounds(self) -> Bounds:
        """unpack-objects holds all of a small push at once, and needs twice its largest object besides."""
        memory = self.max_git_memory_bytes or 2**30 + 4 * self.limits.unpacked_bytes
        return Bounds(memory, self.max_git_cpu_seconds)

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Freshly read, the defaults if there is no file; Misuse, naming line and key and what may stand there, if it
        does not read. An empty file does not: most editors empty one before they write it, and for that moment no limit
        of the operator's may be lifted.
        """
        try:
            settings = toml_file.load(path, cls)
            if settings == cls() and path.stat().st_size == 0:
                raise Misuse(f"{path} is empty", "write what is to hold into it, or remove it: the defaults hold then")
            return settings
        except FileNotFoundError:
            return cls()
        except toml_file.Slip as slip:
            raise Misuse(f"{slip.place}: {_said(slip)}", _example(slip.key)) from None


_EXAMPLES = {"listen": "127.0.0.1:2222", "public": "wiki.example.org:2222", "log": "json"}
_LISTED = 3  # keys that are named where none is near


def _said(slip: toml_file.Slip) -> str:
    """What is wrong, in words."""
    if not slip.key:
        return slip.detail
    allowed = _allowed(slip.key)
    if allowed is None:
        some = f"; there are {', '.join(sorted(_keys())[:_LISTED])} and others"
        return f"there is no setting {slip.key}{did_you_mean(slip.key, _keys()) or some}"
    return f"{slip.key} must be {allowed}"


def _keys() -> dict[str, msgspec.inspect.Field]:
    kind = msgspec.inspect.type_info(Settings)
    assert isinstance(kind, msgspec.inspect.StructType)
    return {field.encode_name: field for field in kind.fields}


def _allowed(key: str) -> str | None:
    """What may stand for a key, in words; None if there is no such key."""
    field = _keys().get(key)
    match field.type if field is not None else None:
        case msgspec.inspect.IntType(ge=least, le=most):
            return f"a whole number from {least} to {most}"
        case msgspec.inspect.LiteralType(values=values):
            return " or ".join(f'"{value}"' for value in values)
        case msgspec.inspect.StrType():
            return "an address with its port, HOST:PORT"
    return None


def _example(key: str) -> str:
    near = key if key in _keys() else nearest(key, _keys()) or "listen"
    value = _EXAMPLES.get(near)
    value = f'"{value}"' if value is not None else str(_keys()[near].default)
    return f"write it like `{near} = {value}`"


class SettingsFile:
    """The settings of the server's directory `root`. What they said when they last read is kept beside them.

    Many processes serve for a moment only: a command on the host, a hook, sshd's forced command. For them as well a
    slip of the pen in config.toml leaves the last good settings in force.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._toml = root / "config.toml"
        self._copy = root / ".last-good-config.json"

    def watched(self) -> LastGood[Settings]:
        return LastGood("settings", lambda: [self._toml], self._load, kept=self._kept)

    def _load(self) -> Settings:
        settings = Settings.load(self._toml)
        self._keep(msgspec.json.encode(settings))
        return settings

    def _keep(self, said: bytes) -> None:
        with suppress(OSError, SharddError):  # a copy that cannot be kept is no reason to fail
            if self._root.stat().st_uid == os.geteuid() and self._copied() != said:
                write_atomic(self._copy, said)

    def _kept(self) -> Settings | None:
        try:
            return msgspec.json.decode(self._copied() or b"", type=Settings)
        except msgspec.DecodeError:  # cut short, or of another version
            return None

    def _copied(self) -> bytes | None:
        try:
            return self._copy.read_bytes()
        except OSError:
            return None
