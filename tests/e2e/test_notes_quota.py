"""How much a reader may keep in notes, on a server that allows little."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import begin
from tests.e2e.harness import Actor, Garden, Server
from tests.packs import ZERO, Pack, commit, oid_of, push

SETTINGS = "max-commit-bytes = 2000\nmax-note-bytes = 3000\nmax-notes-bytes = 20000\nmax-notes-objects = 40\n"
REF = "refs/notes/mallory"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Path]) -> Iterator[Server]:
    server = begin(tmp_path_factory.mktemp("stage"), keys, settings=SETTINGS)
    yield server
    server.stop()
    server.fsck()


@pytest.fixture(autouse=True)
def mallory_has_a_clone(garden: Garden, mallory: Actor) -> None:
    mallory.clone(garden)


def note(who: Actor, text: str) -> None:
    head = who.git("rev-parse", "origin/spaces/whynot")
    who.git("notes", "--ref", who.name, "append", "--file=-", head, input=text.encode())


def test_a_large_note_and_a_large_commit_of_notes(garden: Garden, mallory: Actor) -> None:
    note(mallory, "x" * 2990)
    mallory.push("origin", REF)
    note(mallory, "y" * 50)
    garden.refuses("too-large", mallory, "origin", REF, says=["3000 are allowed"])
    tree = mallory.git("rev-parse", f"{REF}~1^{{tree}}")
    long = mallory.git("commit-tree", tree, "-p", f"{REF}~1", input=b"z" * 2500)
    says = [f"commit {long[:12]} has", "2000 are allowed"]
    garden.refuses("too-large", mallory, "origin", f"{long}:{REF}", says=says)


def test_all_notes_of_one_principal_count_with_their_history(garden: Garden, mallory: Actor, alice: Actor) -> None:
    """Pushed bit by bit, each within the bounds; what was removed is still in the history."""
    for i in range(6):
        note(mallory, f"{i}" * 2500)
        mallory.push("origin", REF)
        mallory.git("notes", "--ref", "mallory", "remove", mallory.git("rev-parse", "origin/spaces/whynot"))
    mallory.push("origin", REF)
    note(mallory, "more" * 500)
    says = [f"{REF} would hold more than 40 objects or 20000 bytes", "max-notes-bytes in config.toml"]
    garden.refuses("too-large", mallory, "origin", REF, says=says)
    alice.clone(garden)
    note(alice, "somebody else's count for themselves")
    alice.push("origin", "refs/notes/alice")


def test_many_small_notes(garden: Garden, mallory: Actor) -> None:
    for i in range(13):
        note(mallory, f"{i}")
    mallory.push("origin", REF)
    note(mallory, "one more")
    garden.refuses("too-large", mallory, "origin", REF, says=["would hold more than 40 objects"])


def test_what_the_ref_does_not_need_is_not_stored(garden: Garden, mallory: Actor) -> None:
    """A pack of a hand's making: what nothing names counts nowhere, and would lie there for ever."""
    pack = Pack()
    tip = pack.put("commit", commit(pack.put("tree", b"")))
    stray = pack.put("blob", b"stray")
    words = [*mallory.ssh_words, "-p", str(mallory.server.port), "127.0.0.1", f"git-receive-pack {garden.repo}.git"]
    sent = push([(ZERO, tip, REF)], pack.bytes())
    said = subprocess.run(words, env=mallory.env(), input=sent, capture_output=True, check=False).stdout
    assert b"too-large: the pack holds 1 objects that refs/notes/mallory does not need" in said
    assert not garden.server.git(garden.repo, "cat-file", "-e", stray).ok
    # Needed or there already is fine: the empty tree is.
    alone = Pack()
    tree = alone.put("tree", b"100644 a\0" + bytes.fromhex(alone.put("blob", os.urandom(9))))
    tip = alone.put("commit", commit(tree))
    assert alone.put("tree", b"") == oid_of("tree", b"")
    sent = push([(ZERO, tip, REF)], alone.bytes())
    said = subprocess.run(words, env=mallory.env(), input=sent, capture_output=True, check=False).stdout
    assert b"ok refs/notes/mallory" in said
