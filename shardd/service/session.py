"""One SSH session: a git service, or a command of ours. Nothing else is offered: no shell, no forwarding, no SFTP."""

from __future__ import annotations

import asyncio
import io
import logging
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from shardd.commands.catalogue import run_on, server_grammar
from shardd.commands.context import Context
from shardd.commands.speak import complain, speak
from shardd.core.names import check_repo
from shardd.core.roles import Access, Rights, Role
from shardd.errors import Misuse, Rejected, SharddError
from shardd.service import relay
from shardd.service.child import spawn
from shardd.service.live import LiveAccess
from shardd.service.streams import ClientInput, ClientVoice, Process, from_child, to_child
from shardd.storage import hooks
from shardd.storage.facts import Pusher
from shardd.storage.git import environment, executable
from shardd.storage.receive import Receiver
from shardd.storage.serverdir import ServerDir, Settings
from shardd.version import VERSION

log = logging.getLogger("shardd.session")

_SERVICES = {"git-upload-pack": Role.READ, "git-receive-pack": Role.READ, "git-upload-archive": Role.READ}
_INPUT = 64 * 1024  # bytes read from a client at a time
_PROTOCOL = re.compile(r"version=[0-9](?::[a-z0-9=-]{1,32})*\Z")


@dataclass(frozen=True, slots=True)
class Service:
    """What every session shares."""

    server: ServerDir
    settings: Settings
    live: LiveAccess
    hooks: Path

    @classmethod
    def at(cls, server: ServerDir) -> Service:
        return cls(server, server.settings(), LiveAccess(server.root), hooks.install(server.root / "hooks"))


@dataclass(frozen=True, slots=True)
class Client:
    """Who a connection is. fingerprint: of the key that the completed authentication proved; reach: see Receiver."""

    principal: str
    fingerprint: str
    reach: str


class Session:
    """Serves one `exec` request."""

    def __init__(self, service: Service, client: Client, process: Process) -> None:
        self._service = service
        self._client = client
        self._process = process
        self._loop = asyncio.get_running_loop()

    async def run(self) -> int:
        """The exit status for the client."""
        voice = ClientVoice(self._process, self._loop, self._gone)
        asked = self._process.command
        words: list[str] = []
        try:
            if asked is None:
                raise Misuse(
                    f"hello {self._client.principal}; this is shardd {VERSION}, and there is no shell",
                    "see `shardd --help`",
                )
            words = _split(asked)
            if words[0] in _SERVICES:
                return await self._git(words)
        except SharddError as error:
            await asyncio.to_thread(complain, error, voice, self._client.reach, as_json=False)
            return 128 if words and words[0] in _SERVICES else error.exit_status
        return await asyncio.to_thread(self._command, words, voice)

    def _command(self, words: Sequence[str], voice: ClientVoice) -> int:
        try:
            parser = server_grammar(self._client.reach)
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
            gone=self._gone,
        )

    def _opened(self, file: str) -> IO[bytes]:
        # Whatever name a remote caller gives, it is standard input: no path of this machine is ever opened for it.
        return io.BufferedReader(ClientInput(self._process, self._loop), _INPUT)

    async def _git(self, words: Sequence[str]) -> int:
        service = words[0].removeprefix("git-")
        if len(words) != 2:
            raise Misuse(f"{words[0]} takes one repo")
        repo = _repo(words[1])
        self._rights().require(self._client.principal, _SERVICES[words[0]], repo)
        path = self._service.server.repo_path(repo)
        pushing = service == "receive-pack"
        child, ends = spawn([executable(), service, str(path)], self._environment(path, relay=pushing), relay=pushing)
        log.info("%s %s by %s (pid %d)", service, repo, self._client.principal, child.pid)
        served: asyncio.Future[None] | None = None
        if ends is not None:
            served = self._loop.run_in_executor(None, relay.serve, self._receiver(path, repo), ends.asks, ends.answers)
        incoming = asyncio.create_task(to_child(self._process, child.stdin))
        await asyncio.gather(
            from_child(child.stdout, self._process.stdout), from_child(child.stderr, self._process.stderr)
        )
        status = await child.wait()
        incoming.cancel()
        await asyncio.gather(incoming, return_exceptions=True)
        if served is not None:
            await served
        return status

    def _environment(self, path: Path, *, relay: bool) -> dict[str, str]:
        extra = {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "core.hooksPath",
            "GIT_CONFIG_VALUE_0": str(self._service.hooks),
        }
        if relay:
            extra["SHARDD_RELAY"] = "1"
        # The one variable that protocol v2 needs; nothing else of what a client sends gets anywhere.
        protocol = self._process.env.get("GIT_PROTOCOL", "")
        if _PROTOCOL.match(protocol):
            extra["GIT_PROTOCOL"] = protocol
        return environment(extra)

    def _receiver(self, path: Path, repo: str) -> Receiver:
        def pusher() -> tuple[Pusher, Rights]:
            return Pusher(self._client.principal), self._rights()

        return Receiver(path, repo, pusher, self._client.reach, self._service.settings.limits)

    def _rights(self) -> Access:
        """What is granted now, provided that the key which opened this connection is still its owner's."""
        snapshot = self._service.live.snapshot()
        if snapshot.keys.get(self._client.fingerprint) != self._client.principal:
            raise Rejected("no-principal", f"the key {self._client.fingerprint} is no longer registered")
        return snapshot.access

    def _gone(self) -> bool:
        return self._process.is_closing()


def _split(command: str) -> list[str]:
    """The words of an exec request. `git upload-pack` counts as `git-upload-pack`."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise Misuse(f"the command does not parse: {error}") from None
    if len(words) >= 2 and words[0] == "git":
        words = [f"git-{words[1]}", *words[2:]]
    if not words:
        raise Misuse("an empty command", "see `shardd --help`")
    return words


def _repo(path: str) -> str:
    """The repo that a git URL's path names: `/garden.git`, `garden.git`, `garden`."""
    name = path.removeprefix("/").removesuffix("/").removesuffix(".git")
    try:
        return check_repo(name)
    except Misuse:
        raise Rejected(
            "no-such-repo", f"{path!r} names no repo of this server", "the address is ssh://HOST:PORT/REPO.git"
        ) from None
