"""Each thing the doctor looks for, made by hand: it is found, and `--fix` mends it where that is safe."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from shardd.authority.appending import append_drafts
from shardd.authority.authorities import Authorities
from shardd.authority.facts import Pusher
from shardd.authority.lease_clock import Mark
from shardd.authority.lease_store import LeaseStore, Record
from shardd.cli.main import main
from shardd.core.lease import Acquire
from shardd.core.roles import FileAccess
from shardd.files.server_dir import ServerDir
from shardd.git.program import Git
from shardd.git.ref_locks import MARK
from shardd.version import VERSION
from tests.drafting import drafts

REPO = "repos/garden.git"
TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "server"
    server = ServerDir.create(root)
    authorities = Authorities.open(server)
    authorities.create("garden")
    (root / "host_keys" / "ed25519").write_text("secret")
    (root / "host_keys" / "ed25519").chmod(0o600)
    with authorities.repo("garden", FileAccess) as authority:
        authority.create("whynot")
        authority.change("whynot", Acquire("alice"))
        append_drafts(authority, "whynot", drafts("alice"), Pusher("alice"), epoch=None)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "server", symlinks=True)
    return tmp_path / "server"


def doctor(root: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[dict[str, object]]]:
    """The exit status and the findings."""
    status = main(["--dir", str(root), "doctor", "--json", *options])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return status, [line for line in lines if line.get("level") in ("broken", "warning")]


def git(root: Path, *words: str) -> str:
    return Git(root / REPO).run(*words).decode().strip()


def old(path: Path) -> None:
    os.utime(path, (1, 1))


def replace_ref(root: Path) -> None:
    head = git(root, "rev-parse", "spaces/whynot")
    git(root, "update-ref", f"refs/replace/{head}", head)


def leases(root: Path) -> tuple[LeaseStore, Record, Mark]:
    store = LeaseStore(root / REPO / "shardd")
    record, mark = store.look("whynot")
    assert record is not None
    assert mark is not None
    return store, record, mark


def behind_journal(root: Path) -> None:
    store, record, mark = leases(root)
    store.save(replace(record, journal=TREE, entry=None), mark)


def torn_index(root: Path) -> None:
    (root / REPO / "shardd/index/whynot.db").write_bytes(b"SQLite format 3\0" + b"x" * 4096)


def foreign_index(root: Path) -> None:
    with closing(sqlite3.connect(root / REPO / "shardd/index/whynot.db")) as connection, connection:
        connection.execute("UPDATE head SET oid = ?", (TREE,))


def ahead(root: Path) -> None:
    store, record, mark = leases(root)
    store.save(record, replace(mark, time=mark.time + 3_600_000))


def touched(name: str, *, age: bool = True) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        if age:
            old(path)

    return make


def killed_git(root: Path) -> None:
    (root / REPO / "refs/heads/spaces/whynot.lock").touch(mode=0o666 & ~MARK)


def folder(name: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / name / "pack").mkdir(parents=True)
        old(root / name / "pack")
        old(root / name)

    return make


def kept(text: str, *, age: bool = True) -> Callable[[Path], None]:
    """An incomplete pack under a keep."""

    def make(root: Path) -> None:
        base = root / REPO / "objects/pack" / f"pack-{'0' * 40}"
        base.with_suffix(".keep").write_text(f"{text}\n")
        if text.startswith("shardd"):
            base.with_suffix(".pack").write_bytes(b"PACK")
        if age:
            old(base.with_suffix(".keep"))

    return make


HOOK = f"hooks/{VERSION}/pre-receive"

# What is done, how bad it is, what is said of it, and whether --fix mends it.
DAMAGE: dict[str, tuple[Callable[[Path], object], str, str, bool]] = {
    "setting": (lambda r: git(r, "config", "receive.procReceiveRefs", "refs/x"), "broken",
                "receive.procReceiveRefs is refs/x, and must be refs/", True),
    "no setting": (lambda r: git(r, "config", "--unset", "receive.fsckObjects"), "broken",
                   "receive.fsckObjects is not set", True),
    "twice": (lambda r: git(r, "config", "--add", "core.hooksPath", "/tmp"), "broken", "core.hooksPath is ", True),
    "hook gone": (lambda r: (r / HOOK).unlink(), "broken", "the hook is missing", True),
    "hook changed": (lambda r: (r / HOOK).write_text("#!/bin/sh\n"), "broken", "is not the hook of version", True),
    "hook mode": (lambda r: (r / HOOK).chmod(0o644), "broken", "is not executable", True),
    "interpreter": (lambda r: (r / f"hooks/{VERSION}/interpreter").write_text("/nonexistent\n"), "broken",
                    "/nonexistent is no program that runs", True),
    "other python": (lambda r: (r / f"hooks/{VERSION}/interpreter").write_text("/bin/sh\n"), "warning",
                     f"this is {sys.executable}", True),
    "host key": (lambda r: (r / "host_keys/ed25519").chmod(0o644), "broken", "others may read it (mode 644)", True),
    "directory": (lambda r: r.chmod(0o777), "broken", "others may write it (mode 777)", True),
    "access": (lambda r: (r / "access.toml").write_text("[roles\n"), "broken", "access.toml", False),
    "settings": (lambda r: (r / "config.toml").write_text("speed = 9\n"), "broken", "server/config.toml: /", False),
    "head": (lambda r: git(r, "symbolic-ref", "HEAD", "refs/heads/main"), "warning",
             "a clone checks nothing out", True),
    "replace": (replace_ref, "broken", "replaces an object", False),
    "stray ref": (lambda r: git(r, "update-ref", "refs/heads/main", "spaces/whynot"), "warning",
                  "is none that this repo takes", False),
    "symbolic": (lambda r: git(r, "symbolic-ref", "refs/heads/spaces/alias", "refs/heads/spaces/whynot"), "broken",
                 "is a symbolic ref", False),
    "orphan": (lambda r: git(r, "update-ref", "refs/leases/gone", "refs/leases/whynot"), "warning",
               "belongs to no space: gone does not exist", False),
    "stale lock": (killed_git, "broken", "a killed git left", True),
    "old lock": (touched(f"{REPO}/refs/heads/spaces/whynot.lock"), "broken", "a killed git left", True),
    "young lock": (touched(f"{REPO}/refs/heads/spaces/whynot.lock", age=False), "warning", "another git holds", False),
    "packed lock": (touched(f"{REPO}/packed-refs.lock", age=False), "warning", "another git holds", False),
    "import": (folder(f"{REPO}/objects/tmp_objdir-shardd-x"), "warning", "left behind by a process", True),
    "aside": (folder(f"{REPO}/shardd/aside-x"), "warning", "left behind by a process", True),
    "dulwich": (touched(f"{REPO}/objects/pack/tmpabcdef.pack"), "warning", "left behind by a process", True),
    "keep": (kept("shardd 1 whynot", age=False), "warning", "left behind by a process", True),
    "git's keep": (kept(f"receive-pack 99999999 on {socket.gethostname()}"), "warning",
                   "left behind by a process", True),
    "no index": (touched(f"{REPO}/objects/pack/pack-{'1' * 40}.pack"), "warning", "has no index", False),
    "incoming": (folder(f"{REPO}/objects/tmp_objdir-incoming-x"), "warning", "left behind by a process", True),
    "pack": (touched(f"{REPO}/objects/pack/tmp_pack_x"), "warning", "left behind by a process", True),
    "new repo": (folder("repos/.new-x"), "warning", "left behind by a process", True),
    "index": (foreign_index, "warning", "knows a head of whynot that is none", True),
    "torn index": (torn_index, "warning", "is damaged", True),
    "old index": (touched(f"{REPO}/shardd/index.db"), "warning", "is of an earlier shardd", True),
    "half an index": (touched(f"{REPO}/shardd/index/.whynot.x"), "warning", "left behind by a process", True),
    "half a lease": (touched(f"{REPO}/shardd/leases/.whynot.x"), "warning", "left behind by a process", True),
    "torn leases": (lambda r: (r / REPO / "shardd/leases/whynot").write_bytes(b'{"version":1,"tenancy":'),
                    "broken", "cannot be read", False),
    "journal": (behind_journal, "warning", "do not agree", True),
    "clock": (ahead, "warning", "s ahead of the wall clock", False),
    "grafts": (touched(f"{REPO}/info/grafts"), "broken", "another history", False),
}  # fmt: skip


def test_a_sound_directory_is_nothing_to_complain_about(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(root, capsys) == (0, [])
    assert main(["--dir", str(root), "doctor"]) == 0
    assert capsys.readouterr().out == "nothing to complain about\n"


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_found_and_what_is_safe_is_mended(
    root: Path, damage: tuple[Callable[[Path], object], str, str, bool], capsys: pytest.CaptureFixture[str]
) -> None:
    make, level, says, fixable = damage
    make(root)
    status, found = doctor(root, capsys)
    about = [each for each in found if says in f"{each['where']}: {each['message']}"]
    assert len(about) == 1, found
    assert (about[0]["level"], about[0]["fixable"]) == (level, fixable)
    assert about[0]["remedy"]
    assert status == (4 if any(each["level"] == "broken" for each in found) else 0)
    _, treated = doctor(root, capsys, "--fix")
    assert [each["mended"] for each in treated if says in f"{each['where']}: {each['message']}"] == [fixable]
    status, left = doctor(root, capsys)
    assert bool(left) is not fixable
    if fixable:
        assert status == 0


def test_the_remedy_for_a_symbolic_ref_spares_what_it_points_at(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = git(root, "for-each-ref")
    git(root, "symbolic-ref", "refs/heads/spaces/alias", "refs/heads/spaces/whynot")
    _, (found,) = doctor(root, capsys)
    subprocess.run(shlex.split(str(found["remedy"])), check=True)
    assert git(root, "for-each-ref") == before
    assert doctor(root, capsys) == (0, [])


def test_what_is_young_may_be_somebodys(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touched(f"{REPO}/objects/pack/tmp_pack_x", age=False)(root)
    assert doctor(root, capsys, "--fix") == (0, [])
    assert (root / REPO / "objects/pack/tmp_pack_x").exists()


def test_an_old_folder_with_something_young_in_it_may_be_somebodys(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A push that has been coming in for long: only the files in its folder change."""
    folder(f"{REPO}/objects/tmp_objdir-incoming-x")(root)
    (root / REPO / "objects/tmp_objdir-incoming-x/pack/tmp_pack_y").touch()
    old(root / REPO / "objects/tmp_objdir-incoming-x/pack")
    assert doctor(root, capsys, "--fix") == (0, [])
    assert (root / REPO / "objects/tmp_objdir-incoming-x/pack/tmp_pack_y").exists()


def test_people_read_the_remedy_and_what_fix_would_do(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(root, "config", "gc.auto", "6700")
    assert main(["--dir", str(root), "doctor"]) == 4
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"broken: {root}/{REPO}/config: gc.auto is 6700, and must be 0",
        f"  to mend it: git -C {root}/{REPO} config --replace-all gc.auto 0 (--fix does it)",
    ]
    assert "1 finding to be mended" in said.err
    assert main(["--dir", str(root), "doctor", "--fix"]) == 0
    assert capsys.readouterr().out == f"mended: {root}/{REPO}/config: gc.auto is 6700, and must be 0\n"
