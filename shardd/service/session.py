"""One SSH session: a request, read and served as commands/git_request.py says, its streams joined to the client's."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Protocol

import asyncssh

from shardd.authority.facts import Pusher
from shardd.authority.receive import Receiver
from shardd.commands.all_commands import run_on, server_grammar
from shardd.commands.caller import Context
from shardd.commands.git_request import (
    GIT_REFUSED,
    GitService,
    check_caller,
    git_run,
    is_git,
    parse_request,
    wants_json,
)
from shardd.commands.run_command import INTERNAL, complain, speak
from shardd.core.hook_protocol import PushList
from shardd.core.roles import Access, Rights
from shardd.errors import Rejected, SharddError, Unavailable
from shardd.files.server_dir import ServerDir
from shardd.files.settings import Settings
from shardd.service import relay
from shardd.service.access_reloader import LiveAccess
from shardd.service.admission import Admission, Guest
from shardd.service.auth import Identity
from shardd.service.channel import Process
from shardd.service.channel_io import ClientInput, ClientVoice, Meter, from_child, to_child
from shardd.service.git_child import Child, RelayEnds, spawn

log = logging.getLogger("shardd.session")

_LAST_WORD = 10.0  # seconds that a client may take to close its side of a channel
_INPUT = 64 * 1024  # bytes read from a client at a time
_LOOK = 0.5  # seconds between two looks whether a git still has a client
_LAST_BREATH = 2.0  # seconds that a git has to put things in order once it was told to end
_GRAMMARS = 16  # kept: one for each address by which clients reach us


class Host(Guest, Protocol):
    """A connection, as its sessions and whoever shuts the server down see it."""

    def session(self) -> AbstractContextManager[None]: ...

    def leave_if_idle(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Service:
    """What every session shares.

    children: pids of the running gits, each the leader of its process group; tasks: those of the sessions, which
    nothing else holds once a connection is lost
    """

    server: ServerDir
    settings: Settings
    live: LiveAccess
    hooks: Path
    admission: Admission
    connections: set[Host] = field(default_factory=set)
    children: set[int] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @classmethod
    def at(cls, server: ServerDir) -> Service:
        settings = server.settings()
        return cls(server, settings, LiveAccess(server.root), server.install_hooks(), Admission(settings))

    def begin(self, session: Session) -> None:
        """Serve it, and hold it until it has ended."""
        task = asyncio.get_running_loop().create_task(session.run())
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a session failed", exc_info=error)

    def end_children(self, how: signal.Signals) -> None:
        """Send a signal to every running git, its hooks included."""
        for pid in self.children:
            with suppress(ProcessLookupError):
                os.killpg(pid, how)


@dataclass(frozen=True, slots=True)
class Client:
    """Who a connection is, as the completed authentication proved. reach: see Receiver."""

    identity: Identity
    reach: str

    @property
    def principal(self) -> str:
        return self.identity.principal


class Session:
    """Serves one `exec` request, on the connection `host`."""

    def __init__(self, service: Service, client: Client, process: Process, host: Host) -> None:
        self._service = service
        self._client = client
        self._process = process
        self._host = host
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Serve it to the very end: until the client has heard the exit status."""
        admission = self._service.admission
        voice = ClientVoice(
            self._process, self._loop, self._process.is_closing, self._service.settings.stall_seconds or None
        )
        with self._host.session(), ExitStack() as until_heard:
            try:
                # Whoever never closes a channel keeps no place that others could have.
                with admission.session(self._host, self._client.principal):
                    until_heard.enter_context(admission.unheard())
                    self._process.exit(await self._answer(voice))
            except Unavailable as error:
                self._process.exit(await self._refused(error, voice))
            # The client closes its side when it has read everything: only then is the connection to spare.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait_closed(), _LAST_WORD)

    async def _answer(self, voice: ClientVoice) -> int:
        """The exit status, after everything was said."""
        try:
            # Not in the event loop: splitting words takes its time.
            request = await asyncio.to_thread(parse_request, self._process.command, self._client.principal)
            if isinstance(request, GitService):
                return await self._git(request)
            return await asyncio.to_thread(self._command, request, voice)
        except SharddError as error:
            return await self._refused(error, voice)
        except (asyncssh.Error, ConnectionError):
            log.info("%s left early", self._client.principal)
            return 1
        except Exception:
            log.exception("a session failed")
            return INTERNAL

    async def _refused(self, error: SharddError, voice: ClientVoice) -> int:
        with suppress(BrokenPipeError):
            as_json = wants_json(self._process.command)
            await asyncio.to_thread(self._complain, error, voice, as_json=as_json)
        return GIT_REFUSED if is_git(self._process.command) else error.exit_status

    def _complain(self, error: SharddError, voice: ClientVoice, *, as_json: bool) -> None:
        complain(error, voice, self._client.reach, as_json=as_json)
        voice.flush()

    def _command(self, words: Sequence[str], voice: ClientVoice) -> int:
        check_caller(words, self._rights(), self._client.principal)
        try:
            parser = _grammar(self._client.reach)
            status = speak(parser, words, lambda asked: run_on(self._context(), asked), voice, reach=self._client.reach)
            voice.flush()
        except BrokenPipeError:
            return 1
        return status

    def _context(self) -> Context:
        self._rights()
        return Context(
            server=self._service.server,
            principal=self._client.principal,
            operator=False,
            opened=self._opened,
            gone=lambda: self._process.is_closing() or self._service.admission.leaving,
            granted=self._rights,
            fingerprint=self._client.identity.fingerprint,
        )

    def _opened(self, file: str) -> IO[bytes]:
        # Whatever name a remote caller gives, it is standard input: no path of this machine is ever opened for it.
        return io.BufferedReader(ClientInput(self._process, self._loop, self._service.admission.left), _INPUT)

    async def _git(self, request: GitService) -> int:
        prepared = await asyncio.to_thread(
            git_run,
            self._service.server,
            self._rights(),
            request,
            self._client.principal,
            hooks=self._service.hooks,
            protocol=self._process.env.get("GIT_PROTOCOL", ""),
            extra={"SHARDD_RELAY": "1"} if request.pushing else {},
        )
        child, ends = spawn(prepared.arguments, prepared.environment, relay=request.pushing)
        log.info("%s by %s (pid %d)", request, self._client.principal, child.pid)
        self._service.children.add(child.pid)
        try:
            return await self._join(child, ends, prepared.repository, request.repo)
        finally:
            self._service.children.discard(child.pid)

    async def _join(self, child: Child, ends: RelayEnds | None, path: Path, repo: str) -> int:
        """Join a running git to the client, and its hooks to us, to its end; its exit status."""
        served: asyncio.Future[bool] | None = None
        deciding = threading.Event()
        meter = Meter()
        if ends is not None:
            receiver = self._receiver(path, repo)
            served = self._loop.run_in_executor(None, relay.serve, receiver, ends.asks, ends.answers, deciding.set)
            meter.look = PushList().feed
        incoming = asyncio.create_task(to_child(self._process, child.stdin, meter))
        outgoing = asyncio.gather(
            from_child(child.stdout, self._process.stdout, meter), from_child(child.stderr, self._process.stderr, meter)
        )
        watching = asyncio.create_task(self._over(incoming, meter, deciding))
        await asyncio.wait((outgoing, watching), return_when=asyncio.FIRST_COMPLETED)
        if not outgoing.done():
            await self._end(child, outgoing)
        await asyncio.gather(outgoing, return_exceptions=True)
        status = await child.wait()
        for each in (incoming, watching):
            each.cancel()
        await asyncio.gather(incoming, watching, return_exceptions=True)
        hooks_ran = served is not None and await served
        if meter.refusal is not None:
            raise meter.refusal
        if not watching.cancelled():
            raise watching.result()
        limit = self._service.settings.max_pack_bytes
        if ends is not None and not hooks_ran and meter.count > limit:
            # No hook was run: git has refused it by receive.maxInputSize, in its own words.
            raise Rejected("too-large", f"a pack holds at most {limit} bytes", "push the events in several steps")
        return status

    async def _over(self, incoming: asyncio.Task[None], meter: Meter, deciding: threading.Event) -> SharddError:
        """Return once a git has nobody left to serve, or must not go on, with the reason.

        deciding: the hooks of a push have begun; it goes to its end then, whoever listens
        """
        patience = self._service.settings.stall_seconds
        while True:
            if not incoming.done():
                await asyncio.wait((incoming,), timeout=_LOOK)
            else:
                await asyncio.sleep(_LOOK)
            if meter.refusal is not None:
                return meter.refusal
            if deciding.is_set():
                continue
            if self._process.is_closing():
                return Unavailable("the client has left")
            if patience and self._loop.time() - meter.last > patience:
                return Unavailable(f"no byte has moved for {patience} seconds")

    async def _end(self, child: Child, outgoing: asyncio.Future[tuple[None, None]]) -> None:
        """End a git that has not been waited for, and what it started."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(child.pid, how)
            await asyncio.wait((outgoing,), timeout=_LAST_BREATH)
            if outgoing.done():
                return
        outgoing.cancel()  # a client that reads nothing holds up what is for it

    def _receiver(self, path: Path, repo: str) -> Receiver:
        def pusher() -> tuple[Pusher, Rights]:
            return Pusher(self._client.principal), self._rights()

        return Receiver(path, repo, pusher, self._client.reach, self._service.settings.limits)

    def _rights(self) -> Access:
        """What is granted now, provided that what opened this connection would still open it."""
        snapshot = self._service.live.snapshot()
        self._client.identity.still(snapshot)
        return snapshot.access


_grammar = lru_cache(maxsize=_GRAMMARS)(server_grammar)
