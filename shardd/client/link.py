"""One SSH connection to a server, kept and made anew when it has broken: runs a command, and gives all that was said.

Keys come from the agent, from ~/.ssh and from what ~/.ssh/config says of the host; the server must be in known_hosts.
What breaks off is told apart (`Broken`) from what would come out the same the next time (`Unavailable`).
"""

from __future__ import annotations

import contextlib
import getpass
import shlex
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from shardd.client.address import Remote
from shardd.errors import Unavailable

if TYPE_CHECKING:
    from paramiko import Channel, SSHClient

TIMEOUT = 30.0  # seconds to connect, and to be silent for
_CHUNK = 256 * 1024


class Broken(Exception):
    """It broke off before the whole answer was there. Whether the command was run, and took effect, is unknown."""


@dataclass(frozen=True, slots=True)
class Said:
    """All of a command's answer. out: as it came; err: for people"""

    status: int
    out: bytes
    err: str


class Link:
    """Not safe to share between threads. key, known_hosts: in place of the user's"""

    def __init__(self, address: Remote, *, key: str | Path | None, known_hosts: str | Path | None) -> None:
        self._address = address
        self._key = key
        self._known_hosts = known_hosts
        self._client: SSHClient | None = None
        self._met = False

    def close(self) -> None:
        """End the connection; the next command makes a new one."""
        if self._client is not None:
            self._client.close()
        self._client = None

    def run(self, words: Sequence[str], stdin: bytes | IO[bytes], patience: float | None) -> Said:
        """What a command said; Broken if the connection did not outlive it, Unavailable if there is none to be had.

        patience: seconds of silence until the server counts as gone; None for as long as the connection lives
        """
        from paramiko import SSHException

        try:
            client = self._connected()
            transport = client.get_transport()
            if transport is None:
                raise Broken("the connection is closed")
            channel = transport.open_session(timeout=TIMEOUT)
            with channel:
                channel.settimeout(patience)
                channel.exec_command(shlex.join(words))
                return _converse(channel, stdin)
        except (OSError, EOFError, SSHException) as error:
            raise Broken(str(error) or type(error).__name__) from None

    def _connected(self) -> SSHClient:
        client = self._client
        if client is not None and (transport := client.get_transport()) is not None and transport.is_active():
            return client
        self.close()
        self._client = self._connect()
        self._met = True
        return self._client

    def _connect(self) -> SSHClient:
        import paramiko

        user, _, host = self._address.destination.rpartition("@")
        config = _ssh_config(host)
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        with contextlib.suppress(FileNotFoundError):
            client.load_host_keys(str(self._known_hosts or Path("~/.ssh/known_hosts").expanduser()))
        name = str(config.get("hostname", host))
        port = int(self._address.port or str(config.get("port", "22")))
        keys = [str(self._key)] if self._key else list(config.get("identityfile", []))
        with self._judged(client):
            client.connect(
                name,
                port,
                username=user or str(config.get("user", "")) or getpass.getuser(),
                key_filename=keys or None,  # type: ignore[arg-type]  # a list is taken, whatever the stubs say
                allow_agent=self._key is None,
                look_for_keys=self._key is None and not keys,
                timeout=TIMEOUT,
                banner_timeout=TIMEOUT,
                auth_timeout=TIMEOUT,
                sock=self._socket(name, port, str(config.get("proxycommand", ""))),
            )
            transport = client.get_transport()
            if transport is not None:
                transport.set_keepalive(int(TIMEOUT))
        return client

    def _socket(self, name: str, port: int, proxy: str) -> socket.socket:
        if proxy:
            import paramiko

            return paramiko.ProxyCommand(proxy)  # type: ignore[return-value]  # it stands for one
        try:
            sock = socket.create_connection((name, port), TIMEOUT)
        except OSError as error:
            if self._met:
                raise  # it was there before: it may be starting again
            raise self._unavailable(error, "see whether the address is right, and the server runs") from None
        # Nagle's algorithm would hold back each small packet for the other side's delayed acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    @contextlib.contextmanager
    def _judged(self, client: SSHClient) -> Iterator[None]:
        """Unavailable for what the other side said no to, as against a connection that broke off meanwhile."""
        from paramiko import SSHException

        try:
            yield
        except SSHException as error:
            # paramiko calls it a failed authentication too when the server went away during it. Whoever is only
            # refused, or does not trust the server's key, still has the connection.
            transport = client.get_transport()
            refused = transport is not None and transport.is_active()
            client.close()
            if refused:
                raise self._unavailable(error, "see whether `ssh` gets through") from None
            raise
        except BaseException:
            client.close()
            raise

    def _unavailable(self, error: Exception, remedy: str) -> Unavailable:
        return Unavailable(f"{self._address.destination} could not be reached: {error}", remedy)


def _converse(channel: Channel, stdin: bytes | IO[bytes]) -> Said:
    """Send all, read all."""
    sender = threading.Thread(target=_send, args=(channel, stdin), daemon=True)
    sender.start()
    said, complaint = bytearray(), bytearray()
    try:
        while some := channel.recv(65_536):
            said += some
        while some := channel.recv_stderr(65_536):
            complaint += some
        sender.join(TIMEOUT)
    except BaseException:
        channel.close()
        sender.join()  # the next try reads what this one would go on reading
        raise
    # A dead channel calls its exit status ready too, and says -1 then.
    status = channel.recv_exit_status() if channel.exit_status_ready() else -1
    if status < 0:
        raise Broken("the connection broke off")
    return Said(status, bytes(said), complaint.decode("utf-8", "replace"))


def _send(channel: Channel, stdin: bytes | IO[bytes]) -> None:
    from paramiko import SSHException

    # A server that has refused already reads no further; what it said is read all the same.
    with contextlib.suppress(OSError, EOFError, SSHException):
        if isinstance(stdin, bytes):
            channel.sendall(stdin)
        else:
            stdin.seek(0)  # once more, if this is not the first try
            while chunk := stdin.read(_CHUNK):
                channel.sendall(chunk)
        channel.shutdown_write()


def _ssh_config(host: str) -> dict[str, str | list[str]]:
    from paramiko import SSHConfig

    path = Path("~/.ssh/config").expanduser()
    if not path.is_file():
        return {}
    return dict(SSHConfig.from_path(str(path)).lookup(host))
