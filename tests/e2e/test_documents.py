"""Every transcript in the README and in the manual is replayed: the commands are run, and must say what stands there.

`…` in a document stands for anything, a line of just `…` for any number of lines. The server listens where the document
says, but on a port that is free. The README begins from nothing, in one home, with the ~/.ssh/config that it has its
readers write. A topic of the manual begins with the scene that shardd/manual/scene.md describes: the people have a home
and a clone each, and their ssh knows `wiki`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shardd.cli import demo
from tests.e2e.harness import preloaded

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TOPICS = sorted(path for path in (ROOT / "shardd" / "manual").glob("*.md") if "```console\n" in path.read_text())
PROMPT = re.compile(r"(\w+)\$ (.*)")
PORT = "2222"
PEOPLE = ("host", "alice", "bob")
SCENE = (
    "repo create garden",
    "space create garden/whynot",
    "key add bob bob.pub",
    "role grant bob append garden",
    """--as alice append garden/whynot page.bound Home --body '{"page":"Home","same_as":"Start"}' --take-lease""",
    "--as bob append garden/whynot remark.added Home --take-lease"
    """ --body '{"remark":"r1","page":"Home","text":"why?"}'""",
    """--as alice append garden/whynot page.bound Late --body '{"page":"Late","same_as":"Delayed"}' --take-lease""",
)


@dataclass
class Step:
    who: str
    command: str
    said: list[str]
    line: int


def steps(document: Path) -> Iterator[Step]:
    """The commands of all ```console blocks, in order, each with what it must say."""
    step: Step | None = None
    inside = False
    for number, line in enumerate(document.read_text().splitlines(), 1):
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
    """Homes for the people of a document, and the server that it starts. alone: they are one, who plays them all"""

    def __init__(self, root: Path, *, alone: bool) -> None:
        self.root = root
        self.server: subprocess.Popen[str] | None = None
        self.home = {name: root / ("home" if alone else name) for name in PEOPLE}
        self.where = {name: home / "tour" for name, home in self.home.items()}
        forked = shlex.join(preloaded())
        for home in set(self.home.values()):
            for folder in ("bin", ".ssh", "tour"):
                (home / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            tools = {
                "ssh": f"{shutil.which('ssh')} -F {home}/.ssh/config -o UserKnownHostsFile={home}/.ssh/known_hosts",
                "shardd": forked,
            }
            for tool, words in tools.items():
                (home / "bin" / tool).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
                (home / "bin" / tool).chmod(0o755)

    def set_the_scene(self) -> None:
        """What shardd/manual/scene.md says, but that the server does not run yet."""
        for name in PEOPLE[1:]:
            key = self.home[name] / ".ssh" / "id_ed25519"
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
            shutil.copy(f"{key}.pub", self.where["host"] / f"{name}.pub")
            (self.home[name] / ".ssh" / "config").write_text(
                f"Host wiki\n HostName 127.0.0.1\n Port {PORT}\n IdentityFile ~/.ssh/id_ed25519\n"
            )
        said = self.shown("host", "shardd init srv --admin alice alice.pub")
        known = "".join(line.split(maxsplit=1)[1] + "\n" for line in said.splitlines() if line.startswith("known_"))
        for words in SCENE:
            self.shown("host", f"shardd --dir srv {words}")
        for name in PEOPLE[1:]:
            (self.home[name] / ".ssh" / "known_hosts").write_text(known)
            self.shown(
                name,
                f"git clone -q {self.where['host']}/srv/repos/garden.git && cd garden &&"
                " git remote set-url origin ssh://wiki/garden.git &&"
                f" git config user.name {name} && git config user.email {name}@example.org",
            )

    def shown(self, who: str, command: str) -> str:
        status, said = self.run(Step(who, command, [], 0))
        assert status == 0, f"{command}: {said}"
        return said

    def run(self, step: Step) -> tuple[int, str]:
        if step.command.startswith("cd "):
            self.where[step.who] /= step.command.removeprefix("cd ")
            return 0, ""
        if step.command.startswith("shardd serve "):
            return 0, self.serve(shlex.split(step.command)[1:])
        home = self.home[step.who]
        done = subprocess.run(
            ["/bin/sh", "-c", step.command],
            cwd=self.where[step.who],
            env={
                "HOME": str(home),
                "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
                "LC_ALL": "C.UTF-8",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_EDITOR": "true",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout

    def serve(self, words: list[str]) -> str:
        self.server = subprocess.Popen(
            [*preloaded(), *words, "--listen", "127.0.0.1:0"],
            cwd=self.where["host"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.server.stdout
        said = self.server.stdout.readline()
        port = said.split()[3]
        for home in set(self.home.values()):
            for file in (home / ".ssh" / "config", home / ".ssh" / "known_hosts"):
                if file.exists():
                    text = file.read_text().replace(PORT, port).replace("~", str(home))
                    file.write_text(text + ("IdentityAgent none\n" if file.name == "config" else ""))
        return said.replace(port, PORT)

    def stop(self) -> None:
        if self.server:
            self.server.terminate()
            self.server.wait(20)
            assert self.server.stdout
            self.server.stdout.close()


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once, and copied for each topic."""
    stage = Stage(tmp_path_factory.mktemp("scene"), alone=False)
    stage.set_the_scene()
    return stage.root


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    alone = request.param == README
    if not alone:
        shutil.copytree(request.getfixturevalue("scene"), tmp_path, symlinks=True, dirs_exist_ok=True)
    stage = Stage(tmp_path, alone=alone)
    try:
        if alone:
            stage.home["host"].joinpath(".ssh", "config").write_text(ssh_config())
        else:
            stage.serve(["--dir", "srv", "serve"])
            stage.where |= {name: stage.where[name] / "garden" for name in PEOPLE[1:]}
        yield stage
    finally:
        stage.stop()


def ssh_config() -> str:
    """What the README has its readers write into ~/.ssh/config."""
    (block,) = re.findall(r"^    Host wiki.*\n(?:(?:    .*)?\n)*", README.read_text(), re.MULTILINE)
    return str(block)


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


@pytest.mark.parametrize(
    ("stage", "document"), [(path, path) for path in (README, *TOPICS)], indirect=["stage"], ids=lambda path: path.stem
)
def test_the_transcripts_of_a_document_are_true(stage: Stage, document: Path) -> None:
    for step in steps(document):
        status, said = stage.run(step)
        where = f"{document.name}:{step.line}: {step.command}\nsaid:\n{said}"
        assert pattern(step.said).match(said), where
        told_of_failure = any(re.search(r"(^|remote: )shardd: [a-z-]+: |^error:", line) for line in step.said)
        assert (status != 0) is told_of_failure, where


def test_as_much_is_replayed_as_ever() -> None:
    found = [step for document in (README, *TOPICS) for step in steps(document)]
    assert len(found) > 75
    assert {step.who for step in found} == set(PEOPLE)


def test_a_topic_with_transcripts_names_its_scene() -> None:
    for path in TOPICS:
        assert "`shardd help scene`" in path.read_text(), path


def test_the_first_screen_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 200


def test_the_golden_bytes_are_shown() -> None:
    text = (ROOT / "shardd" / "manual" / "format.md").read_text()
    golden = (ROOT / "tests" / "unit" / "golden" / "events.txt").read_text()
    first = golden.split("=== ")[1]
    oid = first.split()[0]
    bytes_shown = "\n".join(line[1:] for line in first.splitlines()[1:])
    assert f"```\n{bytes_shown}\n```" in text
    assert oid in text


def test_the_demo_is_as_it_tells(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`./ops/demo`, but that its commands are forked."""
    monkeypatch.setattr(demo, "_SHARDD", list(preloaded()))
    demo.demo()
    assert "All of it was as told." in capsys.readouterr().out
