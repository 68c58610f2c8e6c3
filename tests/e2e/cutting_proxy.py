"""A way to a server that breaks: it carries so many bytes each way, and then cuts the connection."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.e2e.harness import DEADLINE

NEVER = 1 << 62


class CuttingProxy:
    """Listens on `port`. to_server, to_client: bytes that each new connection carries before it is cut, both ways at
    once; connections: how many there were; carried: bytes to clients so far; on_cut: called once a connection is cut
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self.to_server = self.to_client = NEVER
        self.connections = self.carried = 0
        self.on_cut: Callable[[], None] = lambda: None
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def cut_once(self, *, to_server: int = NEVER, to_client: int = NEVER) -> None:
        """Cut the next connection after so many bytes, and none after it."""
        self.to_server, self.to_client = to_server, to_client
        self.on_cut = self.heal

    def heal(self) -> None:
        self.to_server = self.to_client = NEVER

    def cut_now(self) -> None:
        """Cut whatever is open."""
        with self._lock:
            broken = list(self._open)
        for each in broken:
            _reset(each)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)  # a bare close would leave the accept hanging
        self._listening.close()
        self.cut_now()
        self._accepting.join(DEADLINE)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                _reset(client)
                continue
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, server}
            for ends in ((client, server, self.to_server, False), (server, client, self.to_client, True)):
                threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, budget: int, down: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(min(65_536, budget)):
                sink.sendall(data)
                budget -= len(data)
                if down:
                    self.carried += len(data)
                if not budget:
                    self.on_cut()
                    break
        with self._lock:
            self._open -= {source, sink}
        for each in (source, sink):
            _reset(each)


def _reset(one: socket.socket) -> None:
    # Shut down, what lies in the other thread's recv comes back at once; what was sent before still arrives.
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def cutting_proxy(target: int) -> Iterator[CuttingProxy]:
    """A proxy to the port `target` on loopback."""
    proxy = CuttingProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
