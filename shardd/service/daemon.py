"""The daemon, put together in one place and run until a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from shardd.authority.authorities import Authorities
from shardd.errors import Unavailable
from shardd.git.program import require_version
from shardd.service.listener import listen, parse_address, reach_of
from shardd.service.session import Service
from shardd.upkeep.doctor import permissions

log = logging.getLogger("shardd")

_THREADS_PER_SESSION = 2
"""A push blocks one for its hooks and one for its git, a command one; they are made as needed."""

_SPARE_THREADS = 32
_GOODBYE = 1.0  # seconds
_LAST_WAIT = 5.0
"""Seconds for what was cut off to end by itself."""


def run(authorities: Authorities, *, address: str | None, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; running pushes are let finish. A second signal cuts that short.
    SIGHUP reads access and settings anew.

    address: HOST:PORT in place of the configured one; ready: told `ssh -p PORT HOST` once connections are taken
    """
    require_version()
    authorities.server.settings()  # whoever starts a server is there to mend them: the last good ones are for later
    for finding in permissions(authorities.server.root):
        fix = ", or run `shardd doctor --fix`" if finding.mend is not None else ""
        raise Unavailable(f"{finding.where}: {finding.message}", f"{finding.remedy}{fix}")
    _have_a_home(authorities.server.root)
    _raise_file_limit()
    asyncio.run(_run(authorities, address, ready))


async def _run(authorities: Authorities, address: str | None, ready: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    service = Service.over(authorities)
    threads = _THREADS_PER_SESSION * service.settings.max_sessions + _SPARE_THREADS
    loop.set_default_executor(ThreadPoolExecutor(threads, thread_name_prefix="shardd"))
    stop, hurry = asyncio.Event(), asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, lambda: hurry.set() if stop.is_set() else stop.set())
    loop.add_signal_handler(signal.SIGHUP, reload, authorities)
    host, port = parse_address(address or service.settings.listen)
    acceptor = await listen(service, host, port)
    log.info("serving %s", authorities.server.root)
    ready(reach_of(host or "localhost", acceptor.get_port()))
    await stop.wait()
    acceptor.close()
    await _leave(service, hurry)
    await acceptor.wait_closed()
    await service.recorder.finish()


async def _leave(service: Service, hurry: asyncio.Event) -> None:
    """Let no session begin, and those that run finish: until the configured time is over, or `hurry` is set."""
    admission = service.admission
    log.info("leaving; %d sessions run", admission.sessions)
    admission.leave()
    for connection in list(service.connections):
        connection.leave_if_idle()
    empty, hurried = asyncio.ensure_future(admission.empty()), asyncio.ensure_future(hurry.wait())
    seconds = service.settings.drain_seconds
    await asyncio.wait((empty, hurried), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if admission.sessions:
        log.warning("cutting off %d sessions that have not finished", admission.sessions)
        service.children.signal_all(signal.SIGTERM)
    else:
        # Clients that have heard all that they asked for close the connection by themselves.
        with suppress(TimeoutError):
            await asyncio.wait_for(admission.deserted(), _GOODBYE)
    for connection in list(service.connections):
        connection.close()
    await asyncio.wait((empty,), timeout=_LAST_WAIT)
    if admission.sessions:
        # What hangs now is a thread that nothing can end. The files are in order at every moment: see authority.py.
        log.error("%d sessions hang; leaving without them", admission.sessions)
        service.children.signal_all(signal.SIGKILL)
        logging.shutdown()
        os._exit(1)
    empty.cancel()


def reload(authorities: Authorities) -> None:
    """Read access and settings anew; the log says what came of it. What does not read leaves the last good in force."""
    faults = authorities.reload()
    if faults:
        log.error("SIGHUP: not reloaded, the last good stays in force: %s", "; ".join(map(str, faults)))
    else:
        log.info("SIGHUP: access files and settings are in force")


def _have_a_home(root: Path) -> None:
    """asyncssh wants to know its user's home, which in a container there need not be, though it looks nowhere there."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(root)


def _raise_file_limit() -> None:
    """As many open files as the system lets us have: a push takes a dozen."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # what we have must do, then
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
