"""Where the attack happens: one server, one repo with several spaces, eight principals with stock tools."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dulwich.objects import Commit, ShaFile

from shardd.core.append import encode_batch
from shardd.core.event import Draft, Head
from shardd.core.lease import Grant
from shardd.core.refs import space_ref
from shardd.core.roles import Access
from shardd.storage.authority import EmbeddedAuthority
from shardd.storage.git import Git
from shardd.storage.log import new_id, utc_now
from shardd.storage.repository import Repository
from shardd.storage.serverdir import ServerDir
from tests.attack.checks import Record
from tests.e2e.harness import Actor, Server, make_key
from tests.e2e.openssh import OpenSsh, find_sshd

REPO = "garden"
SPACES = ("one", "two", "three", "four", "five")
PEOPLE = tuple(f"p{i}" for i in range(8))


@dataclass(slots=True)
class Stage:
    server: Server
    path: Path
    actors: dict[str, Actor]
    openssh: OpenSsh | None = None
    records: dict[str, Record] = field(default_factory=dict)

    def open(self, *, server: Mapping[str, str] | None = None, openssh: Mapping[str, str] | None = None) -> None:
        """Start one of the two servers, or start it anew; with more of an environment for what decides."""
        if server is not None:
            self.server.start(server)
        if openssh is not None and self.openssh is not None:
            self.openssh.start(openssh)
            known = self.server.known_hosts() + self.openssh.known_hosts()
            for actor in self.actors.values():
                (actor.home / "known_hosts").write_text(known)

    def close(self) -> None:
        for server in (self.server, self.openssh):
            if server is not None and server.alive:
                server.stop()

    def authority(self, repository: Repository) -> EmbeddedAuthority:
        return EmbeddedAuthority(repository, label=REPO, rights=self.rights())

    def rights(self) -> Access:
        return ServerDir(self.server.root).access.load().access

    def prepare_push(self, who: str, space: str, *, epoch: int | None) -> tuple[str, Head] | None:
        """An event of `who` on the head as it is now, in that person's own repo: its oid."""
        with Repository(self.path) as repository:
            head = self.authority(repository).head(space)
        if head is None:
            return None
        (oid, raw), *_ = encode_batch([a_draft(who)], head, epoch=epoch)
        _write_object(self.actors[who].cwd, oid, raw)
        return oid, head

    def push(
        self, who: str, space: str, oid: str, target: str, *options: str, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Stock `git push` of that commit."""
        actor = self.actors[who]
        words = [word for option in options for word in ("-o", option)]
        return subprocess.run(
            ["git", "push", "--quiet", *words, target, f"{oid}:{space_ref(space)}"],
            cwd=actor.cwd,
            env=actor.env(env),
            capture_output=True,
            text=True,
            check=False,
        )

    def check(self, spaces: Sequence[str], *, fsck: bool) -> None:
        """Nothing of what was promised is broken, and the next push and the next lease change go through."""
        with Repository(self.path) as repository:
            authority = self.authority(repository)
            for space in spaces:
                with authority.hold([space]) as held:
                    self.records[space].update(repository, held.standing(space))
                changed = authority.change(space, Grant(PEOPLE[0], force=True))
                assert changed.lease is not None
                with authority.hold([space]) as held:
                    self.records[space].update(repository, held.standing(space))
        if fsck:
            self.server.fsck()

    def push_goes_through(self, space: str) -> None:
        """By stock git and the server, for the one to whom `check` has granted the lease."""
        prepared = self.prepare_push(PEOPLE[0], space, epoch=None)
        assert prepared is not None
        done = self.push(PEOPLE[0], space, prepared[0], f"{self.server.url}/{REPO}.git")
        assert done.returncode == 0, done.stderr
        self.records[space].event(prepared[0], PEOPLE[0])


def a_draft(who: str) -> Draft:
    return Draft(type="page.bound", actor=who, id=new_id(), time=utc_now())


def build(folder: Path) -> Stage:
    """A running server with the people, the repo and the spaces."""
    keys = {name: make_key(folder / name) for name in (*PEOPLE, "carol")}
    server = Server(folder / "server", keys["carol"].with_suffix(".pub"))
    for name in PEOPLE:
        (server.root / "keys" / f"{name}.pub").write_bytes(keys[name].with_suffix(".pub").read_bytes())
    roles = "".join(f'{name} = ["admin {REPO}"]\n' for name in PEOPLE)
    (server.root / "access.toml").write_text(f'[roles]\ncarol = ["admin @all"]\n{roles}')
    ServerDir(server.root).create_repo(REPO)
    path = server.repo(REPO)
    stage = Stage(server, path, {})
    with Repository(path) as repository:
        authority = stage.authority(repository)
        for space in SPACES:
            stage.records[space] = Record(space, authority.create(space))
    server.start()
    for name in PEOPLE:
        actor = stage.actors[name] = Actor(name, keys[name], folder / f"home-{name}", server)
        actor.cwd = actor.home / "own.git"
        Git(actor.cwd).run("init", "--quiet", "--bare", str(actor.cwd))
        # What the server has, its clients see: saves a fetch before every push.
        (actor.cwd / "objects/info").mkdir(exist_ok=True)
        (actor.cwd / "objects/info/alternates").write_text(f"{path}/objects\n")
    if find_sshd() is not None:
        stage.openssh = OpenSsh.beside(server)
        stage.open(openssh={})
    return stage


def _write_object(repository: Path, oid: str, raw: bytes) -> None:
    path = repository / "objects" / oid[:2] / oid[2:]
    path.parent.mkdir(exist_ok=True)
    draft = path.with_name(f"tmp_obj_{os.getpid()}")
    draft.write_bytes(ShaFile.from_raw_string(Commit.type_num, raw).as_legacy_object())
    draft.rename(path)
