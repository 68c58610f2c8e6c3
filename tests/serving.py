"""The SSH server in this process, in a thread of its own: for what goes over the wire and needs no second process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from shardd.authority.authorities import Authorities
from shardd.core.roles import Grant
from shardd.files.server_dir import ServerDir
from shardd.git import program
from shardd.service.listener import host_keys, listen
from shardd.service.session import Service


@dataclass(frozen=True, slots=True)
class Scene:
    """A server on 127.0.0.1, whose admin is alice; her key is below `home`. connections: those that are open"""

    server: ServerDir
    home: Path
    port: int
    connections: Collection[object]

    def known_hosts(self, *, at: str = "127.0.0.1") -> str:
        keys = host_keys(self.server.host_keys)
        return "".join(f"[{at}]:{self.port} {key.export_public_key().decode()}" for key in keys)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """When the block has ended, all has been told of the connections that were made in it."""
        yield
        deadline = time.monotonic() + 30
        while self.connections:
            assert time.monotonic() < deadline
            time.sleep(0.002)


def write_key(path: Path, key: asyncssh.SSHKey | None = None) -> asyncssh.SSHKey:
    """A key, by default a fresh one, as ssh-keygen leaves it."""
    key = key or asyncssh.generate_private_key("ssh-ed25519")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(key.export_private_key())
    path.chmod(0o600)
    path.with_name(f"{path.name}.pub").write_bytes(key.export_public_key())
    return key


@contextmanager
def serving(folder: Path) -> Iterator[Scene]:
    """Serve a new directory, with the repo garden and its space whynot, for as long as the block lasts."""
    server = ServerDir.create(folder / "server")
    alice = write_key(folder / "home" / "alice")
    (server.root / "keys" / "alice.pub").write_bytes(alice.export_public_key())
    server.access.grant(Grant("alice", "admin", "@all"))
    authorities = Authorities.open(server)
    authorities.create("garden")
    with authorities.repo("garden", authorities.operator) as authority:
        authority.create("whynot")
    started: list[tuple[int, Collection[object]]] = []
    up, loop, leave = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        service = Service.over(authorities)
        async with await listen(service, "127.0.0.1", 0) as acceptor:
            started.append((acceptor.get_port(), service.connections))
            up.set()
            await leave.wait()
        for connection in list(service.connections):
            connection.close()
        await asyncio.wait_for(service.admission.deserted(), 30)
        await asyncio.sleep(0.01)  # asyncio closes a socket a turn later
        await service.recorder.finish()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            up.set()
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "_own", program._own)  # the server bounds the gits of its process
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        up.wait(30)
        try:
            yield Scene(server, folder / "home", *started[0])
        finally:
            loop.call_soon_threadsafe(leave.set)
            thread.join(30)
