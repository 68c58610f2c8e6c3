"""A real sshd(8) over a server's directory: the shipped configuration, with this machine's paths in it."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tests.e2e.harness import Server, make_key, surroundings, wait_until

SNIPPET = Path(__file__).parents[2] / "ops" / "sshd_config.snippet"
PRIVILEGE_SEPARATION = Path("/run/sshd")


def find_sshd() -> str | None:
    return shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def me() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


class OpenSsh(Server):
    """Stands where the built-in server does elsewhere; the directory is its own."""

    _sessions: Mapping[str, str] = {}

    @classmethod
    def beside(cls, server: Server) -> OpenSsh:
        """Another way into the directory of a server that exists; not started yet."""
        other = cls.__new__(cls)
        other.root, other.home, other.port = server.root, server.home, 0
        other.log = server.home / "sshd.log"
        other._process = None
        return other

    def start(self, env: Mapping[str, str] | None = None) -> OpenSsh:
        """env: more of an environment for the sessions"""
        if self._process is not None:
            self.kill()
        self._sessions = env or {}
        program = find_sshd()
        assert program is not None
        folder = self.home / "sshd"
        folder.mkdir(exist_ok=True)
        key = folder / "ssh_host_ed25519_key"
        if not key.exists():
            make_key(key)
        if os.getuid() == 0 and not PRIVILEGE_SEPARATION.exists():
            PRIVILEGE_SEPARATION.mkdir(mode=0o755)
        for _ in range(5):
            self.port = _free_port()
            configuration = folder / "sshd_config"
            configuration.write_text(self._configuration(key))
            with self.log.open("ab") as log:
                # sshd starts itself anew by its path, so it must be absolute.
                self._process = subprocess.Popen(
                    [program, "-D", "-e", "-f", str(configuration)],
                    env=surroundings(self.home),
                    stdin=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,
                )
            wait_until(partial(_settled, self._process, self.port), "sshd listens")
            if self._process.poll() is None:
                return self
        raise AssertionError(f"sshd does not start\n{self.log.read_text()}")

    def known_hosts(self) -> str:
        key = self.home / "sshd" / "ssh_host_ed25519_key.pub"
        return f"[127.0.0.1]:{self.port} {key.read_text()}"

    def _configuration(self, key: Path) -> str:
        shipped = SNIPPET.read_text()
        # The path of every command must be root's all the way, which that of a test's Python is not.
        ours = f"/usr/bin/env {sys.executable} -I -m shardd.cli.main --dir {self.root} "
        for shipped_words, here in (
            ("/opt/shardd/bin/shardd --dir /var/lib/shardd ", ours),
            ("AuthorizedKeysCommandUser shardd", f"AuthorizedKeysCommandUser {me()}"),
            ("Match User shardd", f"Match User {me()}"),
        ):
            assert shipped_words in shipped
            shipped = shipped.replace(shipped_words, here)
        return (
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {key}\nPidFile none\nUsePAM no\nLogLevel VERBOSE\n"
            f"{''.join(f'SetEnv {name}={value}' for name, value in self._sessions.items())}\n"
            f"PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n{shipped}"
        )


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _settled(process: subprocess.Popen[bytes], port: int) -> bool:
    return process.poll() is not None or _answers(port)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as one:
            return one.recv(4) == b"SSH-"
    except OSError:
        return False
