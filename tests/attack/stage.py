"""Where the attack happens: one server, one repo with several spaces, eight principals with stock tools; and a shed.

The shed is a repo outside any server's directory, its own authority, as `GitLog` makes it. Everything is asked for as
anybody would: by git, by ssh, by `GitLog` and `RemoteLog`, and by `shardd --dir`, which runs in this process here.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shardd.cli.main import main
from shardd.core.canonical import Json
from tests.attack import answers
from tests.attack.history import History
from tests.e2e.harness import Actor, Result, Server, make_key, run, surroundings
from tests.e2e.openssh import OpenSsh, find_sshd

REPO = "garden"
SHED = "shed"
SPACES = ("one", "two", "three", "four", "five")
PEOPLE = tuple(f"p{i}" for i in range(8))


@dataclass(slots=True)
class Stage:
    """folder: where everything of it lies"""

    folder: Path
    server: Server
    history: History
    actors: dict[str, Actor] = field(default_factory=dict)
    openssh: OpenSsh | None = None

    @property
    def garden(self) -> Path:
        return self.server.repo(REPO)

    @property
    def shed(self) -> Path:
        return self.folder / f"{SHED}.git"

    def repo(self, label: str) -> Path:
        """Where the repo of `repo/space` lies."""
        return self.shed if label.startswith(f"{SHED}/") else self.garden

    def open(self, *, server: Mapping[str, str] | None = None, openssh: Mapping[str, str] | None = None) -> None:
        """Start one of the two servers, or start it anew; with more of an environment for what decides."""
        if server is not None:
            self.server.start(server)
            (self.folder / "serving").write_text(str(self.server.pid))
        if openssh is not None and self.openssh is not None:
            self.openssh.start(openssh)
        known = self.server.known_hosts() + (self.openssh.known_hosts() if self.openssh else "")
        for actor in self.actors.values():
            (actor.home / "known_hosts").write_text(known)

    def serving(self) -> int:
        """The pid of the server that was started last and has said that it serves; for other processes than its own."""
        return int((self.folder / "serving").read_text() or 0)

    def close(self) -> None:
        for server in (self.server, self.openssh):
            if server is not None and server.alive:
                server.stop()

    def host(self, *words: str, who: str | None = None) -> Result:
        """`shardd WORDS` on the server's host, in this process. who: on whose behalf"""
        return shardd(*words, "--dir", str(self.server.root), *(["--as", who] if who else []))

    def host_json(self, *words: str) -> list[Json]:
        """What a command of the host must answer."""
        return values(self.host(*words, "--json").must())

    def git(self, path: Path, *words: str) -> Result:
        """git on the server's host."""
        return run(["git", *words], cwd=path, env=surroundings(self.folder))


def space_of(label: str) -> str:
    return label.partition("/")[2]


def shardd(*words: str) -> Result:
    """The command line, without the second that starting Python takes; a fork of a test may die in it."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    return Result(status, out.getvalue(), err.getvalue())


def values(result: Result) -> list[Json]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def build(folder: Path, *, events: int = 0) -> Stage:
    """A running server with the people, the repo and the spaces. events: so many in the first space to begin with"""
    keys = {name: make_key(folder / name) for name in (*PEOPLE, "carol")}
    server = Server(folder / "server", keys["carol"].with_suffix(".pub"))
    for name in PEOPLE:
        (server.root / "keys" / f"{name}.pub").write_bytes(keys[name].with_suffix(".pub").read_bytes())
    roles = "".join(f'{name} = ["admin {REPO}", "import {REPO}"]\n' for name in PEOPLE)
    (server.root / "access.toml").write_text(f'[roles]\ncarol = ["admin @all"]\n{roles}')
    stage = Stage(folder, server, History(folder / "history.jsonl"))
    stage.host("repo", "create", REPO).must()
    if events:
        take_in(stage, f"{REPO}/{SPACES[0]}", "base", events, who=None)
    for space in SPACES[1 if events else 0 :]:
        stage.host("space", "create", f"{REPO}/{space}").must()
    stage.open(server={})
    for name in PEOPLE:
        actor = stage.actors[name] = Actor(name, keys[name], folder / f"home-{name}", server)
        actor.cwd = actor.home / "own.git"
        stage.git(folder, "init", "--quiet", "--bare", str(actor.cwd)).must()
        # What the server has, its clients see: saves a fetch before every push.
        (actor.cwd / "objects/info").mkdir(exist_ok=True)
        (actor.cwd / "objects/info/alternates").write_text(f"{stage.garden}/objects\n")
    if find_sshd() is not None:
        stage.openssh = OpenSsh.beside(server)
        stage.open(openssh={})
    return stage


def take_in(stage: Stage, label: str, prefix: str, count: int, *, who: str | None) -> None:
    """Import a log of so many events, whose ids are `prefix.1` and so on, and keep that in the history."""
    file = stage.folder / f"import-{prefix}.jsonl"
    file.write_text("".join(_lines(prefix, count)))
    options = ["--take-lease"] if who else []
    call = stage.history.call("import", who or "operator", "host", space=label, prefix=prefix, count=count)
    result = stage.host("import", label, str(file), "--json", *options, who=who)
    file.unlink()
    answers.of_command(call, result, lambda value: {"head": [value["seq"], value["oid"]]})
    assert who is not None or not prefix.startswith("base") or result.ok, result


def _lines(prefix: str, count: int) -> Iterable[str]:
    for number in range(1, count + 1):
        said = {
            "seq": number,
            "timestamp": f"2024-01-01T00:00:00.{number % 1_000_000:06}Z",
            "actor": "ann",
            "type": "page.bound",
            "payload": {"page": f"P{number % 500}"},
            "id": f"{prefix}.{number}",
        }
        yield json.dumps(said) + "\n"
