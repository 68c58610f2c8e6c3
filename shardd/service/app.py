"""The daemon, put together in one place and run until a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from shardd.service.listener import listen, parse_address, reach_of
from shardd.service.session import Service
from shardd.storage.git import require_version
from shardd.storage.serverdir import ServerDir

log = logging.getLogger("shardd")

_THREADS = 512
"""Each push and each waiting command blocks one; they are made as needed."""


def run(server: ServerDir, *, address: str | None, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    address: HOST:PORT in place of the configured one; ready: told `ssh -p PORT HOST` once connections are taken
    """
    require_version()
    asyncio.run(_run(server, address, ready))


async def _run(server: ServerDir, address: str | None, ready: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="shardd"))
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    service = Service.at(server)
    host, port = parse_address(address or service.settings.listen)
    acceptor = await listen(service, host, port)
    log.info("serving %s", server.root)
    ready(reach_of(host or "localhost", acceptor.get_port()))
    await stop.wait()
    log.info("leaving")
    acceptor.close()
    await acceptor.wait_closed()
