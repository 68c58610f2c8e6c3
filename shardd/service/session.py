"""One SSH session: a request, read and served as commands/git_request.py says, its streams joined to the client's."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Protocol

import asyncssh

from shardd.authority.authorities import Authorities
from shardd.authority.facts import Pusher
from shardd.authority.moved import Pause
from shardd.authority.receive import Receiver
from shardd.commands.all_commands import run_on, server_grammar
from shardd.commands.caller import Context
from shardd.commands.describe import attempted
from shardd.commands.git_request import (
    GIT_REFUSED,
    SUBSYSTEM,
    GitService,
    check_caller,
    git_ended,
    git_run,
    is_git,
    kind_of,
    parse_request,
    wants_json,
)
from shardd.commands.result import Steps
from shardd.commands.run_command import INTERNAL, complain, speaking
from shardd.core.incoming import Incoming
from shardd.core.limits import PackBounds, pack_bounds
from shardd.core.outcome import GONE
from shardd.core.roles import Access, Rights
from shardd.errors import SharddError, Unavailable
from shardd.files.audit_log import Audit
from shardd.files.bounds import Bounds
from shardd.files.settings import Settings
from shardd.files.work import Work
from shardd.git.program import bound_own
from shardd.service import relay
from shardd.service.admission import Admission, Guest
from shardd.service.auth import Identity
from shardd.service.channel import Process
from shardd.service.channel_io import ClientInput, ClientVoice
from shardd.service.children import Children
from shardd.service.joining import Asked, Lasting, join
from shardd.service.push_stage import Stage
from shardd.service.recorder import Recorder
from shardd.service.waiting import driven

log = logging.getLogger("shardd.session")

_LAST_WORD = 10.0  # seconds that a client may take to close its side of a channel
_INPUT = 64 * 1024  # bytes read from a client at a time


class Host(Guest, Protocol):
    """A connection, as its sessions and whoever shuts the server down see it."""

    def session(self) -> AbstractContextManager[None]: ...

    def leave_if_idle(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Service:
    """What every session shares. tasks: those of the sessions, which nothing else holds once a connection is lost"""

    authorities: Authorities
    hooks: Path
    admission: Admission
    children: Children
    recorder: Recorder
    connections: set[Host] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @classmethod
    def over(cls, authorities: Authorities) -> Service:
        def bounds() -> Bounds:
            return authorities.settings.now().git_bounds

        bound_own(bounds)
        server, children = authorities.server, Children(bounds)
        recorder = Recorder(Audit(server.root, aloud=True))
        return cls(authorities, server.install_hooks(), Admission(authorities.settings.now), children, recorder)

    @property
    def settings(self) -> Settings:
        """Those in force just now."""
        return self.authorities.settings.now()

    def begin(self, session: Session) -> None:
        """Serve it, and hold it until it has ended."""
        task = asyncio.get_running_loop().create_task(session.run())
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a session failed", exc_info=error)


@dataclass(frozen=True, slots=True)
class Client:
    """Who a connection is, as the completed authentication proved. reach: see Receiver; origin: see Outcome"""

    identity: Identity
    reach: str
    origin: str

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
        self._refs: Sequence[str] = ()
        # A subsystem is sftp for nearly everybody: what it is called is of no interest.
        self._asked = process.command if process.subsystem is None else SUBSYSTEM
        self._work = Work(
            kind_of(self._asked), who=client.principal, origin=client.origin, key=client.identity.fingerprint
        )

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
                    status = await self._answer(voice)
            except Unavailable as error:
                status = await self._refused(error, voice)
            except asyncio.CancelledError:
                self._work.ended_as(GONE)
                raise
            finally:
                await self._service.recorder.told(self._work)
            self._process.exit(status)
            # The client closes its side when it has read everything: only then is the connection to spare.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait_closed(), _LAST_WORD)

    async def _answer(self, voice: ClientVoice) -> int:
        """The exit status, after everything was said."""
        try:
            # Not in the event loop: splitting words takes its time.
            request = await asyncio.to_thread(parse_request, self._asked, self._client.principal)
            if isinstance(request, GitService):
                return await self._git(request)
            return await self._command(request, voice)
        except SharddError as error:
            return await self._refused(error, voice)
        except (asyncssh.Error, ConnectionError):
            self._work.ended_as(GONE)
            return 1
        except Exception as error:
            self._work.failed(error)
            log.exception("a session failed")
            return INTERNAL

    async def _refused(self, error: SharddError, voice: ClientVoice) -> int:
        self._work.failed(error)
        with suppress(BrokenPipeError):
            as_json = wants_json(self._asked)
            await asyncio.to_thread(self._complain, error, voice, as_json=as_json)
        return GIT_REFUSED if is_git(self._asked) else error.exit_status

    def _complain(self, error: SharddError, voice: ClientVoice, *, as_json: bool) -> None:
        complain(error, voice, self._client.reach, as_json=as_json)
        voice.flush()

    async def _command(self, words: Sequence[str], voice: ClientVoice) -> int:
        return await driven(self._speaking(words, voice))

    def _speaking(self, words: Sequence[str], voice: ClientVoice) -> Generator[Pause, None, int]:
        """The exit status, after whatever has to be waited for."""
        attempted(self._work, words)
        check_caller(words, self._rights(), self._client.principal)

        def run(command: object) -> Steps:
            return run_on(self._context(voice), command)

        try:
            status = yield from speaking(server_grammar(), words, run, voice, reach=self._client.reach, work=self._work)
            voice.flush()
        except BrokenPipeError:
            return 1
        return status

    def _context(self, voice: ClientVoice) -> Context:
        self._rights()
        return Context(
            authorities=self._service.authorities,
            principal=self._client.principal,
            opened=self._opened,
            gone=lambda: self._process.is_closing() or self._service.admission.leaving,
            rights=self._rights,
            fingerprint=self._client.identity.fingerprint,
            tell=voice.err,
            work=self._work,
            reach=self._client.reach,
        )

    def _opened(self, file: str) -> IO[bytes]:
        # Whatever name a remote caller gives, it is standard input: no path of this machine is ever opened for it.
        return io.BufferedReader(ClientInput(self._process, self._loop, self._service.admission.left), _INPUT)

    async def _git(self, request: GitService) -> int:
        self._work.about(request.repo, request.space, "")
        status = await self._serve_git(request)
        if status != 0 and self._process.is_closing():
            self._work.ended_as(GONE)
        git_ended(self._work, status, self._refs)
        return status

    async def _serve_git(self, request: GitService) -> int:
        settings = self._service.settings
        lasting = Lasting(settings.max_git_seconds, settings.stall_seconds or None)
        prepared = await asyncio.to_thread(
            git_run,
            self._service.authorities,
            self._rights(),
            request,
            self._client.principal,
            hooks=self._service.hooks,
            protocol=self._process.env.get("GIT_PROTOCOL", ""),
            extra={"SHARDD_RELAY": "1"} if request.pushing else {},
        )
        if not request.pushing:
            with self._service.children.started(prepared, relay=False) as (child, _):
                log.info("%s by %s (pid %d)", request, self._client.principal, child.pid)
                asked = Asked(settings.max_pack_bytes)
                return await join(self._service.children, self._process, child, asked.feed, Stage(), lasting)
        receiver = self._receiver(prepared.repository, request.repo)
        stage = Stage()
        incoming = Incoming(partial(self._bounds, request.repo))
        self._refs = incoming.refs
        with self._service.children.started(prepared, relay=True) as (child, ends):
            log.info("%s by %s (pid %d)", request, self._client.principal, child.pid)
            if ends is None:
                raise SharddError("the pipes of the hooks are missing")
            served = self._loop.run_in_executor(None, relay.serve, receiver, ends.asks, ends.answers, stage)
            try:
                return await join(self._service.children, self._process, child, incoming.feed, stage, lasting)
            except SharddError as error:
                self._work.failed(error)
                answer = incoming.answer(receiver.lines_for(error), receiver.one_line(error))
                if answer is None:
                    raise
                self._process.stdout.write(answer)
                return GIT_REFUSED
            finally:
                if (cut := await served) is not None:
                    self._work.failed(cut)

    def _bounds(self, repo: str, refs: Sequence[str]) -> PackBounds:
        rights, me = self._rights(), self._client.principal
        return pack_bounds(self._service.settings.limits, refs, lambda space: rights.role(me, repo, space))

    def _receiver(self, path: Path, repo: str) -> Receiver:
        def pusher() -> tuple[Pusher, Rights]:
            return Pusher(self._client.principal), self._rights()

        limits, moved = self._service.settings.limits, self._service.authorities.moved(repo)
        return Receiver(path, repo, pusher, self._client.reach, limits, work=self._work, moved=moved)

    def _rights(self) -> Access:
        """What is granted now, provided that what opened this connection would still open it."""
        snapshot = self._service.authorities.access.now()
        self._client.identity.still(snapshot)
        return snapshot.access
