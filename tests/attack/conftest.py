"""The server of saving.py, made once for all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shardd.authority.authorities import Authorities
from shardd.core.roles import FileAccess
from shardd.files.server_dir import ServerDir
from tests.attack.saving import SECRET, SPACE, grow
from tests.authorities import RIGHTS


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two repos; in garden alice has held the space, appended under her epoch, and let it go."""
    server = ServerDir.create(tmp_path_factory.mktemp("made") / "server")
    for grant in RIGHTS.grants:
        server.access.grant(grant)
    authorities = Authorities.open(server)
    (server.host_keys / "ssh_host_ed25519_key").write_bytes(SECRET)
    for repo in ("garden", "other"):
        authorities.create(repo)
        with authorities.repo(repo, FileAccess) as authority:
            authority.create(SPACE)
    grow(server)
    return server.root


@pytest.fixture
def server(made: Path, tmp_path: Path) -> ServerDir:
    shutil.copytree(made, tmp_path / "server")
    return ServerDir(tmp_path / "server")


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "saved"
