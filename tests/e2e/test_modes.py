"""What others may write of a server's directory: nothing, whatever umask it was made under, or it does not start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import SHARDD, make_key, run, run_shardd, surroundings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server's directory, as whoever has no umask makes it, in a folder that was there."""
    home = tmp_path_factory.mktemp("home")
    root, key = home / "server", make_key(home / "carol")
    root.mkdir(mode=0o755)
    for words in (
        ["init", str(root), "--admin", "carol", f"{key}.pub"],
        ["--dir", str(root), "repo", "create", "garden"],
        ["--dir", str(root), "space", "create", "garden/whynot"],
    ):
        shell = ["sh", "-c", 'umask 000; exec "$@"', "sh", *SHARDD, *words]
        run(shell, cwd=home, env=surroundings(home)).must()
    yield root


def test_nothing_is_for_others_to_write(made: Path) -> None:
    open_to_all = [path for path in [made, *made.rglob("*")] if not path.is_symlink() and path.stat().st_mode & 0o022]
    assert open_to_all == []


@pytest.mark.parametrize(
    ("path", "mode", "says"),
    [
        (".", 0o777, "others may write it (mode 777)"),
        ("hooks", 0o777, "others may write it (mode 777)"),
        ("access.toml", 0o666, "others may write it (mode 666)"),
        ("repos/garden.git/config", 0o666, "others may write it (mode 666)"),
        ("host_keys/ssh_host_ed25519_key", 0o666, "others may write it (mode 666)"),
        ("host_keys/ssh_host_ed25519_key", 0o640, "others may read it (mode 640)"),
    ],
)
def test_a_server_that_others_may_write_does_not_start(made: Path, path: str, mode: int, says: str) -> None:
    place = made / path
    before = place.stat().st_mode & 0o777
    place.chmod(mode)
    try:
        refused = run_shardd(made.parent, "--dir", str(made), "serve", "--listen", "127.0.0.1:0")
        assert refused.status == 3
        assert says in refused.stderr
        assert "chmod" in refused.stderr
    finally:
        place.chmod(before)


def test_it_is_not_made_where_others_may_write(tmp_path: Path) -> None:
    root = tmp_path / "server"
    root.mkdir()
    root.chmod(0o777)
    refused = run_shardd(tmp_path, "init", str(root))
    assert refused.status == 1
    assert f"others may write {root}" in refused.stderr
    assert list(root.iterdir()) == []
