"""One SSH connection to a server, kept and made anew when it has broken: runs a command, and gives all that was said.

Which way it goes, with which keys, and whom to trust, the user's ssh configuration says (client/ssh_settings.py).
What breaks off is told apart (`Broken`) from what would come out the same the next time (`Unavailable`).
"""

from __future__ import annotations

import contextlib
import shlex
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from shardd.client.address import Remote
from shardd.client.ssh_connect import Connection
from shardd.client.ssh_settings import TIMEOUT, Settings

if TYPE_CHECKING:
    from paramiko import Channel, Transport

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
        self._connection: Connection | None = None
        self._met = False

    def close(self) -> None:
        """End the connection; the next command makes a new one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def run(self, words: Sequence[str], stdin: bytes | IO[bytes], patience: float | None) -> Said:
        """What a command said; Broken if the connection did not outlive it, Unavailable if there is none to be had.

        patience: seconds of silence until the server counts as gone; None for as long as the connection lives
        """
        from paramiko import SSHException

        try:
            channel = self._connected().open_session(timeout=TIMEOUT)
            with channel:
                channel.settimeout(patience)
                channel.exec_command(shlex.join(words))
                return _converse(channel, stdin)
        except (OSError, EOFError, SSHException) as error:
            raise Broken(str(error) or type(error).__name__) from None

    def _connected(self) -> Transport:
        connection = self._connection
        if connection is not None and connection.transport.is_active():
            return connection.transport
        self.close()
        settings = Settings.of(self._address, key=self._key, known_hosts=self._known_hosts)
        self._connection = Connection(settings, self._address.destination, met=self._met)
        self._met = True
        return self._connection.transport


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
