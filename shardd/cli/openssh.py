"""OpenSSH as the way in, instead of our own server: `shell`, the forced command of each registered key
(cli/authorized_keys.py). See ops/sshd_config.snippet.

A push is measured on its way to git, as our own server does; to fetch, git takes our place.

It denies on any doubt. The hooks then decide by themselves, and believe SHARDD_PRINCIPAL because they run as the owner
of the server's directory.
"""

from __future__ import annotations

import logging
import os
import pwd
import select
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from shardd.authority.authorities import Authorities
from shardd.cli.authorized_keys import check_owned
from shardd.commands.caller import Context
from shardd.commands.describe import attempted
from shardd.commands.git_request import (
    GIT_REFUSED,
    GitService,
    check_caller,
    git_ended,
    git_run,
    is_git,
    kind_of,
    parse_request,
    wants_json,
)
from shardd.commands.grammar import Grammar, Words
from shardd.commands.run_command import INTERNAL, Voice, complain, speak
from shardd.core.hook_protocol import printable
from shardd.core.limits import PackBounds, pack_bounds
from shardd.core.names import check_principal
from shardd.core.roles import Access
from shardd.errors import Misuse, Rejected, SharddError
from shardd.files.audit_log import Audit
from shardd.files.durable import keep_others_out
from shardd.files.server_dir import ServerDir
from shardd.files.work import Work


@dataclass(frozen=True, slots=True)
class Shell:
    """key: fingerprint of the key that opened the connection, which must still be registered"""

    name: str
    key: str | None

    def serve(self, server: ServerDir, voice: Voice) -> int:
        """Serve SSH_ORIGINAL_COMMAND for the principal; the exit status. To fetch, git takes over: no return."""
        asked = os.environ.get("SSH_ORIGINAL_COMMAND")
        authorities = Authorities.open(server)
        work = Work(kind_of(asked), who=self.name, origin=_origin(), key=self.key)
        told = _Told(server, work)
        try:
            return self._serve(authorities, asked, told, voice)
        finally:
            told.tell()

    def _serve(self, authorities: Authorities, asked: str | None, told: _Told, voice: Voice) -> int:
        reach, work = _reach(), told.work
        try:
            check_owned(authorities.server)
            access = self._access(authorities)
            request = parse_request(asked, self.name)
            if isinstance(request, GitService):
                work.about(request.repo, request.space, "")
                return _serve_git(authorities, access, request, told, reach, voice)
            attempted(work, request)
            check_caller(request, access, self.name)
        except SharddError as error:
            work.failed(error)
            complain(error, voice, reach, as_json=wants_json(asked))
            return GIT_REFUSED if is_git(asked) else error.exit_status
        except Exception as error:
            work.failed(error)
            voice.err(f"shardd: internal error: {type(error).__name__}: {printable(str(error))}")
            return INTERNAL
        from shardd.commands.all_commands import run_on, server_grammar  # not for git, which should start at once

        context = Context(
            authorities=authorities,
            principal=self.name,
            opened=_standard_input,
            gone=_hung_up,
            rights=partial(self._access, authorities),
            fingerprint=self.key,
            tell=voice.err,
            work=work,
            reach=reach,
        )
        return speak(server_grammar(), request, partial(run_on, context), voice, reach=reach, work=work)

    def _access(self, authorities: Authorities) -> Access:
        """What is granted now, provided that the principal, and the key, would be let in now."""
        snapshot = authorities.access.now()
        if self.name in snapshot.access.retired:
            raise Rejected("no-principal", f"{self.name} was retired")
        if self.key is not None and snapshot.keys.get(self.key) != self.name:
            raise Rejected("no-principal", f"the key {self.key} is no longer registered")
        return snapshot.access


def run(words: Sequence[str], directory: str | None, voice: Voice) -> int:
    """Run it against the directory; the exit status."""
    keep_others_out()
    grammar = Grammar("For OpenSSH's sshd.")
    add(grammar.words)
    command = grammar.parse(words).command
    if directory is None:
        raise Misuse("which server?", "name its directory with `--dir DIR`")
    server = ServerDir(Path(directory))
    logging.getLogger("shardd.files").disabled = True  # what does not read on the server is no news to who logs in
    assert isinstance(command, Shell)
    return command.serve(server, voice)


def add(words: Words) -> None:
    shell = words.command("shell", Shell, "serve one request of a principal: a forced command for OpenSSH")
    shell.add_argument("name", metavar="NAME", type=check_principal)
    shell.add_argument("--key", metavar="FINGERPRINT", help="serve only while this key is registered")


class _Told:
    """Tells the audit of the work, once: here, or where a hook has done so."""

    def __init__(self, server: ServerDir, work: Work) -> None:
        self.work = work
        self.elsewhere = not server.is_ours()
        self._audit = Audit(server.root)

    def tell(self) -> None:
        if not self.elsewhere:
            self.elsewhere = True
            self._audit.tell(self.work.outcome())


def _serve_git(
    authorities: Authorities, access: Access, request: GitService, told: _Told, reach: str, voice: Voice
) -> int:
    work, name = told.work, told.work.who or ""
    hooks = authorities.server.ensure_hooks()
    protocol = os.environ.get("GIT_PROTOCOL", "")
    extra = {"SHARDD_REACH": reach, "SHARDD_ORIGIN": work.origin, "SHARDD_KEY": work.key or ""}
    prepared = git_run(authorities, access, request, name, hooks=hooks, protocol=protocol, extra=extra)
    settings = authorities.settings.now()
    settings.git_bounds.apply()
    if not request.pushing:
        told.tell()  # as it is handed over: how it ends, git alone will know
        os.execve(prepared.arguments[0], list(prepared.arguments), prepared.environment)  # noqa: S606  (no shell is wanted)
    from shardd.cli import pushing

    def bounds(refs: Sequence[str]) -> PackBounds:
        return pack_bounds(settings.limits, refs, lambda space: access.role(name, request.repo, space))

    done = pushing.serve(prepared, bounds, voice, reach)
    told.elsewhere = done.told
    if done.refused is not None:
        work.failed(done.refused)
    git_ended(work, done.status, done.refs)
    return done.status


def _origin() -> str:
    return f"openssh {os.environ.get('SSH_CONNECTION', '').partition(' ')[0]}".strip()


def _reach() -> str:
    """How the client calls us: the address it reached sshd by."""
    parts = os.environ.get("SSH_CONNECTION", "").split()
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = ""
    if len(parts) != 4 or not user or not parts[3].isdigit():
        return "ssh HOST"
    port = [] if parts[3] == "22" else ["-p", parts[3]]
    return shlex.join(["ssh", *port, f"{user}@{parts[2]}"])


def _standard_input(file: str) -> IO[bytes]:
    # Whatever name a remote caller gives, it is standard input: no path of this machine is ever opened for it.
    return sys.stdin.buffer


def _hung_up() -> bool:
    """Whether nobody is left to read what we say."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
