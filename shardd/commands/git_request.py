"""What a remote caller asks for in one exec request, whoever carries it: a git service on a repo, or a command of ours.

Nothing else is offered: no shell, no forwarding, no SFTP. The built-in SSH server and the forced command of OpenSSH
both read requests here, and both start git as it is said here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shardd.authority.authorities import Authorities
from shardd.commands.grammar import asks_json
from shardd.core.names import check_repo, check_space, is_id
from shardd.core.outcome import DECLINED, FAILED, Kind, shortened
from shardd.core.roles import Access, Rights, Role, require
from shardd.errors import Misuse, Rejected
from shardd.files.work import Work
from shardd.git.program import environment, executable
from shardd.git.space_view import hidden, view
from shardd.version import VERSION

_SERVICES = ("git-upload-pack", "git-receive-pack", "git-upload-archive")
_PROTOCOL = re.compile(r"version=[0-9](?::[a-z0-9=-]{1,32})*\Z")
_LONGEST = 8 * 1024
_MOST_WORDS = 100
"""Characters and words of a request: what is longer has its place on standard input. Splitting and parsing cannot be
cut short, so what they are given is bounded."""

SUBSYSTEM = "subsystem"
"""Begins what is asked for by who asks for no command, but for a subsystem such as `sftp`."""

_FILE_TRANSFER = ("scp", "sftp-server", "internal-sftp", "rsync")
"""What clients of these run: scp, rsync, and sftp against an OpenSSH that has our forced command."""

_FOR_EVERYBODY = ("whoami", "help")

GIT_REFUSED = 128
"""The exit status of git when it gives up."""


@dataclass(frozen=True, slots=True)
class GitService:
    """service: `upload-pack`, `receive-pack` or `upload-archive`; space: the one whose refs alone are to be seen"""

    service: str
    repo: str
    space: str | None = None

    @property
    def pushing(self) -> bool:
        return self.service == "receive-pack"

    @property
    def kind(self) -> Kind:
        return Kind.PUSH if self.pushing else Kind.FETCH

    def __str__(self) -> str:
        return f"{self.service} {self.repo}" + (f"/{self.space}" if self.space else "")


@dataclass(frozen=True, slots=True)
class GitRun:
    """How to start git for a request. repository: the repo it is about, whatever directory git is given"""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    repository: Path


def parse_request(asked: str | None, principal: str) -> GitService | Sequence[str]:
    """The git service, or the words of a command; Misuse or Rejected if it is neither. asked: None for a shell."""
    if asked is None:
        raise Misuse(f"hello {principal}; this is shardd {VERSION}, and there is no shell", "see `shardd help`")
    if len(asked) > _LONGEST:
        raise Misuse(
            f"a command has at most {_LONGEST} characters",
            "give what is longer on standard input, as `append --lines` has",
        )
    try:
        words = shlex.split(asked)
    except ValueError as error:
        raise Misuse(f"the command does not parse: {error}") from None
    if len(words) > _MOST_WORDS:
        raise Misuse(f"a command has at most {_MOST_WORDS} words", "quote a text that is meant as one")
    if len(words) >= 2 and words[0] == "git":
        words = [f"git-{words[1]}", *words[2:]]
    if not words:
        raise Misuse("an empty command", "see `shardd help`")
    if words[0] == SUBSYSTEM or words[0].rpartition("/")[2] in _FILE_TRANSFER:
        raise Misuse("no file transfer here: this server speaks git", "use `git clone ssh://HOST/REPO.git`")
    if words[0] not in _SERVICES:
        return words
    if len(words) != 2:
        raise Misuse(f"{words[0]} takes one repo")
    return GitService(words[0].removeprefix("git-"), *_place(words[1]))


def check_caller(words: Sequence[str], access: Access, principal: str) -> None:
    """Rejected for who has no role at all, unless only who that is is asked. Comes before any grammar."""
    if words[0] not in _FOR_EVERYBODY and not access.has_role(principal):
        raise Rejected(
            "not-permitted",
            f"{principal} has no role here",
            f"ask an admin for `shardd role grant {principal} read REPO`",
        )


def wants_json(asked: str | None) -> bool:
    """Whether a program listens, in a request that may be none."""
    return asked is not None and len(asked) <= _LONGEST and not is_git(asked) and asks_json(asked.split())


def is_git(asked: str | None) -> bool:
    """Whether a git client listens, which takes 128 for a refusal."""
    return re.match(r"\s*git[ -](?:upload-pack|receive-pack|upload-archive)\b", asked or "") is not None


def kind_of(asked: str | None) -> Kind:
    """What is asked for, in a request that may be none of ours."""
    if not is_git(asked):
        return Kind.COMMAND
    return Kind.PUSH if re.match(r"\s*git[ -]receive-pack\b", asked or "") else Kind.FETCH


def git_ended(work: Work, status: int, refs: Sequence[str] = ()) -> None:
    """Note what became of a push or fetch that git has served, as far as nobody knows better.

    status: that of git; refs: those that the client wants to move
    """
    if not work.what:
        work.what = shortened(", ".join(ref.removeprefix("refs/heads/") for ref in refs[:10]))
    if status != 0:
        work.ended_as(FAILED, f"git ended with status {status}")
    elif work.kind is Kind.PUSH and work.what and not work.settled:
        work.ended_as(DECLINED, "git, or a hook of the site, refused what the rules let through")


def git_run(
    authorities: Authorities,
    rights: Rights,
    request: GitService,
    principal: str,
    *,
    hooks: Path,
    protocol: str,
    extra: Mapping[str, str],
) -> GitRun:
    """How to serve the request, if the principal may read the repo; whether a push goes through is the hooks' affair.

    protocol: what the client sent as GIT_PROTOCOL; extra: further variables, for the hooks
    """
    require(rights, principal, Role.READ, request.repo, request.space)
    repository = path = authorities.server.repo_path(request.repo)
    limit = str(authorities.settings.now().max_pack_bytes)
    configuration = [("core.hooksPath", str(hooks)), ("receive.maxInputSize", limit)]
    if request.space is not None:
        with authorities.repo(request.repo, lambda: rights) as authority:
            authority.existing(request.space)
        path = view(repository, request.space, authorities.server.cache(request.repo) / "views")
        configuration += [("transfer.hideRefs", pattern) for pattern in hidden(request.space, principal)]
    variables = {"GIT_CONFIG_COUNT": str(len(configuration)), "SHARDD_PRINCIPAL": principal, **extra}
    for i, (name, value) in enumerate(configuration):
        variables |= {f"GIT_CONFIG_KEY_{i}": name, f"GIT_CONFIG_VALUE_{i}": value}
    # The one variable that protocol v2 needs; nothing else of what a client sends gets anywhere.
    if _PROTOCOL.match(protocol):
        variables["GIT_PROTOCOL"] = protocol
    return GitRun([executable(), request.service, str(path)], environment(variables), repository)


def _place(path: str) -> tuple[str, str | None]:
    """Repo and space of a git URL's path: `/garden.git`, `garden.git`, `garden`; `garden/whynot.git`."""
    name = path.removeprefix("/").removesuffix("/").removesuffix(".git")
    repo, slash, space = name.partition("/")
    repo = repo.removesuffix(".git") if slash else repo
    try:
        return check_repo(repo), check_space(space) if slash else None
    except Misuse:
        pass
    what = f"{path!r} names no {'space' if slash and is_id(repo) else 'repo'} of this server"
    raise Rejected("no-such-repo", what, "the address is ssh://HOST:PORT/REPO.git, or …/REPO/SPACE.git for one space")
