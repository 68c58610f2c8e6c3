"""`shardd`: where a command goes, from where it is called.

    init, serve, migrate    here, and demo
    shell, authorized-keys  here, for sshd
    --dir DIR, SHARDD_DIR   to the server's files on this host; needs no running server
    --server URL            to that server, over ssh
    in a clone              from what was fetched, or to the server of its remote, over ssh
    elsewhere               to the default server of ~/.config/shardd/config.toml, over ssh

What each mode needs is imported when it is chosen: the command line starts fast.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from shardd.cli.terminal import Terminal, spelled
from shardd.commands.grammar import PROGRAM, HelpAsked, Parser
from shardd.errors import Misuse, SharddError

_HERE = frozenset({"completion", "init", "serve", "migrate", "restore", "-h", "--help", "help"})
"""What needs no server to be named."""

_LOCAL = frozenset({"diff", "explain", "export", "fold", "log", "setup", "show", "status", "verify"})
"""What a clone answers by itself (cli/local.py)."""


@dataclass(slots=True)
class Where:
    """What the global options say. acting_as: the principal on whose behalf a host command runs; json: see Parsed"""

    dir: str | None = None
    server: str | None = None
    acting_as: str | None = None
    json: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is that of commands/run_command.py."""
    spelled(sys.stdout)
    try:
        return _said(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has left. Nothing more may be written to it, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except SharddError as error:
        print(f"shardd: {error.code}: {error.message}", file=sys.stderr)
        if error.remedy:
            print(f"shardd: to mend it: {error.remedy}", file=sys.stderr)
        return error.exit_status


def _said(argv: list[str]) -> int:
    """The exit status, once all that there was to say is out."""
    voice = Terminal()
    try:
        status = _main(argv)
    except HelpAsked as asked:
        voice.out(asked.seen_from(PROGRAM).removesuffix("\n"))
        status = 0
    voice.flush()
    return status


def _main(argv: list[str]) -> int:
    where, words = _where(argv)
    words = words or ["help"]
    if words == ["--version"]:
        from shardd.version import VERSION

        Terminal().out(f"shardd {VERSION}")
        return 0
    if words == ["demo"]:
        from shardd.cli.demo import demo

        demo()
        return 0
    if words[:1] == ["shell"]:
        from shardd.cli import openssh

        return openssh.run(words, where.dir, Terminal())
    if words[:1] == ["authorized-keys"]:
        from shardd.cli import authorized_keys

        return authorized_keys.run(words, where.dir)
    if words[:1] == ["help"] and words[1:2] == ["setup"]:
        words = ["setup", "--help"]
    here = where.server is None and where.dir is None
    if here and words and words[0] in _LOCAL and not _only_far(words[0]):
        from shardd.cli import local

        return local.run(words, Terminal())
    if where.dir is not None or not words or (here and words[0] in _HERE) or _asks_help(words):
        from shardd.cli import host

        return host.run(words, where.dir, where.acting_as, Terminal())
    from shardd.cli import over_ssh

    return over_ssh.run(words, where.server)


def _only_far(command: str) -> bool:
    """Whether there is no clone around that could answer, and a server that can."""
    from shardd.cli.clone import folder_of
    from shardd.cli.user_config import UserConfig

    return command != "setup" and bool(UserConfig.load().server) and folder_of(".") is None


def _asks_help(words: Sequence[str]) -> bool:
    """Whether all that is wanted is help, for which no server is asked."""
    before = words[: words.index("--")] if "--" in words else words
    return words[:1] == ["help"] or any(word in ("-h", "--help") for word in before)


def _where(argv: list[str]) -> tuple[Where, list[str]]:
    """The global options, wherever they stand before a `--`, and the other words."""
    parser = Parser(prog=PROGRAM, add_help=False)
    for name, to in (("--dir", "dir"), ("--server", "server"), ("--as", "acting_as")):
        parser.add_argument(name, dest=to)
    parser.add_argument("--json", action="store_true")
    found, words = parser.parse_known_args(argv, Where())
    if found.json:
        # The commands take it too, but only after their names.
        end = words.index("--") if "--" in words else len(words)
        words.insert(end, "--json")
    if found.dir is not None and found.server is not None:
        raise Misuse("--dir and --server exclude each other")
    if found.server is None:
        found.dir = found.dir or os.environ.get("SHARDD_DIR")
    return found, words


if __name__ == "__main__":
    sys.exit(main())
