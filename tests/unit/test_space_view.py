"""A view of one space leads to the repo wherever it lies, and is mended where it is not as it should be, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardd.errors import Unavailable
from shardd.git.space_view import repository_of, view


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repo = tmp_path / "server" / "repos" / "garden.git"
    repo.mkdir(parents=True)
    return repo


def test_the_folder_of_views_may_be_a_link_to_another_disk(repo: Path, tmp_path: Path) -> None:
    cache = tmp_path / "server" / "cache"
    elsewhere = tmp_path / "other" / "disk" / "deep"
    elsewhere.mkdir(parents=True)
    cache.symlink_to(elsewhere)
    made = view(repo, "whynot", cache / "garden" / "views")
    assert repository_of(made) == repo.resolve()
    pointer = made / "commondir"
    assert (made.resolve() / pointer.read_text().strip()).resolve() == repo.resolve(), "as the system follows it"


@pytest.mark.parametrize("found", [b"", b"\xff\xfe", b"ref: refs/heads/spaces/other\n"])
def test_a_view_that_says_something_else_is_made_anew(repo: Path, tmp_path: Path, found: bytes) -> None:
    made = view(repo, "whynot", tmp_path / "views")
    for name in ("HEAD", "commondir"):
        (made / name).write_bytes(found)
    assert view(repo, "whynot", tmp_path / "views") == made
    assert (made / "HEAD").read_bytes() == b"ref: refs/heads/spaces/whynot\n"
    assert repository_of(made) == repo.resolve()


def test_a_view_that_cannot_be_made_is_unavailable(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "views").touch()
    with pytest.raises(Unavailable, match="cannot be written"):
        view(repo, "whynot", tmp_path / "views")
