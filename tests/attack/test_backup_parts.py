"""Backups that lack a part, and servers of which a part cannot be backed up."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shardd.authority.authorities import Authorities
from shardd.core.lease import Acquire
from shardd.core.refs import lease_ref, space_ref
from shardd.core.roles import FileAccess
from shardd.errors import Corrupt
from shardd.files.server_dir import ServerDir
from shardd.git.repository import Repository
from shardd.upkeep.restore import restore
from shardd.upkeep.verify import spaces_in
from tests.attack.saving import SPACE, backup, git, grow, make_ref, mirror, oid, whole
from tests.attack.test_debris import as_the_first_shardd_kept_it


def drop(*names: str) -> Callable[[Path], None]:
    def change(dest: Path) -> None:
        for name in names:
            path = dest / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def cut(pattern: str) -> Callable[[Path], None]:
    def change(dest: Path) -> None:
        paths = [path for path in dest.glob(pattern) if path.is_file()]
        assert paths
        for path in paths:
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return change


def emptied(pattern: str) -> Callable[[Path], None]:
    def change(dest: Path) -> None:
        for path in dest.glob(pattern):
            if path.is_file():
                path.write_bytes(b"")

    return change


def without(prefix: str) -> Callable[[Path], None]:
    def change(dest: Path) -> None:
        path = mirror(dest) / "packed-refs"
        path.write_text("".join(line for line in path.read_text().splitlines(True) if prefix not in line))

    return change


def renamed(dest: Path) -> None:
    """A ref that names nothing."""
    path = mirror(dest) / "packed-refs"
    lines = path.read_text().splitlines(True)
    path.write_text("".join(f"{'1' * 40}{line[40:]}" if "/wiki/" in line else line for line in lines))


COPY = "repos/garden.git"
LEASE_FILES = f"{COPY}/shardd/leases"
LACKS = [
    (drop("files"), "files/access.toml is missing"),
    (drop("files/access.toml"), "files/access.toml is missing"),
    (drop("files/host_keys"), "files/host_keys/ssh_host_ed25519_key is missing"),
    (cut("files/access.toml"), "files/access.toml is not what was saved"),
    (emptied("files/host_keys/*"), "files/host_keys/ssh_host_ed25519_key is not what was saved"),
    (drop("repos"), f"{COPY} is missing"),
    (drop(COPY), f"{COPY} is missing"),
    (drop(f"{COPY}/HEAD"), f"{COPY}/HEAD is missing"),
    (emptied(f"{COPY}/HEAD"), f"{COPY}/HEAD is not what was saved"),
    (emptied(f"{COPY}/config"), f"{COPY}/config is not what was saved"),
    (drop(f"{COPY}/packed-refs"), f"{space_ref(SPACE)} of {COPY} is missing"),
    (emptied(f"{COPY}/packed-refs"), f"{space_ref(SPACE)} of {COPY} is missing"),
    (cut(f"{COPY}/packed-refs"), COPY),
    (without("refs/leases/"), f"{lease_ref(SPACE)} of {COPY} is missing"),
    (without("refs/heads/wiki/"), f"the refs of {COPY} are not what was saved"),
    (drop(f"{COPY}/shardd"), f"{LEASE_FILES}/{SPACE} is missing"),
    (drop(f"{LEASE_FILES}/{SPACE}"), f"{LEASE_FILES}/{SPACE} is missing"),
    (emptied(f"{LEASE_FILES}/*"), f"{LEASE_FILES}/{SPACE} cannot be read"),
    (cut(f"{LEASE_FILES}/*"), f"{LEASE_FILES}/{SPACE} cannot be read"),
    (drop(f"{COPY}/objects"), f"{COPY}/objects is missing"),
    (renamed, "names 111111111111, which is missing"),
]


@pytest.mark.parametrize(("change", "says"), LACKS, ids=lambda each: each if isinstance(each, str) else "")
def test_a_backup_that_lacks_something_is_not_restored(
    server: ServerDir, dest: Path, tmp_path: Path, change: Callable[[Path], None], says: str
) -> None:
    garden = server.repo_path("garden")
    make_ref(garden, b"refs/heads/wiki/page", oid(garden) or "")
    backup(server, dest)
    change(dest)
    before = set(tmp_path.iterdir())
    with pytest.raises(Corrupt, match=re.escape(says)) as found:
        restore(dest, tmp_path / "again")
    assert found.value.remedy
    assert set(tmp_path.iterdir()) == before, "nothing was made"
    if mirror(dest).exists() and not says.startswith("files"):
        with pytest.raises(Corrupt, match=re.escape(says)) as found:
            backup(server, dest)
        assert f"move {mirror(dest)} away" in found.value.remedy


def test_a_backup_of_the_first_format_is_restored_and_goes_on(server: ServerDir, dest: Path, tmp_path: Path) -> None:
    """It did not say what it holds."""
    backup(server, dest)
    said = json.loads((dest / "BACKUP").read_bytes())
    first = {"format": 1, "made": said["made"], "shardd": "0.1.0", "source": said["source"]}
    (dest / "BACKUP").write_text(json.dumps(first))
    as_the_first_shardd_kept_it(mirror(dest), SPACE)
    git(mirror(dest), "update-ref", "refs/heads/wiki/loose", oid(mirror(dest)) or "")
    copy = shutil.copytree(dest, tmp_path / "lacking")
    (copy / "files" / "access.toml").unlink()
    with pytest.raises(Corrupt, match=re.escape("access.toml")):
        restore(copy, tmp_path / "lacking-again")
    assert restore(dest, tmp_path / "again").made == said["made"]
    whole(ServerDir(tmp_path / "again").repo_path("garden"))
    grow(server)
    backup(server, dest)
    assert json.loads((dest / "BACKUP").read_bytes())["format"] == 2
    restore(dest, tmp_path / "once-more")
    whole(ServerDir(tmp_path / "once-more").repo_path("garden"))


def test_a_damaged_repo_of_a_backup_is_taken_anew_once_it_is_moved_away(
    server: ServerDir, dest: Path, tmp_path: Path
) -> None:
    backup(server, dest)
    (mirror(dest) / "HEAD").unlink()
    (dest / "files" / "access.toml").write_bytes(b"")
    grow(server)
    grow(server, "other")
    with pytest.raises(Corrupt, match=r"repos/garden\.git/HEAD is missing"):
        backup(server, dest)
    assert oid(mirror(dest, "other")) == oid(server.repo_path("other")), "the rest is taken"
    mirror(dest).rename(tmp_path / "moved")
    backup(server, dest)
    restore(dest, tmp_path / "again")
    assert oid(tmp_path / "again" / COPY) == oid(server.repo_path("garden"))


@pytest.mark.parametrize("way", ["cut", "dropped"])
def test_a_backup_whose_objects_are_gone_is_corrupt(server: ServerDir, dest: Path, tmp_path: Path, way: str) -> None:
    backup(server, dest)
    git(mirror(dest), "gc", "-q")
    restore(dest, tmp_path / "packed")
    parent = git(mirror(dest), "rev-parse", f"{space_ref(SPACE)}~1")
    if way == "cut":
        cut(f"{COPY}/objects/pack/*.pack")(dest)
    else:
        for pack in mirror(dest).glob("objects/pack/*.pack"):
            moved = pack.rename(tmp_path / "pack")
            for left in pack.parent.glob("*"):
                left.unlink()
            git(mirror(dest), "unpack-objects", "-q", stdin=moved.read_bytes())
            moved.unlink()
        (mirror(dest) / "objects" / parent[:2] / parent[2:]).unlink()
    before = set(tmp_path.iterdir())
    with pytest.raises(Corrupt, match=r"repos/garden\.git") as found:
        restore(dest, tmp_path / "again")
    assert found.value.remedy
    assert set(tmp_path.iterdir()) == before


ODD = [
    b"refs/heads/spaces/Foo",
    b"refs/heads/spaces/whynot.x/y",
    "refs/heads/wiki/a\u2028b".encode(),
    "refs/heads/wiki/a\x85b\u2029".encode(),
    b"refs/heads/wiki/caf\xe9",
    "refs/heads/spaces/\u2028".encode(),
    b"refs/leases/nobody's",
    b"refs/odd",
    *(f"refs/heads/{folder}/{name}".encode() for folder in ("spaces", "plain") for name in ("a'b", "-dash", "UP/lo")),
]


def test_refs_of_odd_names_come_along_and_stop_nothing(server: ServerDir, dest: Path, tmp_path: Path) -> None:
    garden = server.repo_path("garden")
    tip = oid(garden)
    assert tip is not None
    for name in ODD:
        make_ref(garden, name, tip)
    backup(server, dest)
    root = tmp_path / "again"
    restore(dest, root)
    for path in (mirror(dest), root / "repos" / "garden.git"):
        with Repository(path) as repository:
            refs = repository.refs_below("refs/")
            assert [refs.get(os.fsdecode(name)) for name in ODD] == [tip] * len(ODD)
            assert repository.read_ref(os.fsdecode(ODD[4])) == tip
            assert [each.space for each in spaces_in(repository.git, bare=True)] == [SPACE]
        whole(path)
    backup(server, dest)
    doctor = subprocess.run(
        [sys.executable, "-m", "shardd.cli.main", "--dir", str(server.root), "doctor", "--json"],
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in doctor.stderr
    assert doctor.stdout.count(b"is none that this repo takes") == len(ODD)
    garden.joinpath("refs/odd").unlink()
    backup(server, dest)
    assert oid(mirror(dest), "refs/odd") is None, "what is no log goes as it came"


def test_what_cannot_be_copied_keeps_nothing_else_from_it(server: ServerDir, dest: Path, tmp_path: Path) -> None:
    backup(server, dest)
    garden = server.repo_path("garden")
    with Authorities.open(server).repo("garden", FileAccess) as authority:
        authority.create("second")
    grow(server)
    grow(server, "other")
    kept = oid(garden)
    assert kept is not None
    make_ref(garden, b"refs/heads/wiki/lost", "1" * 40)
    make_ref(garden, b"refs/heads/wiki/torn", "abc")
    (garden / "refs/heads/wiki/empty").touch()
    make_ref(garden, b"refs/heads/wiki/fine", kept)
    (garden / space_ref("third")).write_text(f"ref: {space_ref('second')}\n")
    with pytest.raises(Corrupt) as found:
        backup(server, dest)
    assert "refs/heads/wiki/lost in the repo garden cannot be copied" in found.value.message
    assert f"{space_ref('third')} in the repo garden cannot be copied: it is a symbolic ref" in found.value.message
    assert "refs/heads/wiki/torn in the repo garden cannot be copied" in found.value.message
    assert "refs/heads/wiki/empty in the repo garden cannot be copied" in found.value.message
    assert oid(mirror(dest)) == kept
    assert oid(mirror(dest), space_ref("second")) is not None
    assert oid(mirror(dest), "refs/heads/wiki/fine") == kept
    assert oid(mirror(dest, "other")) == oid(server.repo_path("other"))
    whole(mirror(dest))
    restore(dest, tmp_path / "again")


def test_a_space_that_went_back_keeps_the_others_from_nothing(server: ServerDir, dest: Path) -> None:
    garden = server.repo_path("garden")
    with Authorities.open(server).repo("garden", FileAccess) as authority:
        authority.create("second")
    backup(server, dest)
    kept = oid(mirror(dest))
    git(garden, "update-ref", space_ref(SPACE), f"{space_ref(SPACE)}~1")
    with Authorities.open(server).repo("garden", FileAccess) as authority:
        epoch = authority.change("second", Acquire("alice")).epoch
    with pytest.raises(Corrupt, match="has gone back"):
        backup(server, dest)
    assert oid(mirror(dest)) == kept
    assert oid(mirror(dest), lease_ref("second")) is not None
    assert epoch == 1


def test_a_repo_that_is_gone_is_missed(server: ServerDir, dest: Path, tmp_path: Path) -> None:
    backup(server, dest)
    server.repo_path("garden").rename(tmp_path / "elsewhere")
    grow(server, "other")
    kept = oid(mirror(dest))
    for _ in range(2):
        with pytest.raises(
            Corrupt, match="the whole repo garden is in the backup and no longer on the server"
        ) as found:
            backup(server, dest)
        assert f"move {mirror(dest)} away" in found.value.remedy
    assert oid(mirror(dest, "other")) == oid(server.repo_path("other"))
    assert oid(mirror(dest)) == kept
    restore(dest, tmp_path / "again")
    mirror(dest).rename(tmp_path / "moved")
    backup(server, dest)
    restore(dest, tmp_path / "without")
