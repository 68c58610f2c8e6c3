"""The stage of the end-to-end tests: a real server, named actors with stock git and ssh, and a fresh repo per test.

    def test_a_tale(garden: Garden, alice: Actor) -> None:
        alice.clone(garden)
        alice.event("page.bound: Home", {"page": "Home"})
        garden.refuses("not-holder", alice, says=["nobody holds the lease"])
        alice.ssh(f"lease acquire {garden}")
        alice.push()

Nothing of the user's surroundings is seen: every process gets an environment that is built here. A verb that fails
where the test does not expect it raises, with all that was said.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO

DEADLINE = 30.0  # seconds after which anything that is waited for counts as lost
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
ZERO = "0" * 40


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a process."""

    status: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.status == 0

    def must(self) -> Result:
        """Itself if the process succeeded."""
        assert self.ok, f"exit status {self.status}\n{self.stdout}\n{self.stderr}"
        return self


def surroundings(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The whole environment of a process."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        **(more or {}),
    }


def run(
    words: Sequence[str], *, cwd: Path, env: Mapping[str, str], input: bytes = b"", patience: float = DEADLINE
) -> Result:
    """What became of a command. `shardd` is forked from a process that has imported it (tests/e2e/preloaded.py)."""
    if tuple(words[: len(SHARDD)]) == SHARDD and not any(name.startswith("PYTHON") for name in env):
        words = [*preloaded(), *words[len(SHARDD) :]]
    done = subprocess.run(words, cwd=cwd, env=env, input=input, capture_output=True, check=False, timeout=patience)
    return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return once the condition holds; fail after the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.01)


class Server:
    """A server's directory at `root`, and `shardd serve` over it on a free port that it keeps over restarts."""

    def __init__(self, root: Path, admin: Path | None) -> None:
        """A new directory with carol, whose key is `admin`, as its admin; None: one that is there."""
        self.root = root
        self.home = root.parent
        self.port = 0
        self.log = root.parent / f"{root.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._repos = 0
        # Outside the directory that the operator made, so that nothing of ours lies in it.
        if admin is not None:
            run_shardd(self.home, "init", str(root), "--admin", "carol", str(admin)).must()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        return f"ssh://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether it runs; it may have died by itself."""
        return self._process is not None and self._process.poll() is None

    def start(self, env: Mapping[str, str] | None = None) -> Server:
        """env: more of an environment for it"""
        if self._process is not None:
            self.kill()  # it has died by itself
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*SHARDD, "serve", "--dir", str(self.root), "--listen", f"127.0.0.1:{self.port}"],
                cwd=self.home,
                env=surroundings(self.home, env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        said = _first_line(self._process.stdout)
        match = re.fullmatch(r"serving: ssh -p (\d+) 127\.0\.0\.1\n", said)
        assert match, f"the server said {said!r}\n{self.log.read_text()}"
        self.port = int(match[1])
        return self

    def kill(self) -> None:
        """SIGKILL: nothing is put in order."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        if self._process is not None:
            self._end(signal.SIGTERM)

    def restart(self) -> None:
        self.kill()
        self.start()

    def host(self, *words: str, input: bytes = b"") -> Result:
        """One of our commands on the server's host."""
        return run_shardd(self.home, *words, "--dir", str(self.root), input=input)

    def settings(self, text: str) -> None:
        """Write config.toml."""
        (self.root / "config.toml").write_text(text)

    def repo(self, name: str) -> Path:
        return self.root / "repos" / f"{name}.git"

    def git(self, name: str, *words: str, input: bytes = b"") -> Result:
        """git on the server's own copy of a repo."""
        return run(["git", *words], cwd=self.repo(name), env=surroundings(self.home), input=input)

    def fsck(self) -> None:
        """Fail unless every repo is sound by git's strictest measure."""
        for path in sorted((self.root / "repos").glob("*.git")):
            words = ["git", "fsck", "--strict", "--full", "--no-dangling", "--no-progress"]
            done = run(words, cwd=path, env=surroundings(self.home))
            # Of a repo without a space it says so, and that is nothing wrong.
            said = [line for line in done.stderr.splitlines() if not line.startswith("notice: ")]
            assert done.ok and not done.stdout and not said, f"{path.name}: {done}"

    def next_name(self) -> str:
        self._repos += 1
        return f"garden-{self._repos}"

    def known_hosts(self) -> str:
        keys = sorted((self.root / "host_keys").glob("*.pub"))
        return "".join(f"[127.0.0.1]:{self.port} {key.read_text()}" for key in keys)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(DEADLINE)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None


SHARDD = (sys.executable, "-m", "shardd.cli.main")


@cache
def preloaded() -> tuple[str, ...]:
    """In place of SHARDD. What serves it ends with this process, however that ends: it reads the end of the pipe."""
    folder = Path(tempfile.mkdtemp(prefix="shardd-preloaded-"))
    path = str(folder / "socket")
    serving = subprocess.Popen(
        [sys.executable, "-c", f"from tests.e2e.preloaded import serve; serve({path!r})"],
        env=surroundings(folder),
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def end() -> None:
        serving.communicate()
        shutil.rmtree(folder)

    atexit.register(end)
    assert serving.stdout is not None
    assert _first_line(serving.stdout) == "listening\n"
    return (sys.executable, "-I", "-S", str(Path(__file__).with_name("preloaded.py")), path)


def run_shardd(home: Path, *words: str, input: bytes = b"", env: Mapping[str, str] | None = None) -> Result:
    """`shardd WORDS` as a process of its own."""
    return run([*SHARDD, *words], cwd=home, env=surroundings(home, env), input=input)


def _first_line(stream: IO[bytes]) -> str:
    deadline = time.monotonic() + DEADLINE
    found = b""
    while not found.endswith(b"\n"):
        ready, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
        byte = os.read(stream.fileno(), 1) if ready else b""
        if not byte:
            break
        found += byte
    return found.decode()


@dataclass(frozen=True, slots=True)
class Garden:
    """One repo with one space, made for one test. Reads as its address, `garden-7/whynot`."""

    server: Server
    repo: str
    space: str = "whynot"

    def __str__(self) -> str:
        return f"{self.repo}/{self.space}"

    @property
    def ref(self) -> str:
        return f"refs/heads/spaces/{self.space}"

    @property
    def url(self) -> str:
        return f"{self.server.url}/{self.repo}.git"

    @property
    def path(self) -> Path:
        return self.server.repo(self.repo)

    def git(self, *words: str, input: bytes = b"") -> str:
        """What git says on the server's own copy."""
        return self.server.git(self.repo, *words, input=input).must().stdout.strip()

    def head(self) -> str:
        return self.git("rev-parse", "--verify", self.ref)

    def refs(self) -> str:
        """Every ref and where it stands, symbolic ones by their target."""
        listed = self.git("for-each-ref", "--format=%(refname) %(objectname) %(symref)")
        return f"{(self.path / 'HEAD').read_text()}{listed}"

    def subjects(self) -> list[str]:
        """The subject lines of the log, oldest first, without the genesis."""
        return self.git("log", "--reverse", "--format=%s", self.ref).split("\n")[1:]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the space's lock, as any process of ours would: what wants to change the space waits meanwhile."""
        path = self.path / "shardd" / "locks" / self.space
        with path.open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def refuses(
        self, code: str, who: Actor, *push: str, says: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> Result:
        """Fail unless `git push PUSH` by `who` is refused with `code`, in these words, and no ref moves."""
        before = self.refs()
        result = who.tries_to_push(*push, env=env)
        assert not result.ok, f"the push went through: {result}"
        assert f"shardd: {code}: " in result.stderr or f"({code}: " in result.stderr, result.stderr
        for words in says:
            assert words in result.stderr, f"{words!r} is not in\n{result.stderr}"
        assert self.refs() == before
        return result


@dataclass(frozen=True, slots=True)
class Pushing:
    """A `git push` in progress."""

    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """SIGKILL to git and to its ssh."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.end()

    def end(self) -> Result:
        stdout, stderr = self.process.communicate(timeout=DEADLINE)
        return Result(self.process.returncode, stdout.decode(), stderr.decode(errors="replace"))


@dataclass(slots=True)
class Actor:
    """Somebody with a key, a scratch home and stock tools. cwd: the clone that the verbs work in."""

    name: str
    key: Path
    home: Path
    server: Server
    cwd: Path = field(init=False)
    _clones: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.cwd = self.home
        (self.home / "known_hosts").write_text(self.server.known_hosts())
        (self.home / ".gitconfig").write_text(
            f"[user]\n\tname = {self.name}\n\temail = {self.name}@example.org\n"
            "[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[advice]\n\tdetachedHead = false\n"
        )

    @property
    def ssh_words(self) -> list[str]:
        options = (
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            f"UserKnownHostsFile={self.home}/known_hosts",
            "GlobalKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        )
        return ["ssh", "-F", "/dev/null", "-i", str(self.key), *(word for o in options for word in ("-o", o))]

    def env(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return surroundings(self.home, {"GIT_SSH_COMMAND": " ".join(self.ssh_words), **(more or {})})

    def try_ssh(self, command: str, *options: str, input: bytes = b"", env: Mapping[str, str] | None = None) -> Result:
        """`ssh host COMMAND`, the command as one word."""
        words = [*self.ssh_words, *options, "-p", str(self.server.port), "127.0.0.1", command]
        return run(words, cwd=self.home, env=self.env(env), input=input)

    def ssh(self, command: str, *, input: bytes = b"") -> str:
        return self.try_ssh(command, input=input).must().stdout

    def ssh_json(self, command: str) -> dict[str, object]:
        found = json.loads(self.ssh(f"{command} --json"))
        assert isinstance(found, dict)
        return found

    def denied(self, code: str, command: str, *, says: Sequence[str] = ()) -> Result:
        """Fail unless the server refuses the command with `code`, in these words."""
        result = self.try_ssh(command)
        assert result.status in (1, 2), result
        for words in (f"shardd: {code}: ", *says):
            assert words in result.stderr, f"{words!r} is not in\n{result.stderr}"
        return result

    def acquire(self, garden: Garden, *options: str) -> int:
        """Take the lease; its epoch."""
        found = self.ssh_json(" ".join(["lease acquire", str(garden), *options]))["epoch"]
        assert isinstance(found, int)
        return found

    def clone(self, garden: Garden, *options: str) -> Path:
        """A new clone, in which the following verbs work."""
        self._clones += 1
        self.cwd = self.home / f"clone-{self._clones}"
        words = ["git", "clone", "--quiet", "--config", "shardd.type=note*", *options, garden.url, str(self.cwd)]
        run(words, cwd=self.home, env=self.env()).must()
        return self.cwd

    def try_git(self, *words: str, input: bytes = b"", env: Mapping[str, str] | None = None) -> Result:
        return run(["git", *words], cwd=self.cwd, env=self.env(env), input=input)

    def git(self, *words: str, input: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        return self.try_git(*words, input=input, env=env).must().stdout.strip()

    def event(self, subject: str, data: object = None, *paragraphs: str, env: Mapping[str, str] | None = None) -> str:
        """Commit an event by hand; the commit's oid. paragraphs: more `-m`, trailers for example."""
        texts = [subject, *([] if data is None else [json.dumps(data)]), *paragraphs]
        words = [word for text in texts for word in ("-m", text)]
        self.git("commit", "--quiet", "--allow-empty", *words, env=env)
        return self.head()

    def raw_event(self, message: str, *, parents: Sequence[str] = ("HEAD",), headers: str = "") -> str:
        """Commit exactly this message, past everything that git would tidy, and stand on it; the commit's oid.

        A byte that is no UTF-8 stands in the message as Python's surrogateescape has it.
        """
        lines = "".join(f"parent {self.git('rev-parse', parent)}\n" for parent in parents)
        who = f"{self.name} <{self.name}@example.org> 1781517600 +0000"
        raw = f"tree {EMPTY_TREE}\n{lines}author {who}\ncommitter {who}\n{headers}\n{message}"
        oid = self.git(
            "hash-object", "-t", "commit", "-w", "--stdin", "--literally", input=raw.encode(errors="surrogateescape")
        )
        self.git("reset", "--quiet", "--hard", oid)
        return oid

    def tries_to_push(self, *words: str, env: Mapping[str, str] | None = None) -> Result:
        return self.try_git("push", *words, env=env)

    def push(self, *words: str, env: Mapping[str, str] | None = None) -> Result:
        """A push that must succeed."""
        return self.tries_to_push(*words, env=env).must()

    def starts_to_push(self, garden: Garden, *words: str) -> Pushing:
        """A push that has passed pre-receive and now waits for the space's lock, which the caller holds."""
        process = subprocess.Popen(
            ["git", "push", *words],
            cwd=self.cwd,
            env=self.env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        oid = self.head()
        # Git lets the objects out of quarantine once pre-receive has agreed.
        wait_until(lambda: garden.server.git(garden.repo, "cat-file", "-e", oid).ok, "the objects came in")
        return Pushing(process)

    def push_by_hand(self, garden: Garden, *updates: tuple[str, str, str]) -> Result:
        """A push that no git would send: (old, new, ref) as they are, and a pack of nothing."""
        lines = b""
        for i, (old, new, ref) in enumerate(updates):
            line = f"{old} {new} {ref}".encode() + (b"" if i else b"\0report-status")
            lines += b"%04x" % (len(line) + 4) + line
        pack = b"PACK" + (2).to_bytes(4, "big") + (0).to_bytes(4, "big")
        pack += hashlib.sha1(pack).digest()
        return self.try_ssh(f"git-receive-pack '/{garden.repo}.git'", input=lines + b"0000" + pack)

    def pull(self) -> None:
        self.git("pull", "--quiet", "--rebase")

    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def log(self) -> list[str]:
        """The subject lines of what is checked out, oldest first, without the genesis."""
        return self.git("log", "--reverse", "--format=%s").split("\n")[1:]


def make_key(path: Path) -> Path:
    """A fresh key pair at `path` and `path`.pub."""
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)]
    run(words, cwd=path.parent, env=surroundings(path.parent)).must()
    return path
