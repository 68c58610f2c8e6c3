"""Commands of a server, asked in this process: what a caller over ssh is told, without the ssh."""

from __future__ import annotations

import io
import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from shardd.authority.authorities import Authorities
from shardd.commands.all_commands import run_on, server_grammar
from shardd.commands.caller import Context
from shardd.commands.run_command import speak
from shardd.core.roles import ALL, Grant
from shardd.files.server_dir import ServerDir
from shardd.files.work import Work


@dataclass
class Told:
    """A Voice that remembers, and the exit status."""

    status: int = -1
    said: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def out(self, line: str) -> None:
        self.said.append(line)

    def err(self, line: str) -> None:
        self.complaints.append(line)

    def flush(self) -> None:
        pass

    def paged(self, *, long: bool) -> AbstractContextManager[bool]:
        return nullcontext(False)

    @property
    def values(self) -> list[Any]:
        return [json.loads(line) for line in self.said]

    @property
    def text(self) -> str:
        return "\n".join([*self.said, *self.complaints])


@dataclass(frozen=True)
class Asked:
    """Of whom: a server's directory with the repo garden, its space whynot, and alice, who is an admin."""

    context: Context

    def __call__(self, *words: str, lines: bytes = b"") -> Told:
        told, work = Told(), Work(who=self.context.principal)
        context = replace(self.context, opened=lambda file: io.BytesIO(lines), work=work)
        told.status = speak(server_grammar(), words, lambda command: run_on(context, command), told, work=work)
        return told


def server_of(folder: Path, who: str = "alice") -> Asked:
    server = ServerDir.create(folder / "server")
    server.access.grant(Grant("alice", "admin", ALL))
    authorities = Authorities.open(server)
    authorities.create("garden")
    with authorities.repo("garden", authorities.operator) as authority:
        authority.create("whynot")
    return Asked(Context(authorities, who, authorities.granted, opened=lambda file: io.BytesIO()))
