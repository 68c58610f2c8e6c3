"""`shardd demo`: the main job from nothing, as a transcript. Each step says what must come of it, and is held to it.

A server on a free loopback port, and three people with fresh keys, each in a scratch HOME: alice appends, bob is told
why he may not and takes over, mallory holds the lease for once and still cannot rewrite history. All with stock git.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shardd.errors import SharddError
from shardd.git.program import require_version

_SHARDD = [sys.executable, "-m", "shardd.cli.main"]
_PATIENCE = 60


class NotAsToldError(SharddError):
    """A step came out otherwise than the transcript says."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a key and a home of their own. port: where the server listens"""

    name: str
    home: Path
    port: str

    def run(self, command: str, *, at: str = ".", fails: bool = False, says: str = "") -> str:
        """Run a command in this person's home and show it; NotAsToldError unless it ends and says as told."""
        print(f"\n{self.name}$ {command}", flush=True)
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.home / at,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        said = re.sub(r" +$", "", done.stdout, flags=re.MULTILINE).rstrip("\n")
        if said:
            print("\n".join(f"  {line}" for line in said.split("\n")), flush=True)
        if (done.returncode != 0) is not fails:
            raise NotAsToldError(f"`{command}` ended with {done.returncode}")
        if says not in said:
            raise NotAsToldError(f"`{command}` did not say {says!r}")
        return said

    def _environment(self) -> dict[str, str]:
        ssh = [
            shutil.which("ssh") or "ssh", "-F", os.devnull, "-p", self.port, "-i", str(self.home / "key"),
            "-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={self.home / 'known_hosts'}",
            "-o", "StrictHostKeyChecking=yes",
        ]  # fmt: skip
        shims = self.home / "bin"
        shims.mkdir(exist_ok=True)
        for name, words in (("ssh", ssh), ("shardd", _SHARDD), ("python", [sys.executable])):
            shim = shims / name
            if not shim.exists():
                shim.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
                shim.chmod(0o755)
        return {
            "HOME": str(self.home),
            "PATH": f"{shims}:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ADVICE": "0",
        }


def demo() -> None:
    """Run it all; raises at the first step that is not as told."""
    require_version()
    with tempfile.TemporaryDirectory(prefix="shardd-demo-", ignore_cleanup_errors=True) as scratch:
        place = Path(scratch)
        _say("A server's directory, with alice as its admin")
        for name in ("alice", "bob", "mallory"):
            (place / name).mkdir()
            _quiet(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(place / name / "key")])
        made = _quiet([*_SHARDD, "init", str(place / "srv"), "--admin", "alice", str(place / "alice" / "key.pub")])
        print(f"  {made.splitlines()[0]}\n  {made.splitlines()[1]}")
        with _serving(place / "srv") as port:
            people = []
            for name in ("alice", "bob", "mallory"):
                key = (place / "srv" / "host_keys" / "ssh_host_ed25519_key.pub").read_text().rsplit(" ", 1)[0]
                (place / name / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}\n")
                people.append(Person(name, place / name, port))
            _story(*people)
        _say("All of it was as told.")


def _story(alice: Person, bob: Person, mallory: Person) -> None:
    url = f"ssh://127.0.0.1:{alice.port}/garden.git"
    _say("alice makes a repo and a space, and lets bob and mallory in")
    alice.run("ssh 127.0.0.1 repo create garden")
    alice.run("ssh 127.0.0.1 space create garden/whynot", says="created")
    for person in (bob, mallory):
        alice.run(f"ssh 127.0.0.1 key add {person.name} <{person.home / 'key.pub'}")
        alice.run(f"ssh 127.0.0.1 role grant {person.name} append garden")
    for person in (alice, bob, mallory):
        person.run(f"git clone -q {url}")
        person.run("shardd setup | head -n 1", at="garden", says=f"set up for {person.name}")

    _say("alice takes the lease, and appends with git alone")
    alice.run("ssh 127.0.0.1 lease acquire garden/whynot", says="epoch 1")
    alice.run(_event("shard.attached: garden", '{"shard":"garden"}'), at="garden")
    alice.run(_event("shard.attached: why", '{"shard":"why"}'), at="garden")
    alice.run(_event("page.bound: Home", '{"page":"Home","same_as":"Start"}'), at="garden")
    alice.run("git push -q", at="garden")

    _say("bob may append, but it is not his turn: he is told whose it is, and what to do")
    bob.run(_event("remark.added: Home", '{"remark":"r1","page":"Home","text":"which one is canonical?"}'), at="garden")
    bob.run("git pull -q --rebase && git push", at="garden", fails=True, says="not-holder: alice holds the lease")

    _say("alice hands over; bob resumes from the head")
    alice.run("shardd lease transfer bob --reason 'off to lunch'", at="garden", says="bob holds")
    bob.run("git push -q", at="garden")
    alice.run(_event("page.bound: Late", '{"page":"Late"}'), at="garden")
    alice.run("git pull -q --rebase && git push", at="garden", fails=True, says="not-holder: bob holds the lease")
    settled = shlex.quote('{"page":"Home","shard":"garden"}')
    bob.run(f"shardd append conflict.settled Home --body {settled}", at="garden")
    bob.run("ssh 127.0.0.1 lease release garden/whynot")

    _say("mallory holds the lease for once, and still cannot rewrite history")
    mallory.run("ssh 127.0.0.1 lease acquire garden/whynot", says="mallory holds")
    mallory.run("git pull -q --rebase", at="garden")
    mallory.run("git push --force origin HEAD~1:spaces/whynot", at="garden", fails=True, says="non-fast-forward")
    mallory.run("git push origin :spaces/whynot", at="garden", fails=True, says="deletion")
    mallory.run(
        f"git checkout -q -b side HEAD~1 && {_event('remark.added: side', '{}')} && "
        "git checkout -q spaces/whynot && git merge -q --no-edit --no-verify -m merged side",
        at="garden",
    )
    mallory.run("git push origin HEAD:spaces/whynot", at="garden", fails=True, says="not-linear")

    _say("bob reads the log with stock git, and folds it")
    bob.run("git pull -q", at="garden")
    log = bob.run("git log --reverse --format='%h %an: %s' spaces/whynot", at="garden")
    if [line.split()[1] for line in log.split("\n")] != ["shardd:", "alice:", "alice:", "alice:", "bob:", "bob:"]:
        raise NotAsToldError("the log is not genesis, thrice alice, twice bob")
    # Commits made by hand leave the number out, it follows from the parent; what shardd writes says it.
    bob.run("git log -1 --format='%(trailers:key=Seq,valueonly,separator=)' spaces/whynot", at="garden", says="5")
    bob.run("shardd log", at="garden", says="remark.added: Home")
    bob.run("shardd fold", at="garden", says="Home: garden is canonical")
    bob.run("shardd lease history", at="garden", says="by alice: off to lunch")

    _say("bob looks at the pages themselves, through what was decided about them")
    for shard, page, text in (("garden", "Home", "Welcome to the garden."), ("why", "Start", "Welcome.")):
        (bob.home / "pages" / shard).mkdir(parents=True)
        (bob.home / "pages" / shard / f"{page}.md").write_text(text)
    (bob.home / "union.py").write_text(_UNION)
    bob.run("cat union.py")
    bob.run("python union.py", says="seq 5 bob conflict.settled")


_UNION = """\
from shardd import FolderShard, GitLog, InformationSpace

space = InformationSpace("whynot", store=GitLog("garden"))
for shard in ("garden", "why"):
    space.mount(shard, FolderShard(f"pages/{shard}"))
for page in space.union():
    print(" = ".join(page.keys), "| canonical:", page.canonical and page.canonical.shard)
    for version in page.versions:
        print("  ", version.shard, version.key, repr(version.text()))
for event in space.explain("Home"):
    print("seq", event.seq, event.actor, event.type)
"""


def _event(subject: str, data: str) -> str:
    return f"git commit -q --allow-empty -m {shlex.quote(subject)} -m {shlex.quote(data)}"


@contextmanager
def _serving(root: Path) -> Iterator[str]:
    """A server over `root`, stopped by its pid in the end; yields its port."""
    log = root.with_suffix(".log")
    with log.open("wb") as stderr:
        server = subprocess.Popen(
            [*_SHARDD, "serve", "--dir", str(root), "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        line = server.stdout.readline() if server.stdout else ""
        match = re.search(r"-p (\d+)", line)
        if match is None:
            raise NotAsToldError(f"the server did not start: {log.read_text().strip()[-500:]}")
        print(f"\n  {line.strip()}")
        yield match[1]
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        if server.stdout:
            server.stdout.close()


def _quiet(arguments: list[str]) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotAsToldError(f"`{shlex.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout


def _say(text: str) -> None:
    print(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)
