"""Who stands in line for a lease is woken by the change itself; what another process does, a look of his own shows."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import asyncssh
import pytest

from shardd.authority.authorities import Authorities
from shardd.authority.moved import Moved, Pause, patiently
from shardd.commands import leases
from shardd.commands.caller import Context
from shardd.commands.result import AnyAnswer, Steps
from shardd.core.names import Address
from shardd.core.refusals import NotHolder
from shardd.core.roles import ALL, Grant
from shardd.errors import Rejected
from shardd.files.access import PublicKey
from shardd.files.server_dir import ServerDir
from shardd.git import program
from shardd.service.listener import listen
from shardd.service.session import Service
from shardd.service.waiting import driven, heard

GARDEN = Address("garden", "whynot")
NEVER = 120.0
PATIENCE = 60.0  # seconds after which nobody was woken


@pytest.fixture
def server(tmp_path: Path) -> ServerDir:
    server = ServerDir.create(tmp_path / "server")
    for name in ("alice", "bob", "carol"):
        server.access.grant(Grant(name, "append", ALL))
    authorities = Authorities.open(server)
    authorities.create("garden")
    with authorities.repo("garden", authorities.operator) as authority:
        authority.create("whynot")
    return server


@dataclass
class Process:
    """What runs in one process shares its hints."""

    authorities: Authorities

    @classmethod
    def of(cls, server: ServerDir) -> Process:
        return cls(Authorities.open(server))

    def context(self, who: str) -> Context:
        return Context(self.authorities, who, self.authorities.granted, opened=lambda file: io.BytesIO())

    def waits(self, who: str) -> Steps:
        return leases.Acquire(GARDEN, 900_000, 60_000, False).steps(self.context(who))

    def acquires(self, who: str) -> AnyAnswer:
        return patiently(leases.Acquire(GARDEN, 900_000, 0, False).steps(self.context(who)))

    def releases(self, who: str) -> None:
        leases.Release(GARDEN, None).run(self.context(who))


def said(answer: AnyAnswer) -> str:
    return "".join(answer.lines())


def counted(steps: Steps, looks: Counter[str], who: str) -> Steps:
    """The same, and each time that it looks, and has to wait again, is counted."""
    while True:
        try:
            pause = next(steps)
        except StopIteration as ended:
            found: AnyAnswer = ended.value
            return found
        looks[who] += 1
        yield pause


def test_a_waiter_is_woken_by_the_release(server: ServerDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """By nothing else: it would look by itself only after minutes. And it looks only when something has changed."""
    monkeypatch.setattr(leases, "POLL_SECONDS", NEVER)
    here, looks = Process.of(server), Counter[str]()
    here.acquires("alice")

    async def tale() -> str:
        waiting = asyncio.create_task(driven(counted(here.waits("bob"), looks, "bob")))
        while looks["bob"] < 2:  # once to join the line, once since it has changed thereby
            await asyncio.sleep(0)
        await asyncio.to_thread(here.releases, "alice")
        return said(await waiting)

    assert asyncio.run(asyncio.wait_for(tale(), PATIENCE)).startswith("bob holds garden/whynot (epoch 2")
    assert looks["bob"] == 2


def test_one_thread_is_enough_for_any_number(server: ServerDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """If anybody who waits held a thread, nobody else could come to one, and nothing would ever be released."""
    monkeypatch.setattr(leases, "POLL_SECONDS", NEVER)
    here, looks = Process.of(server), Counter[str]()
    here.acquires("alice")

    async def tale() -> list[str]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        bob = asyncio.create_task(driven(counted(here.waits("bob"), looks, "bob")))
        while not looks["bob"]:
            await asyncio.sleep(0)
        carol = asyncio.create_task(driven(counted(here.waits("carol"), looks, "carol")))
        while not looks["carol"]:
            await asyncio.sleep(0)
        await asyncio.to_thread(here.releases, "alice")
        first = said(await bob)
        await asyncio.to_thread(here.releases, "bob")
        return [first, said(await carol)]

    assert [each.split()[0] for each in asyncio.run(asyncio.wait_for(tale(), PATIENCE))] == ["bob", "carol"]


def test_who_has_left_takes_no_lease(server: ServerDir) -> None:
    """The lease becomes free after its client went, and before its next look: nobody would ever give it back."""
    here, gone = Process.of(server), False
    here.acquires("alice")
    context = replace(here.context("bob"), gone=lambda: gone)
    steps = leases.Acquire(GARDEN, 900_000, 60_000, False).steps(context)
    next(steps)
    gone = True
    here.releases("alice")
    with pytest.raises(NotHolder):
        next(steps)
    assert said(here.acquires("carol")).startswith("carol holds garden/whynot (epoch 2"), "and the line is left"


def test_who_may_wait_no_more_holds_up_nobody(server: ServerDir) -> None:
    """Whoever was retired leaves the line at its next look, and not only once its silence has been noticed."""
    here = Process.of(server)
    here.acquires("alice")
    steps = here.waits("bob")
    next(steps)
    server.access.retire("bob")
    here.releases("alice")
    with pytest.raises(Rejected, match="needs the role append"):
        next(steps)
    assert said(here.acquires("carol")).startswith("carol holds garden/whynot (epoch 2")


def test_what_another_process_does_is_seen_by_the_next_look(server: ServerDir) -> None:
    here, there = Process.of(server), Process.of(server)
    here.acquires("alice")
    steps = here.waits("bob")
    pauses = [next(steps), next(steps)]
    assert all(pause.seconds <= 1.0 for pause in pauses)
    there.releases("alice")
    assert here.authorities.moved("garden").count("whynot") == pauses[-1].count, "nothing was heard of it"
    with pytest.raises(StopIteration) as ended:
        next(steps)
    assert said(ended.value.value).startswith("bob holds garden/whynot (epoch 2")


def test_no_change_is_missed_between_the_look_and_the_wait() -> None:
    moved = Moved()
    pause = Pause(moved, "whynot", moved.count("whynot"), NEVER)
    moved.set("whynot")
    pause.wait()

    async def tale() -> None:
        await heard(pause)

    asyncio.run(asyncio.wait_for(tale(), PATIENCE))
    assert not moved._listeners


@pytest.fixture
def served(server: ServerDir, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerDir]:
    """For a server in this process, of which nothing is to stay."""
    monkeypatch.setattr(leases, "POLL_SECONDS", NEVER)
    monkeypatch.setattr(program, "_own", program._own)
    yield server


def test_the_server_wakes_its_waiters_at_once(served: ServerDir) -> None:
    """In one server, with one thread for all of its commands, whose waiters look by themselves only after minutes."""
    keys = {name: asyncssh.generate_private_key("ssh-ed25519") for name in ("alice", "bob")}
    for name, key in keys.items():
        served.access.add_key(name, PublicKey.parse(key.export_public_key().decode()))

    heard_of: list[str] = []

    async def tale() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        service = Service.over(Authorities.open(served))
        async with (
            await listen(service, "127.0.0.1", 0) as acceptor,
            asyncssh.connect("127.0.0.1", acceptor.get_port(), known_hosts=None, client_keys=[keys["alice"]]) as alice,
            asyncssh.connect("127.0.0.1", acceptor.get_port(), known_hosts=None, client_keys=[keys["bob"]]) as bob,
        ):
            await alice.run("lease acquire garden/whynot", check=True)
            waiting = asyncio.create_task(bob.run("lease acquire garden/whynot --wait 3000", check=True))
            while "bob" not in str((await alice.run("lease show garden/whynot", check=True)).stdout):
                pass
            await alice.run("lease release garden/whynot", check=True)
            heard_of.append(str((await waiting).stdout))

    asyncio.run(asyncio.wait_for(tale(), PATIENCE))
    assert heard_of[0].startswith("bob holds garden/whynot (epoch 2")
