"""A log on a server, over ssh, by its commands: `append --lines --atomic`, `log`, `space show`.

Keys come from the agent, from ~/.ssh and from what ~/.ssh/config says of the host; the server must be in known_hosts.
One connection is kept and made anew when it breaks. A call that breaks off is tried once more: reading is harmless, and
an append carries its ids, so the server answers with the original if the first try had gone through.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import shlex
import socket
import tempfile
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import msgspec

from shardd.client.address import parse_url
from shardd.core.append import Expected
from shardd.core.canonical import Json
from shardd.core.event import Draft, Event, Head, format_time, parse_time
from shardd.core.importing import Imported, chain
from shardd.core.jsonl import Numbered, encode_numbered
from shardd.core.limits import Limits
from shardd.core.names import check_repo, check_space
from shardd.core.refusals import error_from
from shardd.errors import BadEvent, Corrupt, Misuse, Rejected, Unavailable
from shardd.storage.importing import measure
from shardd.storage.log import Clock, DraftingLog, Ids, new_id, utc_now

if TYPE_CHECKING:
    from paramiko import Channel, SSHClient

_TIMEOUT = 30.0  # seconds to connect, and to be silent for
_CHUNK = 256 * 1024
_ANY = Limits(commit_bytes=2**40)


class RemoteLog(DraftingLog):
    """A DecisionLog over the repo that `url` names, like `ssh://host:2222/garden.git`. Spaces are created by an admin.

    take_lease: take a free lease for each append alone; otherwise the principal must hold it
    epoch: the one that the caller holds, where the lease is fenced; known_hosts: in place of ~/.ssh/known_hosts
    key: a private key file, in place of the agent's and those in ~/.ssh
    Safe to share between threads, which take turns.
    """

    def __init__(
        self,
        url: str,
        *,
        take_lease: bool = True,
        epoch: int | None = None,
        key: str | Path | None = None,
        known_hosts: str | Path | None = None,
        clock: Clock = utc_now,
        ids: Ids = new_id,
    ) -> None:
        self._address = parse_url(url)
        if self._address.repo is None:
            raise Misuse(f"{url!r} names no repo", "write it like ssh://host:2222/garden.git")
        self._repo = check_repo(self._address.repo)
        self._options = [
            *(["--take-lease"] if take_lease else []),
            *(["--epoch", str(epoch)] if epoch is not None else []),
        ]
        self._key = key
        self._known_hosts = known_hosts
        super().__init__(clock, ids)
        self._lock = threading.RLock()
        self._client: SSHClient | None = None
        self._known_as: str | None = None

    def close(self) -> None:
        """End the connection; the next call makes a new one."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def __enter__(self) -> RemoteLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append_many(self, space: str, events: Iterable[Draft], *, expected: Expected = None) -> list[Event]:
        drafts = list(events)
        words = ["append", self._label(space), "--lines", "--atomic", *self._options]
        if expected is not None:
            words += ["--expected", expected if isinstance(expected, str) else f"{expected.seq}:{expected.oid}"]
        return [_event(value) for value in self._ask(words, b"".join(_line(one) for one in drafts))]

    def import_events(
        self, space: str, events: Iterable[Numbered], *, keep_gaps: bool = False, dry_run: bool = False
    ) -> Imported:
        """See storage/transfer.py. Checked here before any of it is sent."""
        flags = {"--keep-gaps": keep_gaps, "--dry-run": dry_run}
        words = ["import", self._label(space), "-", *self._options, *(name for name, on in flags.items() if on)]
        with tempfile.TemporaryFile() as lines:
            kept = _kept(events, lines, space)
            expected = measure(chain(space, kept, keep_gaps=keep_gaps, limits=_ANY))  # how large is the server's to say
            try:
                self._ask(words, lines, patience=None)
            except Rejected as error:
                # The answer to an import that went through may have been lost; its bytes follow from its events.
                if error.code != "exists" or self.head(space) != expected.head:
                    raise
        return expected

    def events(self, space: str, after: int | None = None) -> Iterator[Event]:
        head = self.head(space)
        if head is None or (after is not None and after >= head.seq):
            return iter(())
        words = ["log", self._label(space), *(["--after", str(after)] if after is not None and after >= 0 else [])]
        found = (_event(value) for value in self._ask(words))
        return iter([event for event in found if event.seq <= head.seq])

    def head(self, space: str) -> Head | None:
        try:
            (value,) = self._ask(["space", "show", self._label(space)])
        except Rejected as error:
            if error.code == "no-such-space":
                return None
            raise
        return Head(cast("int", value["seq"]), str(value["oid"]))

    def _label(self, space: str) -> str:
        return f"{self._repo}/{check_space(space)}"

    def _me(self) -> str:
        if self._known_as is None:
            (value,) = self._ask(["whoami"])
            self._known_as = str(value["principal"])
        return self._known_as

    def _ask(
        self, words: list[str], stdin: bytes | IO[bytes] = b"", *, patience: float | None = _TIMEOUT
    ) -> list[dict[str, Json]]:
        """The values that a command answers with; the error that it answers with instead is raised.

        patience: seconds of silence until the server counts as gone; None for as long as the connection lives
        """
        with self._lock:
            try:
                status, said, complaint = self._run(words, stdin, patience)
            except (OSError, EOFError, Unavailable):
                self.close()
                status, said, complaint = self._again(words, stdin, patience)
        try:
            values = [json.loads(line) for line in said.splitlines()]
        except ValueError:
            values = []
        if values and "error" in values[-1]:
            raise error_from(values[-1]["error"])
        if status != 0:
            raise Unavailable(f"{self._address.destination} answered: {complaint.strip() or f'status {status}'}")
        return values

    def _again(self, words: list[str], stdin: bytes | IO[bytes], patience: float | None) -> tuple[int, str, str]:
        try:
            return self._run(words, stdin, patience)
        except (OSError, EOFError) as error:
            self.close()
            raise Unavailable(f"{self._address.destination} could not be reached: {error}") from None

    def _run(self, words: list[str], stdin: bytes | IO[bytes], patience: float | None) -> tuple[int, str, str]:
        from paramiko import SSHException

        try:
            transport = self._connection().get_transport()
            if transport is None:
                raise Unavailable("the connection is closed")
            transport.set_keepalive(int(_TIMEOUT))
            channel = transport.open_session(timeout=_TIMEOUT)
            with channel:
                channel.settimeout(patience)
                channel.exec_command(shlex.join([*words, "--json"]))
                return _converse(channel, stdin)
        except SSHException as error:
            raise Unavailable(f"{self._address.destination}: {error}", "see whether `ssh` gets through") from None

    def _connection(self) -> SSHClient:
        import paramiko

        client = self._client
        if client is not None and (transport := client.get_transport()) is not None and transport.is_active():
            return client
        user, _, host = self._address.destination.rpartition("@")
        config = _ssh_config(host)
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        with contextlib.suppress(FileNotFoundError):
            client.load_host_keys(str(self._known_hosts or Path("~/.ssh/known_hosts").expanduser()))
        name = str(config.get("hostname", host))
        port = int(self._address.port or str(config.get("port", "22")))
        proxy = str(config.get("proxycommand", ""))
        # Nagle's algorithm would hold back each small packet for the other side's delayed acknowledgement.
        sock: socket.socket | paramiko.ProxyCommand
        if proxy:
            sock = paramiko.ProxyCommand(proxy)
        else:
            sock = socket.create_connection((name, port), _TIMEOUT)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keys = [str(self._key)] if self._key else list(config.get("identityfile", []))
        client.connect(
            name,
            port,
            username=user or str(config.get("user", "")) or getpass.getuser(),
            key_filename=keys or None,  # type: ignore[arg-type]  # a list is taken, whatever the stubs say
            allow_agent=self._key is None,
            look_for_keys=self._key is None and not keys,
            timeout=_TIMEOUT,
            banner_timeout=_TIMEOUT,
            auth_timeout=_TIMEOUT,
            sock=sock,
        )
        self._client = client
        return client


def _converse(channel: Channel, stdin: bytes | IO[bytes]) -> tuple[int, str, str]:
    """Send all, read all: the exit status, standard output and standard error."""
    sender = threading.Thread(target=_send, args=(channel, stdin), daemon=True)
    sender.start()
    said, complaint = bytearray(), bytearray()
    while some := channel.recv(65_536):
        said += some
    while some := channel.recv_stderr(65_536):
        complaint += some
    sender.join(_TIMEOUT)
    if not channel.exit_status_ready():
        raise EOFError("the connection broke off")
    return channel.recv_exit_status(), said.decode("utf-8", "replace"), complaint.decode("utf-8", "replace")


def _send(channel: Channel, stdin: bytes | IO[bytes]) -> None:
    # A server that has refused already reads no further; what it said is read all the same.
    with contextlib.suppress(OSError):
        if isinstance(stdin, bytes):
            channel.sendall(stdin)
        else:
            stdin.seek(0)  # once more, if this is the second try
            while chunk := stdin.read(_CHUNK):
                channel.sendall(chunk)
        channel.shutdown_write()


def _kept(events: Iterable[Numbered], lines: IO[bytes], space: str) -> Iterator[Numbered]:
    """The same events, written to `lines` on the way."""
    for each in events:
        lines.write(encode_numbered(each, space))
        yield each
    lines.flush()


def _ssh_config(host: str) -> dict[str, str | list[str]]:
    from paramiko import SSHConfig

    path = Path("~/.ssh/config").expanduser()
    if not path.is_file():
        return {}
    return dict(SSHConfig.from_path(str(path)).lookup(host))


def _line(one: Draft) -> bytes:
    said = {"type": one.type, "subject": one.subject, "data": dict(one.data), "id": one.id}
    return msgspec.json.encode(said | {"time": format_time(one.time), "actor": one.actor}) + b"\n"


def _event(value: dict[str, Json]) -> Event:
    try:
        return msgspec.convert(value | {"time": parse_time(str(value["time"]))}, _Wire).event()
    except (msgspec.ValidationError, KeyError, BadEvent) as error:
        raise Corrupt(f"the server's answer is no event: {error}", "is it of another version?") from None


class _Wire(msgspec.Struct, frozen=True):
    seq: int
    oid: str
    id: str
    type: str
    subject: str | None
    actor: str
    time: datetime
    data: dict[str, object]
    epoch: int | None = None
    source_epoch: int | None = None

    def event(self) -> Event:
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return Event(**fields)
