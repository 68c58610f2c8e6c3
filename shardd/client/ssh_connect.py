"""Connecting as ssh does: the way there, whether the server is the right one, and one key after the other."""

from __future__ import annotations

import base64
import copy
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from shardd.client.ssh_settings import TIMEOUT, Settings
from shardd.client.users_ssh import through
from shardd.core.ssh_wire import algorithm
from shardd.errors import Unavailable

if TYPE_CHECKING:
    from paramiko import PKey, Transport
    from paramiko.agent import AgentSSH

_SEES = "see whether `ssh` gets through"


class Connection:
    """One that is made, and whose user the server knows. destination: how the user calls it; met: it was there before

    Unavailable if it says no, or there is no way; OSError, EOFError or SSHException if it broke off meanwhile.
    """

    def __init__(self, settings: Settings, destination: str, *, met: bool) -> None:
        self._settings = settings
        self._destination = destination
        self._met = met
        self._trusted, self._revoked = _known(settings)
        self._open = ExitStack()
        with ExitStack() as unless_done:
            unless_done.callback(self.close)
            self.transport = self._prove()
            unless_done.pop_all()
        self.transport.set_keepalive(int(TIMEOUT))

    def close(self) -> None:
        self._open.close()

    def _prove(self) -> Transport:
        """A connection on which one of the keys has opened the server."""
        from paramiko import AuthenticationException, BadAuthenticationType, SSHException

        transport, fresh, tried = self._reach(), True, 0
        with ExitStack() as agents:
            for key in _keys(self._settings, agents):
                tried += 1
                for _ in range(2):
                    try:
                        transport.auth_publickey(self._settings.user, key)
                        if transport.is_authenticated():
                            return transport
                        break  # it wants more than a key
                    except BadAuthenticationType as error:
                        raise self._no(error) from None
                    except (SSHException, EOFError, OSError) as error:
                        if transport.is_active():
                            if isinstance(error, AuthenticationException):
                                fresh = False
                                break
                            raise
                        if fresh:
                            raise
                        # Some servers hang up at the second key, and others at the seventh: the rest come to a new one.
                        self._open.close()
                        transport, fresh = self._reach(), True
        raise self._no(f"none of {tried} keys opens it" if tried else "there is no key to open it with")

    def _reach(self) -> Transport:
        """A connection to the server that known_hosts means, on which nobody has logged in."""
        import paramiko

        sock = self._open.enter_context(self._socket())
        transport = paramiko.Transport(sock)
        self._open.callback(transport.close)
        transport.banner_timeout = transport.auth_timeout = self._settings.timeout
        options = transport.get_security_options()
        # Of several host keys the server is to show one that is known.
        first = [kind for blob in self._trusted for kind in _shown(blob) if kind in options.key_types]
        options.key_types = tuple(dict.fromkeys([*first, *options.key_types]))
        transport.start_client(timeout=self._settings.timeout)
        shown = transport.get_remote_server_key().asbytes()
        if shown in self._revoked:
            raise self._no("its host key is revoked in known_hosts")
        if shown not in self._trusted:
            what = "is not the one in known_hosts" if self._trusted else "is not in known_hosts"
            raise self._no(f"its host key {what}")
        return transport

    def _socket(self) -> socket.socket:
        settings = self._settings
        if settings.proxy is not None:
            sock, end = through(settings.proxy)
            self._open.callback(end)
            sock.settimeout(settings.timeout)
            return sock
        try:
            sock = socket.create_connection((settings.host, settings.port), settings.timeout)
        except (OSError, UnicodeError) as error:
            if self._met and isinstance(error, OSError):
                raise  # it was there before: it may be starting again
            raise self._no(error, "see whether the address is right, and the server runs") from None
        # Nagle's algorithm would hold back each small packet for the other side's delayed acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def _no(self, why: object, remedy: str = _SEES) -> Unavailable:
        return Unavailable(f"{self._destination} could not be reached: {why}", remedy)


def _shown(blob: bytes) -> list[str]:
    kind = algorithm(blob).decode("ascii", "replace")
    return ["rsa-sha2-512", "rsa-sha2-256"] if kind == "ssh-rsa" else [kind]


def _known(settings: Settings) -> tuple[list[bytes], list[bytes]]:
    """The host keys that are the server's, and those that are nobody's any more, by the files of known hosts."""
    import asyncssh

    name = settings.alias or settings.host.lower()
    port = settings.port if settings.port != 22 and settings.alias is None else None
    trusted: list[bytes] = []
    revoked: list[bytes] = []
    for path in settings.known_hosts:
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError:
            continue
        for line in lines:
            said = line.decode("utf-8", "replace").strip()
            if name not in said.lower() and not any(sign in said for sign in "|*?"):
                continue  # of somebody else: reading a key takes its time
            try:
                found = asyncssh.import_known_hosts(said).match(name, "", port)
            except (ValueError, asyncssh.Error):
                continue  # ssh skips what does not read, too
            trusted += [key.public_data for key in found[0]]
            revoked += [key.public_data for key in found[2]]
    return trusted, revoked


def _keys(settings: Settings, agents: ExitStack) -> Iterator[PKey]:
    """What to try, in the order of ssh: what the agent has of the configured keys, its others, and then the files."""
    named = [_public(path) for path in settings.identities]
    held = _agent_keys(settings, agents)
    for blob in named:
        for key in held:
            if key.asbytes() == blob:
                yield from _certified(key, settings)
    if not settings.only:
        for key in held:
            if key.asbytes() not in named:
                yield from _certified(key, settings)
    blobs = {key.asbytes() for key in held}
    for path in settings.identities:
        found = _private(path)
        if found is not None and found.asbytes() not in blobs:
            yield from _certified(found, settings, path)


def _agent_keys(settings: Settings, agents: ExitStack) -> list[PKey]:
    if settings.agent is None:
        return []
    from paramiko import SSHException

    with suppress(OSError, EOFError, SSHException, ValueError):
        agent = _asked(settings.agent)
        agents.callback(agent._close)  # type: ignore[attr-defined]
        return list(agent.get_keys())
    return []


def _asked(path: str) -> AgentSSH:
    from paramiko.agent import AgentSSH

    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(TIMEOUT)
        sock.connect(path)
        agent = AgentSSH()
        agent._connect(sock)  # type: ignore[attr-defined]  # its public twin knows SSH_AUTH_SOCK alone
    except BaseException:
        sock.close()
        raise
    return agent


def _private(path: Path) -> PKey | None:
    """None for a file that is not there, is locked with a passphrase, or of a kind unknown to us: ssh goes on, too."""
    from paramiko import PKey

    try:
        found = PKey.from_path(path)
    except Exception:  # whatever the libraries below say of it
        return None
    found.public_blob = None
    return found


def _certified(key: PKey, settings: Settings, path: Path | None = None) -> Iterator[PKey]:
    """The key with each of its certificates, and by itself."""
    beside = [] if path is None else [path.with_name(f"{path.name}-cert.pub")]
    for each in [*settings.certificates, *beside]:
        if _certifies(each, key):
            certified = copy.copy(key)
            certified.load_certificate(str(each))
            yield certified
    yield key


def _certifies(path: Path, key: PKey) -> bool:
    import asyncssh

    try:
        return asyncssh.read_certificate(path).key.public_data == key.asbytes()
    except (OSError, ValueError, asyncssh.Error):
        return False


def _public(path: Path) -> bytes | None:
    """The public half of an identity: beside it, or itself where the private one is the agent's."""
    for each in (path.with_name(f"{path.name}.pub"), path):
        with suppress(OSError, ValueError, IndexError):
            return base64.b64decode(each.read_text().split()[1], validate=True)
    return None
