"""A hook without a server, run by git in the bare repo:
`python -I -m shardd.authority.hook_process pre-receive|proc-receive`

The principal is SHARDD_PRINCIPAL, believed only if this process runs as the owner of the directory (who could write the
files anyway), else the OS user as mapped under [local] in access.toml; SHARDD_REACH is how that principal calls us.
Without a readable access.toml nothing goes through. In a repo outside any server directory file access is the right,
and the OS user's name the principal.
"""

from __future__ import annotations

import logging
import os
import pwd
import sys
from contextlib import suppress
from pathlib import Path

from shardd.authority.authorities import Authorities
from shardd.authority.embedded_repo import is_embedded
from shardd.authority.facts import Pusher
from shardd.authority.receive import Receiver
from shardd.core.hook_protocol import MOST_OPTIONS, MOST_REFS, QUARANTINE, TELLING, parse_update, printable, too_many
from shardd.core.names import is_id
from shardd.core.outcome import DECLINED, Kind
from shardd.core.roles import FileAccess, Rights
from shardd.errors import SharddError, Unavailable
from shardd.files.audit_log import Audit
from shardd.files.durable import keep_others_out
from shardd.files.server_dir import ServerDir
from shardd.files.work import Work
from shardd.git.space_view import repository_of


class _NoTraceback(logging.Formatter):
    """Whoever pushes reads what is logged here: one line each, and no tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        why = "" if error is None else f": {type(error).__name__}: {error}"
        return printable(f"shardd: {record.getMessage()}{why}")


def main() -> int:
    keep_others_out()
    hook = sys.argv[1] if len(sys.argv) == 2 else ""
    handler = logging.StreamHandler()
    handler.setFormatter(_NoTraceback())
    logging.getLogger("shardd").addHandler(handler)
    logging.getLogger("shardd.files").disabled = True  # what does not read on the server is no news to who pushes
    work = Work(Kind.PUSH, origin=f"local {_user()}".strip())
    status = _run(hook, work)
    if work.settled:
        _tell(work)
    return status


def _run(hook: str, work: Work) -> int:
    """The exit status. What was decided, if it was, stands in the work then."""
    try:
        receiver = _receiver(_repository(), work)
    except SharddError as error:
        work.failed(error)
        print(f"shardd: {error.code}: {error}", file=sys.stderr)
        return 1
    try:
        if hook == "pre-receive":
            quarantine = {name: os.environ[name] for name in QUARANTINE if name in os.environ}
            reject = receiver.pre_receive(_updates(), _options(), quarantine)
            if reject is None:
                return 0
            print(*receiver.lines_for(reject), sep="\n", file=sys.stderr)
            return 1
        if hook == "proc-receive":
            receiver.proc_receive(sys.stdin.buffer, sys.stdout.buffer)
            return 0
        if hook == "declined":
            work.who = receiver.pusher()[0].principal
            receiver.note([parse_update(line) for line in _updates()], _options())
            work.ended_as(DECLINED, "the site's own pre-receive refused it")
            return 0
        raise Unavailable(f"there is no hook {hook!r}")
    except SharddError as error:
        work.failed(error)
        print(*receiver.lines_for(error), sep="\n", file=sys.stderr)
        return 1
    except Exception as error:
        work.failed(error)
        print(f"shardd: refused: internal error: {type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _tell(work: Work) -> None:
    """Into the audit of the server, if it is one's; and whoever runs this push hears that it is told."""
    with suppress(SharddError):
        server = ServerDir.around(_repository())
        if server is None or not server.is_ours():
            return
        Audit(server.root).tell(work.outcome())
        descriptor = os.environ.get(TELLING, "")
        if descriptor.isdigit():
            with suppress(OSError):  # it has gone
                os.write(int(descriptor), b"1")


def _repository() -> Path:
    return repository_of(Path.cwd() / os.environ.get("GIT_DIR", "."))


def _options() -> list[str]:
    count = int(os.environ.get("GIT_PUSH_OPTION_COUNT", "0"))
    if count > MOST_OPTIONS:
        raise too_many("options", MOST_OPTIONS)
    return [os.environ.get(f"GIT_PUSH_OPTION_{i}", "") for i in range(count)]


def _updates() -> list[str]:
    updates = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").removesuffix("\n").split("\n")
    if len(updates) > MOST_REFS:
        raise too_many("refs", MOST_REFS)
    return updates


def _receiver(repo: Path, work: Work) -> Receiver:
    label = repo.name.removesuffix(".git")
    server = ServerDir.around(repo)
    if server is None:
        if not is_embedded(repo):
            # A repo that lost its server's directory is not everybody's: only one that was made embedded is.
            raise Unavailable(f"{repo} belongs to no server's directory", "put it back below `repos/`")
        user = _user()
        named = os.environ.get("SHARDD_PRINCIPAL")
        who = named or (user if is_id(user) else "local")
        return Receiver(repo, label, lambda: (Pusher(who, unleased=not named), FileAccess()), work=work)

    authorities = Authorities.open(server)
    named = os.environ.get("SHARDD_PRINCIPAL") if server.is_ours() else None
    if named and (origin := os.environ.get("SHARDD_ORIGIN")):
        work.origin, work.key = origin, os.environ.get("SHARDD_KEY") or None
    work.repo = label

    def look_up() -> tuple[Pusher, Rights]:
        access = authorities.granted()
        return Pusher(named or access.local.get(_user())), access

    reach = (os.environ.get("SHARDD_REACH") if named else None) or f"shardd --dir {server.root}"
    return Receiver(repo, label, look_up, reach, authorities.settings.now().limits, work=work)


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
