"""The user's own ssh, called as git would call it here: git(1), GIT_SSH_COMMAND; git-config(1), core.sshCommand.

What a command line says (GIT_SSH_COMMAND, core.sshCommand) is the shell's to read; GIT_SSH names a program. Which
options it takes, its name says, or GIT_SSH_VARIANT or ssh.variant; else it is asked, as git asks it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from shardd.errors import Misuse, Unavailable

Variant: TypeAlias = Literal["auto", "ssh", "plink", "putty", "tortoiseplink", "simple"]
_NAMES: dict[str, Variant] = {"ssh": "ssh", "plink": "plink", "tortoiseplink": "tortoiseplink"}
_CHOICES: dict[str, Variant] = {
    "plink": "plink",
    "putty": "putty",
    "tortoiseplink": "tortoiseplink",
    "simple": "simple",
}


@dataclass(frozen=True, slots=True)
class _Ssh:
    words: list[str]
    variant: Variant


def arguments(destination: str, port: str | None, words: Sequence[str], *, identity: str | None = None) -> list[str]:
    """What to run, so that the words are run at the destination. identity: the file of the only key to use"""
    ssh = _chosen()
    variant = ssh.variant
    if variant == "auto":
        options = [*(["-p", port] if port else []), destination]
        variant = "ssh" if _takes([*ssh.words, "-G", *options]) else "simple"
    options = ["-batch"] if variant == "tortoiseplink" else []
    if port:
        if variant == "simple":
            raise Misuse(
                "this ssh takes no port (its variant is `simple`)",
                "name the port in ~/.ssh/config, or set `git config ssh.variant ssh` if it does take -p",
            )
        options += ["-p" if variant == "ssh" else "-P", port]
    if identity and variant != "simple":
        options += ["-i", identity, *(["-o", "IdentitiesOnly=yes"] if variant == "ssh" else [])]
    return [*ssh.words, *options, destination, shlex.join(words)]


def _chosen() -> _Ssh:
    line = os.environ.get("GIT_SSH_COMMAND")
    if line is None:
        line = _configured("core.sshCommand")
    if line is None:
        program = os.environ.get("GIT_SSH") or "ssh"
        return _Ssh([program], _variant(program))
    try:
        first = next(iter(shlex.split(line)), "")
    except ValueError:
        first = ""
    # As git has it: the shell reads the line, and takes what follows as it is.
    return _Ssh(["sh", "-c", f'{line} "$@"', line], _variant(first))


def _variant(program: str) -> Variant:
    said = os.environ.get("GIT_SSH_VARIANT")
    if said is None:
        said = _configured("ssh.variant")
    if said is not None and said != "auto":
        return _CHOICES.get(said, "ssh")
    name = program.replace("\\", "/").rpartition("/")[2].lower().removesuffix(".exe")
    return _NAMES.get(name, "auto")


def _configured(name: str) -> str | None:
    """What git is told, here: for this clone, this user and this machine. None without a git."""
    try:
        done = subprocess.run(["git", "config", "--get", name], capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout.decode("utf-8", "surrogateescape").removesuffix("\n") if done.returncode == 0 else None


def _takes(command: Sequence[str]) -> bool:
    try:
        null = subprocess.DEVNULL
        return subprocess.run(command, stdin=null, stdout=null, stderr=null, check=False).returncode == 0
    except OSError:
        return False


def reached(destination: str, status: int) -> int:
    """ssh's exit status, if it is that of our command; Unavailable if ssh itself failed, or could not be run."""
    if status in (126, 127):
        raise no_ssh()
    if status == 255:
        raise Unavailable(f"{destination} could not be reached, or did not let you in", "see what ssh said above")
    return status


def answer(command: Sequence[str]) -> bytes:
    """What it says without any input, nothing if it fails; Unavailable if there is no ssh."""
    try:
        # What stands on our own standard input may be for who called us.
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    except FileNotFoundError:
        raise no_ssh() from None
    return done.stdout if done.returncode == 0 else b""


def no_ssh() -> Unavailable:
    return Unavailable(
        "there is no ssh to run", "install the OpenSSH client, or mend GIT_SSH_COMMAND, core.sshCommand or GIT_SSH"
    )


def says(destination: str, port: str | None) -> str | None:
    """What `ssh -G` says of a destination, None where there is no ssh; Unavailable if its configuration is wrong."""
    ssh = shutil.which("ssh")
    if ssh is None:
        return None
    words = [ssh, "-G", *(["-p", port] if port else []), destination]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError:
        return None
    if done.returncode != 0:
        why = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise Unavailable(f"ssh does not read its configuration: {why[0]}", "mend ~/.ssh/config")
    return done.stdout.decode("utf-8", "surrogateescape")


def through(command: str) -> tuple[socket.socket, Callable[[], object]]:
    """The way to a server that a ProxyCommand is, and what ends it."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            words = ["sh", "-c", f"exec {command}"]
            child = subprocess.Popen(words, stdin=theirs.fileno(), stdout=theirs.fileno())
        except BaseException:
            ours.close()
            raise

    def end() -> None:
        child.terminate()
        child.wait()

    return ours, end
