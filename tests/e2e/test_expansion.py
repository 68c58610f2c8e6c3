"""A small pack that expands to gigabytes: what the gits of the server have in memory at most."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.e2e.conftest import begin
from tests.e2e.harness import DEADLINE, Actor, Garden, Server, wait_until
from tests.packs import ZERO, Pack, commit, copied, oid_of, push

MB = 2**20
SETTINGS = "max-pack-bytes = 2097152\n"
BORNE = 32 * MB  # of one git; the packs below would take up to ten times as much

# Runs the real git, and notes the most memory that it or anything it started has had.
WRAPPER = """#!{python} -IS
import os, resource, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(
    [{git!r}, *sys.argv[1:]], close_fds=False, preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL)
)
status = child.wait()
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
with open({notes!r}, "a") as notes:
    notes.write(f"{{peak}} {{' '.join(sys.argv[1:])}}\\n")
sys.exit(status if status >= 0 else 128 - status)
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("watched") / "peaks"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Path], notebook: Path) -> Iterator[Server]:
    """Its git is watched."""
    bin = notebook.parent / "bin"
    bin.mkdir()
    git = bin / "git"
    git.write_text(WRAPPER.format(python=sys.executable, git=shutil.which("git"), notes=str(notebook)))
    git.chmod(0o755)
    server = begin(tmp_path_factory.mktemp("stage"), keys, settings=SETTINGS)
    server.stop()
    server.start({"PATH": f"{bin}:{os.environ['PATH']}"})
    yield server
    server.stop()
    server.fsck()


def largest(notebook: Path) -> int:
    """Bytes that any git of the server had at once, so far."""
    return max(int(line.split()[0]) for line in notebook.read_text().splitlines()) * 1024


def pushes(notebook: Path) -> int:
    """How many receive-packs have come to their end."""
    return sum(" receive-pack " in line for line in notebook.read_text().splitlines())


def sends(who: Actor, repo: str, data: bytes) -> str:
    """What receive-pack answers to these bytes."""
    words = [*who.ssh_words, "-p", str(who.server.port), "127.0.0.1", f"git-receive-pack {repo}.git"]
    with subprocess.Popen(
        words, env=who.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as ssh:
        assert ssh.stdout is not None
        advertised = ssh.stdout.read(4)  # as a git would wait for it
        said, complaint = ssh.communicate(data, timeout=DEADLINE)
    return (advertised + said + complaint).decode(errors="replace")


@cache
def commits() -> tuple[str, bytes]:
    """Forty commits of 6 MB in 240 KB."""
    pack = Pack()
    tip, tree = "", pack.put("tree", b"")
    for i in range(40):
        tip = pack.put("commit", commit(tree, [tip] if tip else [], b"%d\n" % i + b"a" * (6 * MB)))
    return tip, pack.bytes()


@cache
def zeros() -> tuple[str, bytes]:
    """One blob of 300 MB."""
    pack = Pack()
    blob = pack.put("blob", bytes(300 * MB))
    tree = pack.put("tree", b"100644 x\0" + bytes.fromhex(blob))
    return pack.put("commit", commit(tree)), pack.bytes()


@cache
def chain() -> tuple[str, bytes]:
    """Deltas upon deltas, 400 deep, each of which makes 256 KB of next to nothing."""
    pack = Pack()
    base = bytes(256 * 1024)
    oid = pack.put("blob", base)
    for i in range(400):
        pack.delta(oid, copied(len(base), b"%08d" % i))
        base = b"%08d" % i + base[8:]
        oid = oid_of("blob", base)
    tree = pack.put("tree", b"100644 x\0" + bytes.fromhex(oid))
    return pack.put("commit", commit(tree)), pack.bytes()


@cache
def wide() -> tuple[str, bytes]:
    """A tree of 500,000 entries."""
    pack = Pack()
    blob = bytes.fromhex(pack.put("blob", b""))
    tree = pack.put("tree", b"".join(b"100644 %08d\0" % i + blob for i in range(500_000)))
    return pack.put("commit", commit(tree)), pack.bytes()


def nothing_brought(garden: Garden) -> bool:
    """Nothing incoming is left. A git that is ended as it begins leaves an empty folder, for the doctor to find."""
    incoming = (path for folder in (garden.path / "objects").glob("tmp_*") for path in folder.rglob("*"))
    return not any(path.is_file() for path in incoming)


BOMBS: dict[str, Callable[[], tuple[str, bytes]]] = {"commits": commits, "zeros": zeros, "chain": chain, "wide": wide}


@pytest.mark.parametrize("ref", ["refs/notes/mallory", "refs/heads/spaces/whynot"])
@pytest.mark.parametrize("what", BOMBS)
def test_what_a_pack_expands_to_is_bounded(
    garden: Garden, alice: Actor, mallory: Actor, notebook: Path, what: str, ref: str
) -> None:
    """To notes, which a reader may push, and to a space, by its holder: refused, in words, and without the memory."""
    who = mallory if "notes" in ref else alice
    if who is alice:
        alice.acquire(garden)
    tip, pack = BOMBS[what]()
    before, seen = garden.refs(), pushes(notebook)
    old = garden.head() if who is alice else ZERO
    said = sends(who, garden.repo, push([(old, tip, ref)], pack))
    assert "shardd: too-large: " in said
    assert f"ng {ref} too-large: " in said
    assert garden.refs() == before
    wait_until(lambda: pushes(notebook) > seen, "the git of the push is gone")
    wait_until(lambda: nothing_brought(garden), "so is what it brought")
    assert largest(notebook) < BORNE


def within(garden: Garden, objects: int) -> tuple[str, bytes]:
    """Notes as they may be: one blob each of 50 KB that hardly compress."""
    pack = Pack()
    entries = b"".join(
        b"100644 %03d\0" % i + bytes.fromhex(pack.put("blob", os.urandom(25_000).hex().encode()))
        for i in range(objects)
    )
    return pack.put("commit", commit(pack.put("tree", entries))), pack.bytes()


def test_the_largest_that_is_taken(garden: Garden, mallory: Actor, notebook: Path) -> None:
    """What the bounds let through costs git no more than the bounds say; the same for whoever fetches it."""
    seen = pushes(notebook)
    tip, pack = within(garden, 60)
    assert "ok refs/notes/mallory" in sends(mallory, garden.repo, push([(ZERO, tip, "refs/notes/mallory")], pack))
    wait_until(lambda: pushes(notebook) > seen, "the git of the push is gone")
    mallory.clone(garden)
    mallory.git("fetch", "--quiet", "origin", "refs/notes/*:refs/notes/*")
    assert largest(notebook) < BORNE
