"""The SSH listener: its host keys, its address, and what asyncssh is told to offer."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import asyncssh

from shardd.core.ssh_wire import SIGNATURES
from shardd.errors import Misuse, Unavailable
from shardd.files.durable import write_atomic
from shardd.service.connection import Connection
from shardd.service.session import Service

# dropbear takes only the first of these that it knows to be first here as well.
_KEX = ["curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "diffie-hellman-group14-sha256"]

_HOST_KEYS = {"ecdsa": "ecdsa-sha2-nistp256", "ed25519": "ssh-ed25519"}
"""An ECDSA key too, as stock systems have: old clients, such as JSch's, know no Ed25519."""

_BACKLOG = 512


async def listen(service: Service, host: str, port: int) -> asyncssh.SSHAcceptor:
    """Start to listen; Unavailable if the address cannot be had."""

    settings = service.settings
    try:
        return await asyncssh.listen(
            host,
            port,
            server_factory=lambda: Connection(service, partial(_reach, service)),
            server_host_keys=list(host_keys(service.authorities.server.host_keys)),
            encoding=None,
            kex_algs=_KEX,
            # Left to itself asyncssh lists most of them twice, and libssh2 writes past the end of its memory then.
            signature_algs=list(SIGNATURES),
            compression_algs=None,  # what is compressed has no bound
            password_auth=False,
            kbdint_auth=True,  # it never succeeds: see connection.py
            public_key_auth=True,
            host_based_auth=False,
            gss_host=None,
            allow_pty=False,
            agent_forwarding=False,
            line_editor=False,
            reuse_address=True,
            server_version="shardd",
            backlog=_BACKLOG,
            login_timeout=settings.login_grace_seconds,
            keepalive_interval=settings.keepalive_seconds,
            keepalive_count_max=settings.keepalive_count,
        )
    except OSError as error:
        raise Unavailable(
            f"cannot listen on {host}:{port}: {error.strerror or error}", "choose another with `--listen HOST:PORT`"
        ) from None


def host_keys(folder: Path) -> list[asyncssh.SSHKey]:
    """The server's identities, Ed25519 first; made when there are none."""
    paths = sorted(path for path in folder.glob("ssh_host_*_key"))
    if not paths:
        paths = [_made(folder / f"ssh_host_{name}_key", kind) for name, kind in _HOST_KEYS.items()]
    try:
        keys = [asyncssh.read_private_key(path) for path in paths]
    except (OSError, asyncssh.KeyImportError) as error:
        raise Unavailable(f"a host key in {folder} cannot be used: {error}") from None
    return sorted(keys, key=lambda key: key.get_algorithm() != "ssh-ed25519")


def _made(path: Path, kind: str) -> Path:
    key = asyncssh.generate_private_key(kind, comment="shardd")
    write_atomic(path.with_suffix(".pub"), key.export_public_key(), mode=0o644)
    write_atomic(path, key.export_private_key(), mode=0o600)
    return path


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
