"""`authorized-keys`: hands sshd(8) the registered keys, each bound to `shell` (cli/openssh.py). Denies on any doubt.

Every login waits for it, twice: it imports little.
"""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shardd.commands.grammar import Grammar, Words
from shardd.errors import Misuse, Rejected
from shardd.files.access import PublicKey
from shardd.files.durable import check_owner
from shardd.files.server_dir import ServerDir


@dataclass(frozen=True, slots=True)
class AuthorizedKeys:
    """user: the OS user who logs in; key: a fingerprint or the base64 of a public key. Left out, any."""

    user: str | None
    key: str | None

    def lines(self, server: ServerDir) -> Sequence[str]:
        """Lines of authorized_keys(5). Rejected, with no line at all, for an OS user who does not own the directory."""
        check_owned(server)
        if self.user is not None:
            try:
                uid = pwd.getpwnam(self.user).pw_uid
            except KeyError:
                raise Rejected("no-principal", f"there is no OS user {self.user!r}") from None
            if uid != os.geteuid():
                raise Rejected("no-principal", f"{self.user} does not own {server.root}, and is let in elsewhere")
        registered = server.access.load().keys
        found = [
            (name, key)
            for name, keys in server.access.keys().items()
            for key in keys
            if registered.get(key.fingerprint) == name and self.key in (None, key.fingerprint, key.blob)
        ]
        return [f"{_options(server, name, key)} {key.algorithm} {key.blob}" for name, key in found]


def run(words: Sequence[str], directory: str | None) -> int:
    """Run it against the directory; the exit status."""
    grammar = Grammar("For OpenSSH's sshd.")
    add(grammar.words)
    command = grammar.parse(words).command
    if directory is None:
        raise Misuse("which server?", "name its directory with `--dir DIR`")
    assert isinstance(command, AuthorizedKeys)
    for line in command.lines(ServerDir(Path(directory))):
        print(line)
    return 0


def add(words: Words) -> None:
    listed = words.command("authorized-keys", AuthorizedKeys, "print the registered keys for OpenSSH's sshd")
    listed.add_argument("user", metavar="USER", nargs="?", help="who logs in: sshd's %%u")
    listed.add_argument("key", metavar="KEY", nargs="?", help="only this one: sshd's %%f or %%k")


def check_owned(server: ServerDir) -> None:
    """Nothing if we run as the directory's owner, else Unavailable."""
    check_owner(server.root)


def _options(server: ServerDir, name: str, key: PublicKey) -> str:
    # The interpreter that runs now, whatever PATH a login has; -I: no variable and no folder of the user's is read.
    words = [sys.executable, "-I", "-m", "shardd.cli.main", "--dir", str(server.root), "shell", name]
    command = shlex.join([*words, "--key", key.fingerprint])
    if not command.isprintable():
        raise Misuse(f"{server.root!r} cannot be written into a line of authorized_keys", "move the directory")
    escaped = command.replace('"', '\\"')
    return f'command="{escaped}",restrict'
