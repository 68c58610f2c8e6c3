"""Commands on the server's host: `init`, `serve`, and every command of the server on its files."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from shardd.authority.authorities import Authorities
from shardd.cli import authorized_keys, completion, migrate, openssh
from shardd.cli.progress import open_input
from shardd.cli.terminal import confirmed
from shardd.commands import maintenance
from shardd.commands.all_commands import add_all, run_on
from shardd.commands.caller import Context
from shardd.commands.describe import attempted
from shardd.commands.grammar import Grammar
from shardd.commands.result import NOTHING, Answer, Done, Steps, say
from shardd.commands.run_command import Voice, speak
from shardd.core.names import check_principal
from shardd.core.roles import ALL, Grant
from shardd.errors import Misuse, SharddError, Unavailable
from shardd.files.access import PublicKey
from shardd.files.audit_log import Audit
from shardd.files.durable import keep_others_out, user_name
from shardd.files.server_dir import ServerDir
from shardd.files.work import Work
from shardd.git.program import require_version

_ABOUT = """An append-only, totally ordered event log per space, kept in git.

Outside a clone name the server: --dir DIR (or SHARDD_DIR) on its host, --server URL from elsewhere. On the host
--as NAME acts on behalf of a principal. A clone also has `setup`, and answers `log`, `show`, `explain`, `fold`,
`diff`, `status`, `export` and `verify` by itself, from what was fetched; there REPO/SPACE may be left out."""


@dataclass(frozen=True, slots=True)
class Init:
    """admin: NAME and FILE.pub of the first admin"""

    root: str
    admin: list[str] | None


@dataclass(frozen=True, slots=True)
class Serve:
    listen: str | None


def _grammar() -> Grammar:
    grammar = Grammar(_ABOUT)
    choices = grammar.words
    init = choices.command("init", Init, "make a server's directory")
    init.add_argument("root", metavar="DIR")
    init.add_argument("--admin", nargs=2, metavar=("NAME", "FILE.pub"), help="the first admin, and a public key")
    choices.command("serve", Serve, "serve over ssh").add_argument("--listen", metavar="HOST:PORT")
    openssh.add(choices)  # for the help: main.py has these two served elsewhere
    authorized_keys.add(choices)
    add_all(choices)
    migrate.add(choices)
    maintenance.add(choices)
    completion.add(choices)
    return grammar


def run(words: Sequence[str], directory: str | None, acting_as: str | None, voice: Voice) -> int:
    """Run one command against the directory; the exit status."""
    keep_others_out()
    grammar = _grammar()

    reach = f"shardd --dir {directory}" if directory else "shardd"
    work, serving = Work(who=acting_as, origin=f"host {_user()}".strip()), False
    attempted(work, words)

    def run_one(command: object) -> Steps:
        nonlocal serving
        if isinstance(command, completion.Completion):
            return command.of(_grammar())
        if isinstance(command, Init):
            return _init(command)
        if isinstance(command, maintenance.Restore):
            return command.bring()
        if isinstance(command, migrate.Migrate):
            return migrate.run(command, _context(_opened(directory), acting_as) if directory else None)
        authorities = _opened(directory)
        _as_owner(authorities.server, [*(["--as", acting_as] if acting_as else []), *words])
        if isinstance(command, maintenance.Doctor):
            return command.examine(authorities)  # even where a context could not be made
        context = replace(
            _context(authorities, acting_as),
            work=work,
            reach=reach,
            terminal=sys.stdout.isatty(),
            confirmed=confirmed,
            tell=voice.err,
        )
        work.who = context.principal
        if isinstance(command, Serve):
            serving = True
            return _serve(command, context)
        return (yield from run_on(context, command))

    try:
        return speak(grammar, words, run_one, voice, reach=reach, work=work)
    finally:
        if directory is not None and not serving:
            _tell(Path(directory), work)


def _tell(directory: Path, work: Work) -> None:
    """Into the audit, where there is one; as its owner alone, whose files the server must be able to write."""
    with suppress(SharddError, OSError):  # such as a directory that one may not look into
        server = ServerDir(directory)
        if server.is_ours():
            Audit(server.root, aloud=True).tell(work.outcome())


def _opened(directory: str | None) -> Authorities:
    if directory is None:
        raise Misuse("which server?", "name its directory with `--dir DIR`, or its address with `--server URL`")
    return Authorities.open(ServerDir(Path(directory)))


def _as_owner(server: ServerDir, words: Sequence[str]) -> None:
    """Nothing if we run as the owner of the files: whatever else we made there, the server could not use, and it would
    not start again.
    """
    if not server.is_ours():
        owner, me = user_name(server.root.stat().st_uid), user_name(os.geteuid())
        how = shlex.join(["sudo", "-u", owner, "shardd", "--dir", str(server.root), *words])
        raise Unavailable(f"{server.root} belongs to {owner}, and you are {me}", f"run it as {owner}: `{how}`")


def _context(authorities: Authorities, acting_as: str | None) -> Context:
    who = authorities.granted().local.get(_user()) if acting_as is None else check_principal(acting_as)
    rights = authorities.operator if acting_as is None else authorities.granted
    return Context(authorities, who, rights, opened=open_input, target=_target)


def _target(file: str) -> Path | None:
    return None if file == "-" else Path(file)


def _serve(asked: Serve, context: Context) -> Answer[Done]:
    from shardd.service import daemon, log_output

    log_output.configure(context.authorities.settings.now().log)
    daemon.run(context.authorities, address=asked.listen, ready=lambda reach: print(f"serving: {reach}", flush=True))
    return NOTHING


def _init(asked: Init) -> Answer[Done]:
    from shardd.service.listener import host_keys, parse_address

    require_version()
    admin = None
    if asked.admin is not None:
        # Read before anything is made: a wrong file leaves nothing behind.
        name = check_principal(asked.admin[0])
        with open_input(asked.admin[1]) as file:
            admin = name, PublicKey.given(file.read(65_536).decode("utf-8", "replace"))
    with ServerDir.begun(Path(asked.root)) as server:
        keys = host_keys(server.host_keys)
        if admin is not None:
            server.access.add_key(*admin)
            server.access.grant(Grant(admin[0], "admin", ALL))
        host, port = parse_address(server.settings().listen)
    public = (key.export_public_key().decode().split() for key in keys)
    known = [f"[{host}]:{port} {kind} {blob}" for kind, blob, *_ in public]
    lines = [
        f"made a server's directory in {server.root}",
        f"host key      {keys[0].get_fingerprint()}",
        *(f"known_hosts   {line}" for line in known),
        f"start         shardd serve --dir {server.root}",
        f"clone         git clone ssh://{host}:{port}/REPO.git",
    ]
    return say(
        lines,
        {
            "dir": str(server.root),
            "fingerprint": keys[0].get_fingerprint(),
            "known_hosts": "\n".join(known),
            "listen": f"{host}:{port}",
        },
    )


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""
