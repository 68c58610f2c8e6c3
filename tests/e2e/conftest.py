"""Who and what the end-to-end tests find on the stage."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from shardd.authority.authorities import Authorities
from shardd.core.roles import Grant
from shardd.files.server_dir import ServerDir
from tests.e2e.harness import Actor, Garden, Server, make_key

NAMES = ("alice", "bob", "mallory", "carol")


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One key pair for each actor, made once."""
    folder = tmp_path_factory.mktemp("keys")
    return {name: make_key(folder / name) for name in NAMES}


def begin(folder: Path, keys: dict[str, Path], *, settings: str = "") -> Server:
    """A running server that knows alice, bob and mallory; carol is its admin."""
    server = Server(folder / "server", keys["carol"].with_suffix(".pub"))
    for name in ("alice", "bob", "mallory"):
        # As `key add` leaves it; a process for each would cost a second.
        (server.root / "keys" / f"{name}.pub").write_bytes(keys[name].with_suffix(".pub").read_bytes())
    if settings:
        server.settings(settings)
    return server.start()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Path]) -> Iterator[Server]:
    """The module's server. Whatever its tests did, every repo must be sound in the end."""
    server = begin(tmp_path_factory.mktemp("stage"), keys)
    yield server
    server.stop()
    server.fsck()


@pytest.fixture
def carol(server: Server, keys: dict[str, Path], tmp_path: Path) -> Actor:
    """The admin."""
    return Actor("carol", keys["carol"], tmp_path / "carol", server)


@pytest.fixture
def alice(server: Server, keys: dict[str, Path], tmp_path: Path) -> Actor:
    return Actor("alice", keys["alice"], tmp_path / "alice", server)


@pytest.fixture
def bob(server: Server, keys: dict[str, Path], tmp_path: Path) -> Actor:
    return Actor("bob", keys["bob"], tmp_path / "bob", server)


@pytest.fixture
def mallory(server: Server, keys: dict[str, Path], tmp_path: Path) -> Actor:
    """Knows the place, and means no good: may read."""
    return Actor("mallory", keys["mallory"], tmp_path / "mallory", server)


@pytest.fixture
def garden(server: Server) -> Garden:
    """A fresh repo with the space whynot. alice and bob may append, mallory may read."""
    return plant(server)


def plant(server: Server) -> Garden:
    """What `repo create`, `space create` and `role grant` on the host do, without a process for each."""
    garden = Garden(server, server.next_name())
    authorities = Authorities.open(ServerDir(server.root))
    authorities.create(garden.repo)
    with authorities.repo(garden.repo, authorities.operator) as authority:
        authority.create(garden.space)
    for name, role in (("alice", "append"), ("bob", "append"), ("mallory", "read")):
        authorities.server.access.grant(Grant(name, role, garden.repo))
    return garden


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The server's log goes with every failure."""
    report = yield
    server = item.funcargs.get("server")
    if report.failed and isinstance(server, Server) and server.log.exists():
        report.sections.append(("server log", "\n".join(server.log.read_text().splitlines()[-60:])))
    return report
