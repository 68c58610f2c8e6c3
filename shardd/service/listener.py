"""The SSH listener: who is let in, as whom.

Identity is what the completed authentication proved. asyncssh asks about a key twice, when it is offered and when it
is signed with; an offer proves nothing. Both answers come from `validate_public_key`, and the last one before
`auth_completed` is the signed one, because nothing else can complete an authentication here. The user name is ignored.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path

import asyncssh

from shardd.errors import Misuse, SharddError, Unavailable
from shardd.service.session import Client, Service, Session
from shardd.service.streams import Process
from shardd.storage.durable import write_atomic

log = logging.getLogger("shardd.ssh")

# dropbear takes only the first of these that it knows to be first here as well.
_KEX = ["curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "diffie-hellman-group14-sha256"]


class Connection(asyncssh.SSHServer):
    """One connection, from the first byte."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._offered = ("", "")
        self.client: Client | None = None
        self._reach = "shardd"

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._reach = _reach(self._service, conn)
        quick = getattr(socket, "TCP_QUICKACK", None)
        sock = conn.get_extra_info("socket")
        if quick is not None and sock is not None:
            _acknowledge_at_once(conn, sock, quick)

    def begin_auth(self, username: str) -> bool:
        return True  # a falsy answer would let anybody in

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        fingerprint = key.get_fingerprint()
        principal = self._service.live.snapshot().keys.get(fingerprint)
        self._offered = (principal or "", fingerprint)
        return principal is not None

    def auth_completed(self) -> None:
        principal, fingerprint = self._offered
        if principal:
            self.client = Client(principal, fingerprint, self._reach)


async def listen(service: Service, host: str, port: int) -> asyncssh.SSHAcceptor:
    """Start to listen; Unavailable if the address cannot be had."""

    async def serve(process: Process) -> None:
        owner = process.get_extra_info("connection").get_owner()
        status = 1
        try:
            if isinstance(owner, Connection) and owner.client is not None:
                status = await Session(service, owner.client, process).run()
        except SharddError as error:
            log.warning("a session ended: %s", error)
        except (asyncssh.Error, ConnectionError, BrokenPipeError):
            log.info("a client left")
        except Exception:
            log.exception("a session failed")
            status = 70
        finally:
            process.exit(status)

    try:
        return await asyncssh.listen(
            host,
            port,
            server_factory=lambda: Connection(service),
            server_host_keys=list(host_keys(service.server.host_keys)),
            process_factory=serve,
            encoding=None,
            kex_algs=_KEX,
            password_auth=False,
            kbdint_auth=False,
            gss_host=None,
            allow_pty=False,
            agent_forwarding=False,
            line_editor=False,
            reuse_address=True,
            server_version="shardd",
        )
    except OSError as error:
        raise Unavailable(
            f"cannot listen on {host}:{port}: {error.strerror or error}", "choose another with `--listen HOST:PORT`"
        ) from None


def host_keys(folder: Path) -> list[asyncssh.SSHKey]:
    """The server's identities, Ed25519 first; made when there are none."""
    paths = sorted(path for path in folder.glob("ssh_host_*_key"))
    if not paths:
        key = asyncssh.generate_private_key("ssh-ed25519", comment="shardd")
        path = folder / "ssh_host_ed25519_key"
        write_atomic(path.with_suffix(".pub"), key.export_public_key(), mode=0o644)
        write_atomic(path, key.export_private_key(), mode=0o600)
        paths = [path]
    try:
        keys = [asyncssh.read_private_key(path) for path in paths]
    except (OSError, asyncssh.KeyImportError) as error:
        raise Unavailable(f"a host key in {folder} cannot be used: {error}") from None
    return sorted(keys, key=lambda key: key.get_algorithm() != "ssh-ed25519")


def parse_address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `:PORT` for all addresses, `[V6]:PORT`; port 0 for any that is free."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise Misuse(f"{text!r} is not HOST:PORT", "write it like 127.0.0.1:2222")
    return host.strip("[]"), int(port)


def reach_of(host: str, port: int) -> str:
    """How a client calls our commands at this address."""
    return f"ssh {host}" if port == 22 else f"ssh -p {port} {host}"


def _reach(service: Service, conn: asyncssh.SSHServerConnection) -> str:
    if service.settings.public:
        return reach_of(*parse_address(service.settings.public))
    name = conn.get_extra_info("sockname")
    return reach_of(name[0], name[1]) if name else "shardd"


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
