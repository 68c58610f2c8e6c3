"""Whole logs through a real server: imported from standard input, exported, migrated, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shardd import GitLog, MemoryLog, Rejected, RemoteLog, import_jsonl, migrate_space
from tests.e2e.harness import SHARDD, Actor, Garden, Result, Server, run, wait_until


def line(seq: int, **changes: Any) -> dict[str, Any]:
    return {
        "seq": seq,
        "timestamp": f"2026-06-15T10:00:00.{seq:06d}Z",
        "actor": ["ann", "Bob <bob@example.org>"][seq % 2],
        "type": "page.bound",
        "payload": {"page": f"Page{seq}"},
        **changes,
    }


def lines(*numbers: int) -> bytes:
    return b"".join(json.dumps(line(n)).encode() + b"\n" for n in numbers)


@pytest.fixture
def importer(garden: Garden, carol: Actor, alice: Actor) -> Actor:
    """alice, who may append and import."""
    carol.ssh(f"role grant alice import {garden.repo}/*")
    return alice


def shardd(who: Actor, *words: str, input: bytes = b"") -> Result:
    return run([*SHARDD, *words], cwd=who.cwd, env=who.env(), input=input)


def expected(tmp_path: Path, raw: bytes) -> str:
    """The head at which any import of these lines arrives."""
    path = tmp_path / "expected.jsonl"
    path.write_bytes(raw)
    return import_jsonl(MemoryLog(), "whynot", path).head.oid


def test_a_log_comes_in_over_ssh_and_goes_out_the_same(garden: Garden, importer: Actor, tmp_path: Path) -> None:
    raw = lines(*range(1, 201))
    importer.acquire(garden)
    foretold = importer.try_ssh(f"import {garden} - --dry-run --json", input=raw).must().stdout
    assert garden.subjects() == []
    done = json.loads(importer.try_ssh(f"import {garden} - --json", input=raw).must().stdout)
    assert {**json.loads(foretold), "dry_run": False} == done
    assert (done["events"], done["seq"], done["oid"]) == (200, 200, expected(tmp_path, raw))
    assert garden.head() == done["oid"]

    importer.clone(garden)
    out = importer.ssh(f"export {garden}").encode()
    assert shardd(importer, "export").must().stdout.encode() == out
    shardd(importer, "export", "-o", "mine.jsonl").must()
    garden.server.host("export", str(garden), "-o", str(tmp_path / "host.jsonl")).must()
    assert (importer.cwd / "mine.jsonl").read_bytes() == (tmp_path / "host.jsonl").read_bytes() == out
    there = ("--server", garden.server.url, "export", str(garden))
    assert shardd(importer, *there).must().stdout.encode() == out
    refused = shardd(importer, *there, "-o", "mine.jsonl")
    assert refused.status == 1 and "mine.jsonl exists already" in refused.stderr
    shardd(importer, *there, "--output", "far.jsonl").must()
    assert (importer.cwd / "far.jsonl").read_bytes() == out
    assert expected(tmp_path, out) == done["oid"]

    importer.event("page.bound: Next", {"page": "Next"})
    importer.push()
    assert importer.ssh_json(f"space show {garden}")["seq"] == 201


def test_an_import_needs_role_lease_and_a_space_without_events(
    garden: Garden, carol: Actor, alice: Actor, bob: Actor, mallory: Actor
) -> None:
    raw = lines(1, 2)

    def refused(who: Actor, code: str, says: str, *words: str) -> None:
        result = who.try_ssh(f"import {garden} - {' '.join(words)}", input=raw)
        assert result.status == 1, result
        assert f"shardd: {code}: " in result.stderr and says in result.stderr
        assert garden.subjects() == []

    refused(mallory, "not-permitted", "needs the role append")
    alice.acquire(garden)
    refused(alice, "not-permitted", "needs the role import")
    for name in ("alice", "bob"):
        carol.ssh(f"role grant {name} import {garden.repo}/*")
    refused(bob, "not-holder", "alice holds the lease")
    refused(alice, "stale-epoch", "and this push was made for 99", "--epoch 99")
    alice.ssh(f"lease release {garden}")
    refused(alice, "not-holder", "nobody holds the lease")
    epoch = alice.acquire(garden, "--fenced")
    refused(alice, "stale-epoch", "fenced")
    alice.try_ssh(f"import {garden} - --epoch {epoch}", input=raw).must()
    again = alice.try_ssh(f"import {garden} - --epoch {epoch}", input=raw)
    assert again.status == 1 and "has events already, up to seq 2" in again.stderr


def test_a_bad_line_is_named_and_nothing_is_there(garden: Garden, importer: Actor) -> None:
    importer.acquire(garden)
    before = garden.refs()
    result = importer.try_ssh(f"import {garden} -", input=lines(1, 2) + b'{"seq": 3}\n')
    assert "shardd: bad-event: line 3: timestamp: is missing" in result.stderr
    result = importer.try_ssh(f"import {garden} -", input=lines(1, 2, 4))
    assert "line 3: seq: 4 comes after 2" in result.stderr and "--keep-gaps" in result.stderr
    assert garden.refs() == before
    importer.try_ssh(f"import {garden} - --keep-gaps", input=lines(1, 2, 4)).must()


def test_a_log_that_begins_later_needs_a_space_made_for_it(
    garden: Garden, carol: Actor, importer: Actor, tmp_path: Path
) -> None:
    importer.acquire(garden)
    result = importer.try_ssh(f"import {garden} -", input=lines(7, 8))
    assert "begins after seq 0" in result.stderr and "--first SEQ" in result.stderr
    carol.ssh(f"space create {garden.repo}/seven --first 7")
    importer.ssh(f"lease acquire {garden.repo}/seven")
    done = json.loads(importer.try_ssh(f"import {garden.repo}/seven - --json", input=lines(7, 8)).must().stdout)
    log = GitLog(tmp_path / "local.git")
    (tmp_path / "seven.jsonl").write_bytes(lines(7, 8))
    assert import_jsonl(log, "seven", tmp_path / "seven.jsonl").head.oid == done["oid"]


def test_a_file_named_by_a_remote_caller_is_its_standard_input(garden: Garden, importer: Actor) -> None:
    importer.acquire(garden)
    secret = garden.server.root / "access.toml"
    done = importer.try_ssh(f"import {garden} {secret}", input=lines(1)).must()
    assert "imported 1 event" in done.stdout
    before = secret.read_bytes()
    refused = importer.try_ssh(f"export {garden} --force -o {secret}")
    assert refused.status == 2 and "over ssh a log goes to standard output" in refused.stderr
    assert secret.read_bytes() == before


def test_a_sender_that_is_cut_off_leaves_nothing(garden: Garden, importer: Actor) -> None:
    """The connection dies at the end of a line: what has come reads like a whole log, and must not count as one."""
    importer.acquire(garden)
    words = [*importer.ssh_words, "-p", str(garden.server.port), "127.0.0.1", f"import {garden} -"]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, env=importer.env())
    assert child.stdin is not None
    child.stdin.write(lines(*range(1, 51)))
    child.stdin.flush()

    def litter() -> bool:
        return any(garden.path.glob("shardd/aside-*"))

    wait_until(litter, "the import began")
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdin.close()
    wait_until(lambda: not litter(), "the import was given up")
    assert garden.subjects() == []
    importer.try_ssh(f"import {garden} -", input=lines(1)).must()


def test_shardd_sends_a_file_and_says_what_the_server_says(garden: Garden, importer: Actor) -> None:
    path = importer.home / "log.jsonl"
    path.write_bytes(lines(*range(1, 40)))
    refused = shardd(importer, "--server", garden.server.url, "import", str(garden), str(path))
    assert refused.status == 1 and "nobody holds the lease" in refused.stderr
    missing = shardd(importer, "--server", garden.server.url, "import", str(garden), "missing.jsonl")
    assert missing.status == 2 and "cannot be read" in missing.stderr
    importer.acquire(garden)
    done = shardd(importer, "--server", garden.server.url, "import", str(garden), str(path)).must()
    assert done.stdout.startswith(f"imported 39 events into {garden}, head 39 ")
    assert done.stderr == ""


def test_the_operator_imports_without_a_lease_and_begins_the_space(server: Server, garden: Garden) -> None:
    path = server.home / "log.jsonl"
    path.write_bytes(lines(5, 6))
    said = server.host("import", f"{garden.repo}/fresh", str(path)).must().stdout
    assert said.startswith(f"imported 2 events into {garden.repo}/fresh, head 6 ")
    as_bob = server.host("import", f"{garden.repo}/other", str(path), "--as", "bob")
    assert as_bob.status == 1 and "no-such-space" in as_bob.stderr


def test_a_log_migrates_between_repos_and_servers(garden: Garden, bob: Actor, importer: Actor, tmp_path: Path) -> None:
    source = GitLog(tmp_path / "old.git")
    for n in range(30):
        source.append("whynot", "note", {"n": n}, actor="ann")
    old = os.path.relpath(tmp_path / "old.git/whynot", importer.cwd)

    bob.acquire(garden)
    refused = shardd(importer, "migrate", old, f"{garden.server.url}/{garden}")
    assert refused.status == 1 and "bob holds the lease" in refused.stderr
    bob.ssh(f"lease release {garden}")
    said = shardd(importer, "migrate", old, f"{garden.server.url}/{garden}").must().stdout
    assert said.startswith(f"imported 30 events into {garden}, head 30 ")
    assert garden.head() in said

    back = shardd(importer, "migrate", f"{garden.server.url}/{garden}", str(tmp_path / "new.git/whynot")).must().stdout
    assert garden.head() in back
    assert list(GitLog(tmp_path / "new.git").events("whynot")) == list(GitLog(garden.path).events("whynot"))

    here = garden.server.host("migrate", str(garden), f"{garden.repo}/copy", "--dry-run").must().stdout
    assert here.startswith(f"would import 30 events into {garden.repo}/copy")
    garden.server.host("migrate", str(tmp_path / "new.git/whynot"), f"{garden.repo}/copy").must()
    assert garden.git("log", "--format=%s", "spaces/copy").count("note") == 30

    missing = shardd(importer, "migrate", str(tmp_path / "old.git/nothing"), str(tmp_path / "x.git/nothing"))
    assert missing.status == 1 and "no-such-space" in missing.stderr
    assert not (tmp_path / "x.git").exists() or GitLog(tmp_path / "x.git").head("nothing") is None


def test_a_migration_whose_source_breaks_off_leaves_nothing(garden: Garden, importer: Actor, tmp_path: Path) -> None:
    """The server's export fails in the middle: a commit of the log is not an event."""
    source = GitLog(tmp_path / "old.git")
    source.append("whynot", "note", actor="ann")
    head = source.head("whynot")
    assert head is not None
    env = importer.env()
    bad = run(
        ["git", "commit-tree", "-p", head.oid, "-m", "two words", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"],
        cwd=tmp_path / "old.git",
        env=env,
    ).must()
    run(["git", "update-ref", "refs/heads/spaces/whynot", bad.stdout.strip()], cwd=tmp_path / "old.git", env=env).must()
    importer.acquire(garden)
    for target in (f"{garden.server.url}/{garden}", str(tmp_path / "new.git/whynot")):
        result = shardd(importer, "migrate", str(tmp_path / "old.git/whynot"), target)
        assert result.status == 4, result
        assert "is no event" in result.stderr
    assert garden.subjects() == []
    assert GitLog(tmp_path / "new.git").head("whynot") is None


def test_the_library_imports_over_ssh_and_a_retry_is_answered(garden: Garden, importer: Actor, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(lines(*range(1, 101)))
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(lines(1, 2, 4))
    with RemoteLog(garden.url, key=importer.key, known_hosts=importer.home / "known_hosts") as far:
        with pytest.raises(Rejected, match="line 3: seq: 4 comes after 2"):
            import_jsonl(far, "whynot", broken)
        foretold = import_jsonl(far, "whynot", path, dry_run=True)
        assert garden.subjects() == []
        done = import_jsonl(far, "whynot", path)
        assert done == foretold == import_jsonl(MemoryLog(), "whynot", path)
        assert garden.head() == done.head.oid
        assert import_jsonl(far, "whynot", path) == done, "as if the first answer had been lost"
        broken.write_bytes(lines(1, 2))
        assert import_jsonl(far, "whynot", broken).events == 2, "as if the log had grown since"
        broken.write_bytes(lines(2, 3))
        with pytest.raises(Rejected, match="has events already") as caught:
            import_jsonl(far, "whynot", broken)
        assert caught.value.code == "exists"
        assert "nobody" in importer.ssh(f"lease show {garden}")
        near = GitLog(tmp_path / "near.git")
        assert migrate_space(far, near, "whynot").head.oid == done.head.oid
    garden.server.host("verify", str(garden)).must()
