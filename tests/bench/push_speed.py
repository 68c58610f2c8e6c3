"""One event per `git push`: shardd against plain git over OpenSSH's own server, in the same run.

    .venv/bin/python -m tests.bench.push_speed [PUSHES]

Both take pushes of one empty commit over loopback with the same client, key and repo size; OpenSSH's side is a bare
repo with git's defaults: no hooks, no lease, no syncing. Prints medians and their ratio. Needs an sshd.
"""

from __future__ import annotations

import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.harness import Actor, Garden, Server, make_key, run, surroundings, wait_until


@contextmanager
def plain_ssh(folder: Path, key: Path) -> Iterator[int]:
    """OpenSSH's server on a free port, letting `key` in; its port."""
    host_key = make_key(folder / "sshd_host_key")
    (folder / "authorized_keys").write_bytes(key.with_suffix(".pub").read_bytes())

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = folder / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {host_key}\nAuthorizedKeysFile {folder}/authorized_keys\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    server = subprocess.Popen([sshd, "-D", "-e", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(port), "sshd listens")
        yield port
    finally:
        server.terminate()
        server.wait()


def _listens(port: int) -> bool:

    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


def timed(alice: Actor, url: str) -> float:
    start = time.perf_counter()
    alice.git("push", "--quiet", url, "HEAD:spaces/whynot")
    return time.perf_counter() - start


def main(pushes: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = Path(scratch)
        keys = {name: make_key(folder / name) for name in ("alice", "carol")}
        server = Server(folder / "srv", keys["carol"].with_suffix(".pub"))
        server.host("key", "add", "alice", str(keys["alice"].with_suffix(".pub"))).must()
        server.host("role", "grant", "alice", "append", "@all").must()
        server.host("repo", "create", "garden").must()
        server.host("space", "create", "garden/whynot").must()
        server.start()
        try:
            alice = Actor("alice", keys["alice"], folder / "home", server)
            garden = Garden(server, "garden")
            alice.clone(garden)
            alice.acquire(garden, "--ttl", "3600")
            with plain_ssh(folder, keys["alice"]) as port:
                with (alice.home / "known_hosts").open("a") as known:
                    known.write(f"[127.0.0.1]:{port} {(folder / 'sshd_host_key.pub').read_text()}")
                bare = folder / "plain.git"
                run(["git", "clone", "-q", "--bare", str(garden.path), str(bare)], cwd=folder, env=surroundings(folder))
                user = run(["id", "-un"], cwd=folder, env=surroundings(folder)).stdout.strip()
                ways = {"shardd": garden.url, "OpenSSH": f"ssh://{user}@127.0.0.1:{port}{bare}"}
                found: dict[str, list[float]] = {name: [] for name in ways}
                for turn in range(pushes + 1):
                    alice.event("note", {"n": turn})
                    for name, url in ways.items():
                        spent = timed(alice, url)
                        if turn:  # the first one warms caches
                            found[name].append(spent)
        finally:
            server.stop()
    medians = {name: statistics.median(spent) * 1000 for name, spent in found.items()}
    for name, median in medians.items():
        print(f"{name:<8} {median:6.1f} ms a push (median of {pushes})")
    print(f"shardd takes {medians['shardd'] / medians['OpenSSH']:.2f} of OpenSSH's time")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
