"""Every transcript in the README is replayed: the commands are run, and must say what stands there.

`…` in the README stands for anything, a line of just `…` for any number of lines. The people have a home each; their
ssh knows `wiki`, as the README has them write into ~/.ssh/config. The server listens where the README says, but on a
port that is free.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
PROMPT = re.compile(r"(\w+)\$ (.*)")


@dataclass
class Step:
    who: str
    command: str
    said: list[str]
    line: int


def steps() -> Iterator[Step]:
    """The commands of all ```console blocks, in order, each with what it must say."""
    step: Step | None = None
    inside = False
    for number, line in enumerate(README.read_text().splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```console"
            if step:
                yield step
            step = None
        elif inside and (match := PROMPT.fullmatch(line)):
            if step:
                yield step
            step = Step(match[1], match[2], [], number)
        elif inside and step:
            step.said.append(line)


class Stage:
    """Homes for the people of the README, and the server that it starts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = ""
        self.server: subprocess.Popen[str] | None = None
        self.where: dict[str, Path] = {}
        for name in ("host", "alice", "bob"):
            home = root / name
            (home / "bin").mkdir(parents=True)
            ssh = f'#!/bin/sh\nexec {shutil.which("ssh")} -F {home}/config "$@"\n'
            shardd = f'#!/bin/sh\nexec {sys.executable} -m shardd.cli.main "$@"\n'
            for tool, text in (("ssh", ssh), ("shardd", shardd)):
                (home / "bin" / tool).write_text(text)
                (home / "bin" / tool).chmod(0o755)
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "key")], check=True)
            self.where[name] = home
        shutil.copy(root / "alice" / "key.pub", root / "host" / "alice.pub")
        shutil.copy(root / "bob" / "key.pub", root / "alice" / "bob.pub")

    def run(self, step: Step) -> tuple[int, str]:
        home = self.root / step.who
        if step.command.startswith("cd "):
            self.where[step.who] /= step.command.removeprefix("cd ")
            return 0, ""
        if step.command.startswith("shardd serve "):
            return 0, self.serve(shlex.split(step.command)[1:-1])
        done = subprocess.run(
            ["/bin/sh", "-c", step.command],
            cwd=self.where[step.who],
            env={
                "HOME": str(home),
                "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
                "LC_ALL": "C.UTF-8",
                "GIT_CONFIG_NOSYSTEM": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout

    def serve(self, words: list[str]) -> str:
        self.server = subprocess.Popen(
            [sys.executable, "-m", "shardd.cli.main", *words, "--listen", "127.0.0.1:0"],
            cwd=self.where["host"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.server.stdout
        said = self.server.stdout.readline()
        self.port = said.split()[3]
        key = (self.root / "host" / "srv" / "host_keys" / "ssh_host_ed25519_key.pub").read_text().rsplit(" ", 1)[0]
        for home in self.where.values():
            (home / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}\n")
            (home / "config").write_text(
                f"Host wiki\n HostName 127.0.0.1\n Port {self.port}\n IdentityFile {home}/key\n IdentitiesOnly yes\n"
                f" UserKnownHostsFile {home}/known_hosts\n StrictHostKeyChecking yes\n"
            )
        return said.replace(self.port, "2222")

    def stop(self) -> None:
        if self.server:
            self.server.terminate()
            self.server.wait(20)
            assert self.server.stdout
            self.server.stdout.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.stop()


def pattern(said: list[str]) -> re.Pattern[str]:
    lines = []
    for line in said:
        if line == "…":
            lines.append(r"(?:.*\n)*")
        else:
            # Spaces within a table follow from what is in it.
            parts = [re.sub(r"(?:\\ )+", r"\\ +", re.escape(part)) for part in line.split("…")]
            # How much of a lease is left depends on how long the commands before took.
            lines.append(re.sub(r"\d+(\\ \+min\\ \+left)", r"\\d+\1", ".*".join(parts)) + r" *\n")
    return re.compile("".join(lines) + r"\Z")


def test_the_transcripts_of_the_readme_are_true(stage: Stage) -> None:
    found = list(steps())
    assert len(found) > 30
    for step in found:
        status, said = stage.run(step)
        where = f"README.md:{step.line}: {step.command}\nsaid:\n{said}"
        assert pattern(step.said).match(said), where
        told_of_failure = any(re.search(r"(^|remote: )shardd: [a-z-]+: |^error:", line) for line in step.said)
        assert (status != 0) is told_of_failure, where


def test_the_readme_shows_the_golden_bytes() -> None:
    text = README.read_text()
    golden = (README.parent / "tests" / "unit" / "golden" / "events.txt").read_text()
    first = golden.split("=== ")[1]
    oid = first.split()[0]
    bytes_shown = "\n".join(line[1:] for line in first.splitlines()[1:])
    assert f"```\n{bytes_shown}\n```" in text
    assert oid in text
