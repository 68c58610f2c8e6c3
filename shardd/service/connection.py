"""One SSH connection, from the first byte to the last: who it is, and how long it may stay.

Identity is what a verified signature proved. asyncssh asks about a key twice, when it is offered and when it is signed
with; an offer proves nothing. `_proven` is set only where a signature has been checked, by the very call whose answer
completes the authentication, and a connection on which that never happened is served nothing. The user name is ignored.

Whoever has offered every key in vain is told why: OpenSSH, PuTTY and dropbear then turn to keyboard-interactive, which
never succeeds here and is there to answer with an explanation. Who has a right key among others never hears it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import asyncssh
from asyncssh.auth import KbdIntResponse
from asyncssh.constants import MSG_KEXINIT, MSG_SERVICE_REQUEST
from asyncssh.packet import SSHPacket

from shardd.core.hook_protocol import printable
from shardd.core.outcome import Kind
from shardd.errors import Rejected, Unavailable
from shardd.files.work import Work
from shardd.service.auth import Identity, check_signature, described, identify
from shardd.service.channel import Guard, Process, Served
from shardd.service.session import Client, Service, Session

log = logging.getLogger("shardd.ssh")

_MOST_OFFERS = 64
"""Keys that one connection may offer; an agent rarely holds more than a handful."""

_MOST_CHANNELS = 64
"""Open at once on one connection, those included on which nothing is asked, or which are done and not closed."""

_LINGER = 0.2  # seconds that a client has to see the end of its last session before the connection is closed

Verify = Callable[[str, bytes, bytes, bytes], Awaitable[bool]]


class Connection(asyncssh.SSHServer):
    """What asyncssh asks about one connection."""

    def __init__(self, service: Service, reach: Callable[[asyncssh.SSHServerConnection], str]) -> None:
        self._service = service
        self._find_reach = reach
        self.address = "unknown"
        self._conn: asyncssh.SSHServerConnection | None = None
        self._reach = "shardd"
        self._proven: Identity | None = None
        self._refused: dict[str, str] = {}
        self._offers = 0
        self._idle: asyncio.TimerHandle | None = None
        self.client: Client | None = None
        self._work = Work(Kind.LOGIN)
        self._negotiates = self._asked = False
        self._sessions = 0
        self._channels = 0

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        peer = conn.get_extra_info("peername")
        self.address = str(peer[0]) if peer else "unknown"
        self._work.origin = f"ssh {self.address}"
        self._conn = conn
        self._service.admission.arrive(self)
        self._reach = self._find_reach(conn)
        self._service.connections.add(self)
        quick = getattr(socket, "TCP_QUICKACK", None)
        sock = conn.get_extra_info("socket")
        if quick is not None and sock is not None:
            _acknowledge_at_once(conn, sock, quick)
        self._hear_packets(conn)
        verify = conn.validate_public_key

        async def validate(username: str, blob: bytes, message: bytes, signature: bytes) -> bool:
            return await self._validate(verify, blob, message, signature)

        setattr(conn, "validate_public_key", validate)  # noqa: B010  (asyncssh shows the owner no certificate)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._service.admission.depart(self)
        if self._asked and self.client is None:
            self._not_in()
        elif self._negotiates and self._conn is not None and not self._conn._session_id:
            # What an old client comes to, and says no more of itself than that it failed; and some who look around.
            why = str(exc) if isinstance(exc, asyncssh.KeyExchangeFailed) else "it left"
            log.info("no algorithms were agreed on with %s: %s", self.address, why)
        self._service.connections.discard(self)
        self._conn = None

    def _hear_packets(self, conn: asyncssh.SSHServerConnection) -> None:
        """Let a client ask for authentication again before each key, as paramiko's does and OpenSSH's server allows:
        asyncssh takes the request once, and hangs up at the second. And note who has come to agree on algorithms.
        """
        handlers = conn._packet_handlers

        def negotiate(conn: asyncssh.SSHServerConnection, kind: int, number: int, packet: SSHPacket) -> object:
            self._negotiates = True
            return handlers[kind](conn, kind, number, packet)

        def request(conn: asyncssh.SSHServerConnection, kind: int, number: int, packet: SSHPacket) -> object:
            if conn._auth_in_progress and not conn._auth_complete:
                conn._next_service = b"ssh-userauth"
            return handlers[kind](conn, kind, number, packet)

        heard = {**handlers, MSG_KEXINIT: negotiate, MSG_SERVICE_REQUEST: request}
        setattr(conn, "_packet_handlers", heard)  # noqa: B010  (it looks them up at each packet)

    def begin_auth(self, username: str) -> bool:
        self._asked = True
        return True  # a falsy answer would let anybody in

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return key.get_fingerprint() in self._service.authorities.access.now().keys

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return key.get_fingerprint() in self._service.authorities.access.now().authorities

    async def _validate(self, verify: Verify, blob: bytes, message: bytes, signature: bytes) -> bool:
        """Whether a key would do, or, if there is a signature, whether it proves who this is."""
        self._offers += 1
        if self._conn is None or self._offers > 2 * _MOST_OFFERS:
            raise asyncssh.DisconnectError(
                asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "too many keys offered; name one with IdentitiesOnly"
            )
        try:
            identity = identify(blob, self._service.authorities.access.now())
            if message:
                check_signature(signature)
        except Rejected as error:
            self._refuse(blob, error.message)
            return False
        # asyncssh holds the user name against the principals of a certificate; the name that counts is this one.
        if not await verify(identity.principal, blob, message, signature):
            # A certificate may be bound to addresses, which asyncssh holds against the client's.
            self._refuse(blob, "its signature is wrong" if message else "not good from this address")
            return False
        if message:
            self._proven = identity
        return True

    def _refuse(self, blob: bytes, why: str) -> None:
        if len(self._refused) < _MOST_OFFERS:
            self._refused[described(blob)] = why

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> bool:
        if self._conn is not None:
            self._conn.send_auth_banner("".join(f"{printable(line)}\r\n" for line in self._explanation()))
        return False  # nobody is let in this way

    def validate_kbdint_response(self, username: str, responses: KbdIntResponse) -> bool:
        return False

    def _explanation(self) -> list[str]:
        lines = [f"shardd:   {print_}  {why}" for print_, why in self._refused.items()]
        said = "none of the keys that your ssh offered opens this server:" if lines else "your ssh offered no key"
        return [
            f"shardd: no-principal: {said}",
            *lines,
            f"shardd: to mend it: offer the right one with `ssh -i FILE -o IdentitiesOnly=yes`, "
            f"or ask an admin for `{self._reach} key add NAME <FILE.pub`",
        ]

    def auth_completed(self) -> None:
        if self._proven is None:
            return
        self._work.who, self._work.key = self._proven.principal, self._proven.fingerprint
        try:
            self._service.admission.log_in(self, self._proven.principal)
        except Unavailable as error:
            self.turn_out(f"{error.message}; {error.remedy}")
            return
        self.client = Client(self._proven, self._reach, self._work.origin)
        self._service.recorder.ended(self._work)
        self._wait_idle()

    def _not_in(self) -> None:
        """Tell of a login that came to nothing: who just looks whether somebody listens has asked for none."""
        if not self._work.settled:
            self._work.key = next(iter(self._refused), None)
            why = "; ".join(f"{print_} {why}" for print_, why in self._refused.items()) or "no key was offered"
            self._work.ended_as("no-principal", why)
        self._service.recorder.ended(self._work)

    def session_requested(self) -> tuple[asyncssh.SSHServerChannel[bytes], Served]:
        """A channel is opened, on which something may be asked."""
        if self._conn is None or self.client is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "nobody has logged in")
        if self._channels >= _MOST_CHANNELS:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "too many channels on this connection")
        channel: asyncssh.SSHServerChannel[bytes] = self._conn.create_server_channel(encoding=None)
        Guard(channel)
        self._channels += 1
        return channel, Served(self._serve, self._channel_closed)

    def _channel_closed(self) -> None:
        self._channels -= 1

    def _serve(self, process: Process) -> None:
        if self.client is None:
            process.exit(1)
        else:
            self._service.begin(Session(self._service, self.client, process, self))

    @contextmanager
    def session(self) -> Iterator[None]:
        """A session lasts for as long as the block does."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        self._sessions += 1
        try:
            yield
        finally:
            self._sessions -= 1
            if self._service.admission.leaving:
                # The exit status is yet to be sent.
                asyncio.get_running_loop().call_later(_LINGER, self.leave_if_idle)
            elif not self._sessions:
                self._wait_idle()

    def leave_if_idle(self) -> None:
        """Close the connection unless something runs on it."""
        if self._conn is not None and not self._sessions:
            self._conn.disconnect(asyncssh.DISC_BY_APPLICATION, "nothing to do")

    def turn_out(self, why: str) -> None:
        """Disconnect, with the reason."""
        self._work.ended_as(Unavailable.code, why)
        if not self._asked:
            log.info("refused a connection from %s: %s", self.address, why)
        if self._conn is not None:
            self._conn.disconnect(asyncssh.DISC_TOO_MANY_CONNECTIONS, why)

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()

    def _wait_idle(self) -> None:
        seconds = self._service.settings.idle_seconds
        if seconds and self._conn is not None:
            self._idle = asyncio.get_running_loop().call_later(seconds, self.leave_if_idle)


def _acknowledge_at_once(conn: asyncssh.SSHServerConnection, sock: socket.socket, option: int) -> None:
    """Acknowledge each packet as it comes: OpenSSH's client keeps Nagle on until the session starts, and would wait
    for our delayed acknowledgement twice per connection. The kernel forgets the option, so it is set each time.
    """
    receive: Callable[..., None] = conn.data_received

    def data_received(data: bytes, *rest: object) -> None:
        receive(data, *rest)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, option, 1)
        except OSError:
            log.debug("a socket closed early")

    setattr(conn, "data_received", data_received)  # noqa: B010  (the transport looks the method up at each call)
