"""An SSH client that says what no honest one would while it proves who it is: step by step, or all at once."""

from __future__ import annotations

import queue
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko

from tests.e2e.harness import DEADLINE, Server

SERVICE_REQUEST, SERVICE_ACCEPT = 5, 6
REQUEST, FAILURE, SUCCESS, BANNER, KEY_OK = 50, 51, 52, 53, 60


class Impostor:
    """A connection on which each message of the authentication is sent by hand; use `impostor` to open one."""

    def __init__(self, transport: paramiko.Transport) -> None:
        self._transport = transport
        self._answers: queue.Queue[int] = queue.Queue()
        self._authenticated = False
        kinds = (SERVICE_ACCEPT, FAILURE, SUCCESS, BANNER, KEY_OK)
        self._handler_table: dict[int, Callable[[object], None]] = {kind: self._hear(kind) for kind in kinds}

    # What paramiko asks of the handler of an authentication.

    def is_authenticated(self) -> bool:
        return self._authenticated

    def abort(self) -> None:
        self._answers.put(-1)

    def _hear(self, kind: int) -> Callable[[object], None]:
        def hear(_: object) -> None:
            self._authenticated = self._authenticated or kind == SUCCESS
            self._answers.put(kind)

        return hear

    # What a test says with it.

    def ask_for_authentication(self) -> None:
        message = paramiko.Message()
        message.add_byte(bytes([SERVICE_REQUEST]))
        message.add_string("ssh-userauth")
        self._transport._send_message(message)  # type: ignore[attr-defined]
        assert self.answer() == SERVICE_ACCEPT

    def offer(self, key: Path, user: str = "git") -> None:
        """Ask whether the key would do, without a signature: whoever has seen the public key can."""
        message, _ = self._request(user, signed=False, key=public(key))
        self._transport._send_message(message)  # type: ignore[attr-defined]

    def sign(self, key: Path, user: str = "git", *, claiming: Path | None = None) -> None:
        """Prove possession of `key`; or claim another one, with the signature of `key`."""
        private = paramiko.Ed25519Key.from_private_key_file(str(key))
        message, body = self._request(user, signed=True, key=public(claiming or key))
        session = paramiko.Message()
        session.add_string(self._transport.session_id)  # type: ignore[arg-type]
        message.add_string(private.sign_ssh_data(session.asbytes() + body))
        self._transport._send_message(message)  # type: ignore[attr-defined]

    def answer(self) -> int:
        """The kind of the server's next answer; -1 if it hung up."""
        while (kind := self._answers.get(timeout=DEADLINE)) == BANNER:
            pass
        return kind

    def settled(self) -> bool:
        """Wait for success or the end, past everything else; whether it was success."""
        while (kind := self.answer()) not in (SUCCESS, -1):
            pass
        return kind == SUCCESS

    def run(self, command: str) -> str:
        channel = self._transport.open_session(timeout=DEADLINE)
        channel.settimeout(DEADLINE)
        channel.exec_command(command)
        said = b""
        while data := channel.recv(65_536):
            said += data
        channel.close()
        return said.decode()

    def _request(self, user: str, *, signed: bool, key: bytes) -> tuple[paramiko.Message, bytes]:
        message = paramiko.Message()
        message.add_byte(bytes([REQUEST]))
        for text in (user, "ssh-connection", "publickey"):
            message.add_string(text)
        message.add_boolean(signed)
        message.add_string("ssh-ed25519")
        message.add_string(key)
        return message, message.asbytes()


def public(key: Path) -> bytes:
    """The public half of the key at `key`, as it goes over the wire."""
    blob: bytes = paramiko.Ed25519Key.from_private_key_file(str(key)).asbytes()
    return blob


@contextmanager
def impostor(server: Server) -> Iterator[Impostor]:
    """Connect, as nobody yet."""
    transport = paramiko.Transport(socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE))
    try:
        transport.start_client(timeout=DEADLINE)
        found = Impostor(transport)
        transport.auth_handler = found  # type: ignore[assignment]
        found.ask_for_authentication()
        yield found
    finally:
        transport.close()
        transport.join(DEADLINE)
