"""What GitLog adds to the contract of a log: what the repo is decides what the handle may do."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shardd.authority.authorities import Authorities, embedded_authority
from shardd.core.event import Head
from shardd.core.lease import Acquire
from shardd.core.roles import FileAccess, Grant
from shardd.errors import Corrupt, Misuse, Rejected, Unavailable
from shardd.files.server_dir import ServerDir
from shardd.git.repository import Repository
from shardd.logs.git_log import GitLog
from shardd.wiki.space import InformationSpace
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


def mirror(source: Path, path: Path) -> None:
    git(path.parent, "clone", "--quiet", "--mirror", str(source), str(path))


def bare_clone(source: Path, path: Path) -> None:
    git(path.parent, "clone", "--quiet", "--bare", str(source), str(path))


def mirror_by_hand(source: Path, path: Path) -> None:
    git(path.parent, "init", "--quiet", "--bare", str(path))
    git(path, "remote", "add", "--mirror=fetch", "upstream", str(source))


def heads_fetched_to_heads(source: Path, path: Path) -> None:
    GitLog(path).append("own", "note", actor="alice")
    git(path, "config", "remote.up/stream.url", str(source))
    git(path, "config", "remote.up/stream.fetch", "refs/heads/spaces/whynot:refs/heads/spaces/whynot")


@pytest.mark.parametrize("made", [mirror, bare_clone, mirror_by_hand, heads_fetched_to_heads])
def test_a_copy_takes_no_events_which_the_next_fetch_would_drop(
    embedded: Path, tmp_path: Path, made: Callable[[Path, Path], None]
) -> None:
    path = tmp_path / "copy.git"
    made(embedded, path)
    if made is not bare_clone:
        git(path, "fetch", "--quiet", "--all")
    log = GitLog(path)
    assert log.head("whynot") == GitLog(embedded).head("whynot")
    before = git(path, "for-each-ref")
    for append in (
        lambda: log.append("whynot", "note", actor="alice"),
        lambda: log.append("new", "note", actor="alice"),
        lambda: log.import_events("new", [], dry_run=True),
    ):
        with pytest.raises(Rejected, match="is a copy") as caught:
            append()
        assert caught.value.code == "not-permitted"
    assert git(path, "for-each-ref") == before
    for command in re.findall("`git ([^`]*)`", caught.value.remedy):
        subprocess.run(["git", *command.split()], check=True)
    assert log.append("whynot", "note", actor="alice").seq == 2


@pytest.mark.parametrize("remote", [["--mirror=push"], []])
def test_a_repo_that_pushes_to_a_backup_is_no_copy(embedded: Path, tmp_path: Path, remote: list[str]) -> None:
    git(embedded, "remote", "add", *remote, "backup", str(tmp_path / "backup.git"))
    assert GitLog(embedded).append("whynot", "note", actor="alice").seq == 2


def worktree(clone: Path, path: Path) -> None:
    git(clone, "worktree", "add", "--quiet", "--detach", str(path))


def worktree_of_a_bare_clone(clone: Path, path: Path) -> None:
    bare = path.parent / "hub.git"
    git(path.parent, "clone", "--quiet", "--bare", git(clone, "remote", "get-url", "origin"), str(bare))
    git(bare, "config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    git(bare, "fetch", "--quiet")
    git(bare, "worktree", "add", "--quiet", "--detach", str(path))


def separate_git_dir(clone: Path, path: Path) -> None:
    source = git(clone, "remote", "get-url", "origin")
    git(path.parent, "clone", "--quiet", f"--separate-git-dir={path.parent / 'else where'}", source, str(path))


def submodule(clone: Path, path: Path) -> None:
    outer = path.parent / "outer"
    git(path.parent, "init", "--quiet", str(outer))
    source = git(clone, "remote", "get-url", "origin")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", source, "log")
    path.symlink_to(outer / "log")


def git_folder(clone: Path, path: Path) -> None:
    path.symlink_to(clone / ".git")


def another_remote(clone: Path, path: Path) -> None:
    git(path.parent, "clone", "--quiet", "-o", "up/stream", git(clone, "remote", "get-url", "origin"), str(path))


def single_branch(clone: Path, path: Path) -> None:
    source = git(clone, "remote", "get-url", "origin")
    git(path.parent, "clone", "--quiet", "--single-branch", "-b", "spaces/whynot", source, str(path))


def folder_of_its_own(clone: Path, path: Path) -> None:
    another_remote(clone, path)
    git(path, "config", "remote.up/stream.fetch", "+refs/heads/*:refs/far/*")
    git(path, "fetch", "--quiet")


@pytest.mark.parametrize(
    "made",
    [
        worktree,
        worktree_of_a_bare_clone,
        separate_git_dir,
        submodule,
        git_folder,
        another_remote,
        single_branch,
        folder_of_its_own,
    ],
)
def test_a_clone_is_read_wherever_git_keeps_it(
    embedded: Path, clone: Path, tmp_path: Path, made: Callable[[Path, Path], None]
) -> None:
    path = tmp_path / "there"
    made(clone, path)
    log = GitLog(path)
    assert [event.data for event in log.events("whynot")] == [{"n": 1}]
    with pytest.raises(Rejected, match="is a clone"):
        log.append("whynot", "note", actor="alice")
    space = InformationSpace.git_backed("whynot", path)
    assert space.state.counts["note"].events == 1


def test_of_several_remotes_one_is_named(embedded: Path, clone: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.git"
    GitLog(other).append("whynot", "note", {"n": 9}, actor="alice")
    git(clone, "remote", "rename", "origin", "a")
    git(clone, "remote", "add", "-f", "b", str(other))
    with pytest.raises(Misuse, match="which remote of a, b"):
        GitLog(clone)
    with pytest.raises(Misuse, match="no remote 'c'"):
        GitLog(clone, remote="c")
    read = {name: next(GitLog(clone, remote=name).events("whynot")).data for name in ("a", "b")}
    assert read == {"a": {"n": 1}, "b": {"n": 9}}
    git(clone, "config", "checkout.defaultRemote", "b")
    assert next(GitLog(clone).events("whynot")).data == {"n": 9}


def test_a_repository_that_git_cannot_use_is_said_to_be_one(clone: Path) -> None:
    git(clone, "config", "core.repositoryFormatVersion", "1")
    git(clone, "config", "extensions.fromTheFuture", "yes")
    with pytest.raises(Unavailable, match="git cannot use the repository at"):
        GitLog(clone)


@pytest.mark.parametrize("made", ["gc", "commit-graph write --reachable"])
def test_times_that_a_commit_graph_cannot_hold(embedded: Path, tmp_path: Path, made: str) -> None:
    log = GitLog(embedded)
    years = (2600, 1980, 1980, 2920, 1980)
    oids = [log.append("whynot", "note", actor="alice", time=datetime(year, 1, 1, tzinfo=UTC)).oid for year in years]
    for path in (embedded, tmp_path / "bare.git"):
        if path != embedded:
            git(tmp_path, "clone", "--quiet", "--mirror", str(embedded), str(path))
        git(path, *made.split(" "))
        with Repository(path) as repository:
            assert all(repository.git.is_ancestor(oid, oids[-1]) for oid in oids)
    subprocess.run(["git", "-C", str(embedded), "fsck", "--no-dangling"], check=True)


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


@pytest.mark.parametrize("depth", [1, 2])
def test_a_shallow_clone_is_named_wherever_it_is_read(tmp_path: Path, depth: int) -> None:
    """Of commits without numbers too, which are counted from further back."""
    embedded = tmp_path / "embedded.git"
    GitLog(embedded).append("whynot", "note", actor="alice")
    work, shallow = tmp_path / "work", tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", str(embedded), str(work))
    for _ in range(2):
        commit(work, "note")
    git(tmp_path, "clone", "--quiet", f"--depth={depth}", f"file://{work}", str(shallow))
    log = GitLog(shallow)
    for read in (log.head, lambda space: list(log.events(space)), lambda space: list(log.events(space, after=0))):
        with pytest.raises(Corrupt) as caught:
            read("whynot")
        assert "shallow clone" in caught.value.message
        assert caught.value.remedy == "run `git fetch --unshallow`"
    git(shallow, "fetch", "--quiet", "--unshallow")
    assert log.head("whynot") == Head(3, git(work, "rev-parse", "HEAD"))


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
