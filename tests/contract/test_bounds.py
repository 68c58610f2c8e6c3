"""The kernel's limits on the gits that look into a repo for others."""

from __future__ import annotations

import re
import resource
import subprocess
from pathlib import Path

import pytest

from shardd.errors import Unavailable
from shardd.files.bounds import Bounds
from shardd.files.settings import Settings
from shardd.git import program as module
from shardd.git.program import Git, bound_own


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    monkeypatch.setattr(module, "_own", None)
    git = Git(tmp_path / "bare.git")
    git.run("init", "--quiet", "--bare", str(git.path))
    return git


def test_a_git_of_ours_is_bounded(git: Git) -> None:
    bound_own(lambda: Bounds(memory=300_000_000, cpu=55))
    with git._open("cat-file", "--batch", stdin=subprocess.PIPE) as child:  # type: ignore[arg-type]
        limits = Path(f"/proc/{child.pid}/limits").read_text()
        assert child.stdin is not None
        child.stdin.close()
    assert re.search(r"Max data size +300000000 +unlimited", limits)
    assert re.search(r"Max cpu time +55 +unlimited", limits)
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def test_one_that_has_no_memory_left_is_an_error(git: Git) -> None:
    """Never an answer."""
    bound_own(lambda: Bounds(memory=20_000_000, cpu=55))
    with pytest.raises(Unavailable, match="ut of memory"):
        git.run("hash-object", "-w", "--stdin", stdin=bytes(60_000_000))


def test_the_defaults_follow_from_what_a_pack_may_hold() -> None:
    settings = Settings(max_pack_bytes=1000)
    assert settings.limits.unpacked_bytes == 8000
    assert settings.git_bounds.memory == 2**30 + 32_000
    assert Settings(max_git_memory_bytes=5, max_unpacked_bytes=7).git_bounds.memory == 5
