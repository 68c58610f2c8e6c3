"""What GitLog adds to the contract of a log: what the repo is decides what the handle may do."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from shardd.authority.authorities import Authorities, embedded_authority
from shardd.core.event import Head
from shardd.core.lease import Acquire
from shardd.core.roles import FileAccess, Grant
from shardd.errors import Corrupt, Misuse, Rejected
from shardd.files.server_dir import ServerDir
from shardd.git.repository import Repository
from shardd.logs.git_log import GitLog
from tests.authorities import loosen


def git(repo: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(repo), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(clone: Path, *texts: str, author: str = "tester") -> None:
    words = [word for text in texts for word in ("-m", text)]
    git(clone, "commit", "--quiet", "--allow-empty", "--author", f"{author} <x@example.org>", *words)


@pytest.fixture
def embedded(tmp_path: Path) -> Path:
    path = tmp_path / "embedded.git"
    GitLog(path).append("whynot", "note", {"n": 1}, actor="alice")
    return path


@pytest.fixture
def clone(embedded: Path, tmp_path: Path) -> Path:
    path = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(embedded), str(path))
    return path


def test_the_first_append_makes_repo_authority_hooks_and_space(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "new.git"
    log = GitLog(path)
    assert log.head("whynot") is None
    assert not path.exists(), "reading makes nothing"
    log.append("whynot", "note", actor="alice")
    assert (path / "shardd").stat().st_mode & 0o777 == 0o700
    assert git(path, "symbolic-ref", "HEAD") == "refs/heads/spaces/whynot"
    assert (path / git(path, "config", "core.hooksPath") / "proc-receive").stat().st_mode & 0o100
    assert git(path, "fsck", "--strict", "--no-dangling") == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep"]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["new.git"]


def test_a_bare_repo_with_a_history_of_its_own_takes_a_space(tmp_path: Path) -> None:
    path = tmp_path / "wiki.git"
    git(tmp_path, "init", "--quiet", "--bare", str(path))
    work = tmp_path / "work"
    git(tmp_path, "clone", "--quiet", str(path), str(work))
    commit(work, "content")
    git(work, "push", "--quiet", "origin", "HEAD:main")
    git(path, "symbolic-ref", "HEAD", "refs/heads/main")
    GitLog(path).append("whynot", "note", actor="alice")
    assert git(path, "symbolic-ref", "HEAD") == "refs/heads/main", "what was checked out stays so"
    assert git(path, "log", "--format=%s", "main") == "content"


def test_foreign_hooks_are_not_pushed_aside(tmp_path: Path) -> None:
    path = tmp_path / "wiki.git"
    git(tmp_path, "init", "--quiet", "--bare", str(path))
    git(path, "config", "core.hooksPath", "/somewhere/else")
    with pytest.raises(Rejected, match="hooks of its own at /somewhere/else"):
        GitLog(path).append("whynot", "note", actor="alice")
    assert git(path, "config", "core.hooksPath") == "/somewhere/else"
    assert GitLog(path).head("whynot") is None


def test_a_clone_reads_what_was_fetched_and_writes_nothing(embedded: Path, clone: Path) -> None:
    log = GitLog(clone)
    assert [e.data for e in log.events("whynot")] == [{"n": 1}]
    made = GitLog(embedded).append("whynot", "note", {"n": 2}, actor="alice")
    assert log.head("whynot") == Head(1, next(log.events("whynot")).oid), "not fetched yet"
    git(clone, "fetch", "--quiet")
    assert log.head("whynot") == Head(2, made.oid), "a handle that was open before sees it"
    assert list(log.events("whynot", after=1)) == [made]
    with pytest.raises(Rejected) as caught:
        log.append("whynot", "note", actor="alice")
    assert caught.value.code == "not-permitted"
    assert "git push" in caught.value.remedy


def test_events_pushed_from_elsewhere_are_seen(embedded: Path, clone: Path) -> None:
    log = GitLog(embedded)
    assert log.head("whynot") is not None
    me = pwd.getpwuid(os.getuid()).pw_name
    commit(clone, "page.bound: Home", '{"page": "Home"}', author=me)
    git(clone, "push", "--quiet")
    event = list(log.events("whynot"))[-1]
    assert (event.seq, event.type, event.actor, event.id) == (2, "page.bound", me, event.oid)
    commit(clone, "note", "{")
    done = subprocess.run(["git", "-C", str(clone), "push"], capture_output=True, text=True, check=False)
    assert "shardd: bad-event: " in done.stderr
    assert log.head("whynot") == Head(2, event.oid)


def test_commits_without_numbers_are_counted(embedded: Path, clone: Path) -> None:
    """A hundred of them, so that both ways of counting are taken."""
    for n in range(100):
        commit(clone, "note", f'{{"n": {n}}}')
    git(clone, "update-ref", "refs/remotes/origin/spaces/whynot", "HEAD")
    log = GitLog(clone)
    head = log.head("whynot")
    assert head == Head(101, git(clone, "rev-parse", "HEAD"))
    assert [e.seq for e in log.events("whynot", after=95)] == list(range(96, 102))
    assert [e.seq for e in log.events("whynot", after=2)] == list(range(3, 102))


def test_a_shallow_clone_is_refused_with_the_remedy(embedded: Path, tmp_path: Path) -> None:
    for n in range(3):
        GitLog(embedded).append("whynot", "note", {"n": n}, actor="alice")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=2", f"file://{embedded}", str(shallow))
    with pytest.raises(Corrupt, match="--unshallow"):
        list(GitLog(shallow).events("whynot"))
    assert GitLog(shallow).head("whynot") == GitLog(embedded).head("whynot")


def test_damage_is_corrupt_and_never_another_error(embedded: Path) -> None:
    log = GitLog(embedded)
    for n in range(3):
        log.append("whynot", "note", {"n": n}, actor="alice")
    oid = list(log.events("whynot"))[1].oid
    path = loosen(embedded) / "objects" / oid[:2] / oid[2:]
    path.chmod(0o644)
    path.write_bytes(b"garbage")
    with pytest.raises(Corrupt):
        list(log.events("whynot"))


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_repo_is_misuse(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    if kind == "file":
        path.write_text("x")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path)
    with pytest.raises(Misuse):
        GitLog(path)


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """A repo in a server's directory; alice may append to it, bob may read."""
    server = ServerDir.create(tmp_path / "srv")
    server.access.grant(Grant("alice", "append", "garden"))
    server.access.grant(Grant("bob", "read", "garden"))
    authorities = Authorities.open(server)
    authorities.create("garden")
    with authorities.repo("garden", FileAccess) as authority:
        authority.create("whynot")
    return server.repo_path("garden")


def test_in_a_server_the_handle_obeys_its_rules(served: Path) -> None:
    with pytest.raises(Rejected) as caught:
        GitLog(served).append("whynot", "note", actor="alice")
    assert caught.value.code == "no-principal"
    for name, code in (("bob", "not-permitted"), ("alice", "not-holder"), ("mallory", "not-permitted")):
        with pytest.raises(Rejected) as caught:
            GitLog(served, principal=name).append("whynot", "note")
        assert caught.value.code == code
    with pytest.raises(Rejected) as caught:
        GitLog(served, principal="alice").append("nowhere", "note")
    assert caught.value.code in ("no-such-space", "not-permitted")
    assert GitLog(served).head("nowhere") is None
    authorities = Authorities.open(ServerDir(served.parent.parent))
    with authorities.repo("garden", authorities.granted) as authority:
        epoch = authority.change("whynot", Acquire("alice")).epoch
    made = GitLog(served, principal="alice").append("whynot", "note")
    assert (made.actor, made.epoch) == ("alice", epoch)
    with pytest.raises(Rejected) as caught:
        GitLog(served, principal="alice").append("whynot", "note", actor="bob")
    assert caught.value.code == "forged-actor"


def test_a_live_lease_keeps_local_handles_out(embedded: Path) -> None:
    with Repository(embedded) as repository:
        embedded_authority(repository, label="embedded", rights=FileAccess).change("whynot", Acquire("carol"))
    with pytest.raises(Rejected, match="carol holds the lease"):
        GitLog(embedded).append("whynot", "note", actor="alice")
    assert GitLog(embedded, principal="carol").append("whynot", "note").epoch == 1
