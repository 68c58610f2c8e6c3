"""The hooks come along however shardd is installed: wheel, sdist, editable."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from shardd.files import hook_install
from shardd.version import VERSION

ROOT = Path(__file__).parents[2]
SAYING_HOW_TO_INSTALL = ("README.md", "ops/sshd_config.snippet")
HOOKS = sorted(path.name for path in (ROOT / "hooks").iterdir())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is versioned: building writes into the tree."""
    copy = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    return copy


def build(source: Path, kind: str, into: Path) -> Path:
    code = f"import setuptools.build_meta as b; print(b.build_{kind}({str(into)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return into / done.stdout.strip().splitlines()[-1]


def metadata_of(wheel: Path) -> tuple[str, str]:
    """Its metadata and its entry points, as text."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name.rpartition("/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
        return archive.read(names["METADATA"]).decode(), archive.read(names["entry_points.txt"]).decode()


def hooks_in_wheel(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith("shardd/hooks/")]
        return {name.rpartition("/")[2]: archive.read(name) for name in names}


def test_a_wheel_holds_the_hooks(source: Path, tmp_path: Path) -> None:
    found = hooks_in_wheel(build(source, "wheel", tmp_path))
    assert found == {name: (ROOT / "hooks" / name).read_bytes() for name in HOOKS}
    with zipfile.ZipFile(next(tmp_path.rglob("*.whl"))) as archive:
        topics = {path.name for path in (ROOT / "shardd" / "manual").glob("*.md")}
        assert {name for name in topics if f"shardd/manual/{name}" in archive.namelist()} == topics


def test_the_distribution_is_not_somebody_elses(source: Path, tmp_path: Path) -> None:
    metadata, commands = metadata_of(build(source, "wheel", tmp_path))
    assert "\nName: git-shardd\n" in metadata
    assert {"shardd = shardd.cli.main:main", "git-shardd = shardd.cli.main:main"} <= set(commands.splitlines())
    told = re.findall(r"pip install ([\w.-]+)", "".join((ROOT / name).read_text() for name in SAYING_HOW_TO_INSTALL))
    assert told and set(told) <= {"git-shardd", "."}


def test_git_finds_the_command(tmp_path: Path) -> None:
    script = tmp_path / "git-shardd"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m shardd.cli.main "$@"\n')
    script.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["git", "shardd", "--version"], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"shardd {VERSION}\n")


def test_a_wheel_made_from_an_sdist_holds_them_too(source: Path, tmp_path: Path) -> None:
    with tarfile.open(build(source, "sdist", tmp_path)) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert sorted(hooks_in_wheel(build(unpacked, "wheel", tmp_path))) == HOOKS


def test_this_installation_finds_them(tmp_path: Path) -> None:
    folder = hook_install.install(tmp_path, site=hook_install.SERVER_SITE)
    for name in hook_install.SERVER_SIDE:
        assert (folder / name).read_bytes() == (ROOT / "hooks" / name).read_bytes()
        assert (folder / name).stat().st_mode & 0o777 == 0o755
    assert (folder / "interpreter").read_text() == f"{sys.executable}\n"
