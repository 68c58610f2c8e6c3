"""Who and what the end-to-end tests find on the stage."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from shardd.core.roles import Grant
from shardd.files.access import AccessFiles
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
def garden(server: Server, carol: Actor) -> Garden:
    """A fresh repo with the space whynot. alice and bob may append, mallory may read."""
    return plant(server, carol)


def plant(server: Server, carol: Actor) -> Garden:
    garden = Garden(server, server.next_name())
    carol.ssh(f"repo create {garden.repo}")
    carol.ssh(f"space create {garden}")
    access = AccessFiles(server.root)
    for name, role in (("alice", "append"), ("bob", "append"), ("mallory", "read")):
        # What `role grant` on the host does, without a process for each.
        access.grant(Grant(name, role, garden.repo))
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
