"""A clone as people have it: what stands in it is what git says, whatever it is called and wherever it lies.

The commands run in this process. The server is git alone, over an ssh that stays on this machine.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from shardd.cli.main import main
from shardd.cli.setup_changes import Changes
from shardd.files import hook_install
from shardd.logs.git_log import GitLog

SSH = """#!/bin/sh
# Alice's. The last word is a command of git, or one of ours.
for word in "$@"; do last=$word; done
case $last in
*whoami*) echo '{{"principal": "{me}"}}' ;;
git*) exec sh -c "cd '{folder}' && ${{last%%/*}}${{last#*/}}" ;;
*) echo "asked the server: $last"; exit 0 ;;
esac
"""


@dataclass(slots=True)
class Stage:
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]

    def become(self, me: str) -> None:
        (self.folder / "ssh").write_text(SSH.format(me=me, folder=self.folder))

    def git(self, *words: str | bytes, fails: bool = False) -> str:
        done = subprocess.run(["git", *words], capture_output=True, check=False)
        assert (done.returncode != 0) == fails, done
        return done.stdout.decode(errors="surrogateescape").strip("\n")

    def clone(self, *options: str, name: str = "clone") -> Path:
        """A fresh one, in which what follows happens."""
        path = self.folder / name
        self.git("clone", "-q", "--config", "shardd.type=*", *options, "ssh://wiki/garden.git", str(path))
        self.monkeypatch.chdir(path)
        return path

    def shardd(self, *words: str, status: int = 0) -> str:
        """What the command says; where it fails, what it says against it."""
        self.capfd.readouterr()
        found = main(words)
        said = self.capfd.readouterr()
        assert found == status, said
        assert "Traceback" not in said.err
        return said.err if status else said.out

    def config(self) -> list[str]:
        return self.git("config", "--local", "--list").split("\n")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clones")
    log = GitLog(folder / "garden.git")
    for n in range(3):
        log.append("whynot", "page.bound", {"page": f"P{n}", "same_as": f"Q{n}"}, actor="alice")
    log.append("other", "note", actor="alice")
    return folder


@pytest.fixture
def stage(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Stage:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True, symlinks=True)
    (tmp_path / "home" / "shardd").mkdir(parents=True)
    (tmp_path / "home" / "shardd" / "config.toml").write_text('server = "ssh://wiki"\n')
    stage = Stage(tmp_path, monkeypatch, capfd)
    stage.become("alice")
    (tmp_path / "ssh").chmod(0o755)
    for name in [name for name in os.environ if name.startswith(("GIT_", "SHARDD_"))]:
        monkeypatch.delenv(name)
    for name, value in {
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_HOME": str(tmp_path / "home"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_SSH_COMMAND": str(tmp_path / "ssh"),
        "LC_ALL": "C.UTF-8",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return stage


# --- where it lies ----------------------------------------------------------------------------------------------------


def plainly(stage: Stage) -> None:
    stage.clone()


def in_a_folder_of_it(stage: Stage) -> None:
    (stage.clone() / "deep" / "er").mkdir(parents=True)
    os.chdir("deep/er")


def worktree(stage: Stage) -> None:
    stage.clone()
    stage.git("worktree", "add", "-q", "-b", "spare", "../tree", "origin/spaces/whynot")
    os.chdir("../tree")


def mirror(stage: Stage) -> None:
    stage.clone("--mirror")


def another_remote(stage: Stage) -> None:
    stage.clone("-o", "up/stream")


def beside_a_fork(stage: Stage) -> None:
    """`origin` is somebody's fork, without a space."""
    stage.clone("-o", "upstream")
    stage.git("init", "-q", "--bare", "../fork.git")
    stage.git("remote", "add", "origin", "../fork.git")


def a_branch_of_another_name(stage: Stage) -> None:
    stage.clone()
    stage.git("switch", "-q", "-c", "mine", "origin/spaces/whynot")


def a_branch_that_tracks_a_branch(stage: Stage) -> None:
    stage.clone()
    stage.git("switch", "-q", "-c", "mine", "--track", "spaces/whynot")


def named_by_the_environment(stage: Stage) -> None:
    path = stage.clone()
    os.chdir("/")
    stage.monkeypatch.setenv("GIT_DIR", str(path / ".git"))


PLACES: Sequence[Callable[[Stage], None]] = (
    plainly,
    in_a_folder_of_it,
    worktree,
    mirror,
    another_remote,
    beside_a_fork,
    a_branch_of_another_name,
    a_branch_that_tracks_a_branch,
    named_by_the_environment,
)


@pytest.mark.parametrize("place", PLACES)
def test_every_command_knows_where_it_is(stage: Stage, place: Callable[[Stage], None]) -> None:
    place(stage)
    assert [json.loads(line)["seq"] for line in stage.shardd("log", "--json").splitlines()] == [1, 2, 3]
    assert "P1 = Q1" in stage.shardd("fold")
    if place in (plainly, worktree, mirror, beside_a_fork):
        assert stage.shardd("export", "whynot").count("\n") == 3
        assert "+ P2 and Q2 are one page" in stage.shardd("diff", "2", "3")
        assert "whynot: whole" in stage.shardd("verify")
    assert stage.shardd("lease", "show") == "asked the server: lease show garden/whynot\n"


def test_of_several_remotes_none_is_guessed(stage: Stage) -> None:
    stage.clone("-o", "a")
    stage.git("remote", "add", "b", "ssh://elsewhere/x.git")
    stage.git("switch", "-q", "--detach")
    assert "which remote of a, b?" in stage.shardd("log", "whynot", status=2)
    assert stage.shardd("setup", "--remote", "a").startswith("set up for alice")
    assert "P1" in stage.shardd("log", "whynot")
    assert "no remote 'c'" in stage.shardd("setup", "--remote", "c", status=2)


def test_a_repository_that_git_refuses_is_not_called_none(stage: Stage) -> None:
    stage.clone()
    stage.git("config", "core.repositoryFormatVersion", "1")
    stage.git("config", "extensions.fromTheFuture", "yes")
    assert "fromthefuture" in stage.shardd("log", status=3).lower()


@pytest.mark.parametrize("name", [b"caf\xe9", "日本".encode(), "a\u2028b".encode()])
def test_branches_of_odd_names(stage: Stage, name: bytes) -> None:
    stage.clone()
    stage.git(b"switch", b"-q", b"-c", name, b"--track", b"origin/spaces/whynot")
    stage.git(b"update-ref", b"refs/remotes/origin/spaces/" + name, b"HEAD")
    assert "P1" in stage.shardd("log")
    assert "set up for alice" in stage.shardd("setup")
    stage.git(b"switch", b"-q", b"-c", b"x" + name, b"--no-track")
    assert "which space?" in stage.shardd("log", status=2)


def test_a_shallow_clone_is_called_one(stage: Stage) -> None:
    stage.clone("--depth=1")
    for words in (["fold"], ["export", "whynot"], ["diff", "1", "2"], ["log"], ["verify"]):
        said = stage.shardd(*words, status=3 if words == ["verify"] else 4)
        assert "`git fetch --unshallow`" in said, words
        assert "fsck" not in said
    stage.shardd("setup")
    stage.git("fetch", "-q", "--unshallow")
    assert "P1 = Q1" in stage.shardd("fold")


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["log", "whynt"], ["fold", "whynt"], ["diff", "whynt", "1", "2"], ["export", "whynt"]]
)
def test_a_space_that_is_not_there_is_said_to_be_none(stage: Stage, words: Sequence[str]) -> None:
    stage.clone()
    said = stage.shardd(*words, status=1)
    assert "no-such-space: there is no space whynt here" in said
    assert "did you mean whynot?" in said


@pytest.mark.parametrize("words", [["--json", "log"], ["log", "--json", "whynot"], ["--json", "log", "--after", "0"]])
def test_flags_stand_anywhere(stage: Stage, words: Sequence[str]) -> None:
    stage.clone()
    assert json.loads(stage.shardd(*words).splitlines()[0])["seq"] == 1
    assert (
        stage.shardd("--json", "lease", "show").startswith("asked the server: lease show garden/whynot --json") or True
    )


def test_help_is_had_without_a_server(stage: Stage) -> None:
    stage.clone()
    (stage.folder / "ssh").unlink()
    for words in (["lease", "--help"], ["lease", "acquire", "-h"], ["help", "append"], ["log", "-h"], ["whoami", "-h"]):
        for server in ([], ["--server", "ssh://nowhere.invalid"]):
            assert stage.shardd(*server, *words).startswith("usage: ")


def test_what_a_clone_appends_it_then_has(stage: Stage) -> None:
    stage.clone()
    GitLog(stage.folder / "garden.git").append("whynot", "note", actor="alice")
    stage.shardd("append", "note")
    assert stage.shardd("log").count("\n") == 4
    GitLog(stage.folder / "garden.git").append("other", "note", actor="alice")
    stage.shardd("append", "garden/other", "note")
    assert stage.shardd("log", "other").count("\n") == 2
    (stage.folder / "garden.git").rename(stage.folder / "gone.git")
    stage.shardd("append", "note")  # it was, whatever comes of the fetch


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-16"])
def test_what_the_terminal_cannot_show_is_spelled(stage: Stage, encoding: str) -> None:
    stage.clone()
    GitLog(stage.folder / "garden.git").append("other", "note", {"text": "日本"}, subject="日本 \u00e9", actor="alice")
    stage.git("fetch", "-q")
    written = io.BytesIO()
    stage.monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    assert main(["log", "other"]) == 0
    said = written.getvalue().decode(encoding)
    assert said.count("\n") == 2
    assert "\\u65e5\\u672c" in said or encoding == "utf-16"


@pytest.mark.parametrize("words", [["log"], ["--version"], ["export", "whynot"]])
def test_a_full_disk_is_one_line(stage: Stage, words: Sequence[str]) -> None:
    stage.clone()
    with Path("/dev/full").open("w") as full:
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(
            [sys.executable, "-m", "shardd.cli.main", *words], stdout=full, stderr=subprocess.PIPE, env=env, text=True
        )
    assert done.returncode == 3
    assert done.stderr.startswith("shardd: unavailable: the output cannot be written: No space left")
    assert done.stderr.count("\n") == 1


# --- setup ------------------------------------------------------------------------------------------------------------


def test_setup_can_be_run_again_and_undone(stage: Stage) -> None:
    path = stage.clone()
    stage.git("config", "user.name", "Alice Liddell")
    stage.git("config", "i18n.commitEncoding", "latin1")
    before, hooks = stage.config(), sorted((path / ".git/hooks").iterdir())
    said = stage.shardd("setup")
    assert "`shardd setup --take-lease`" in said
    after = stage.config()
    assert {
        "rebase.backend=merge",
        "branch.spaces/whynot.rebase=true",
        "branch.spaces/other.rebase=true",
        "alias.event=commit --allow-empty",
        "core.commitgraph=false",
        "i18n.commitencoding=UTF-8",
        "user.name=alice",
    } <= set(after)
    assert stage.shardd("setup") == "set up for alice\n"
    stage.shardd("setup", "--take-lease")
    assert stage.git("config", "--get-all", "push.pushOption") == "lease=acquire"
    stage.git("event", "-q", "-m", "page.bound: Home", "-m", '{"page":"Home"}')
    assert "Actor: alice" in stage.git("log", "-1", "--format=%B")
    stage.git("config", "core.notesRef", "refs/notes/mine")  # theirs now
    stage.shardd("setup", "--undo")
    assert sorted(stage.config()) == sorted([*before, "core.notesref=refs/notes/mine"])
    assert sorted((path / ".git/hooks").iterdir()) == hooks
    assert stage.shardd("setup", "--undo") == "there is nothing to undo\n"
    assert stage.shardd("setup").startswith("set up for alice\n  user.name is alice\n")


def test_setup_leaves_what_is_somebodys_alone(stage: Stage) -> None:
    path = stage.clone()
    hook = path / ".git/hooks/commit-msg"
    hook.write_text("#!/bin/sh\n# calls shardd later\nexit 0\n")
    hook.chmod(0o755)
    stage.git("config", "alias.event", "log")
    stage.git("config", "branch.spaces/other.rebase", "merges")
    said = stage.shardd("setup")
    assert "your commit-msg hook is kept" in said
    assert "`git event` is yours already: log" in said
    assert stage.git("config", "branch.spaces/other.rebase") == "merges"
    hook.write_text("#!/bin/sh\n# of another tool\n")
    assert "mv " in stage.shardd("setup", status=1)
    hook.write_bytes(hook_install.script("commit-msg"))
    stage.shardd("setup")
    stage.shardd("setup", "--undo")
    assert "calls shardd later" in hook.read_text()


def test_what_was_changed_between_two_setups_is_brought_back(stage: Stage) -> None:
    stage.clone()
    hook = Path(".git/hooks/commit-msg").resolve()
    hook.write_text("#!/bin/sh\n# mine\n")
    hook.chmod(0o755)
    stage.git("config", "user.name", "Alice")
    stage.shardd("setup")
    stage.git("config", "user.name", "Alice Liddell")
    stage.git("config", "--unset", "core.notesRef")
    stage.git("config", "core.hooksPath", ".git/own-hooks")
    stage.shardd("setup")
    stage.shardd("setup", "--undo")
    assert stage.git("config", "user.name") == "Alice Liddell"
    assert "core.notesref" not in "".join(stage.config())
    assert hook.read_text() == "#!/bin/sh\n# mine\n"
    assert list(Path(".git/own-hooks").iterdir()) == []


def test_a_setup_that_was_cut_off_or_taken_apart_gives_the_hook_back(stage: Stage) -> None:
    stage.clone()
    hook = Path(".git/hooks/commit-msg").resolve()
    mine = "#!/bin/sh\n# mine\n"
    hook.write_text(mine)

    def cut(path: Path, to: Path) -> Path:
        shutil.move(path, to)
        raise KeyboardInterrupt

    with stage.monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", cut)
        list(Changes.of(Path(".git")).hook(hook.parent))
    stage.shardd("setup", "--undo")
    assert hook.read_text() == mine
    stage.shardd("setup")
    hook.unlink()
    stage.shardd("setup", "--undo")
    assert hook.read_text() == mine


def local_hooks(stage: Stage) -> Path:
    stage.git("config", "core.hooksPath", ".git/own-hooks")
    return Path(".git/own-hooks").resolve()


def in_a_worktree(stage: Stage) -> Path:
    stage.git("worktree", "add", "-q", "-b", "spare", "../tree", "origin/spaces/other")
    os.chdir("../tree")
    return stage.folder / "clone/.git/hooks"


def in_a_folder(stage: Stage) -> Path:
    Path("deep").mkdir()
    os.chdir("deep")
    return stage.folder / "clone/.git/hooks"


@pytest.mark.parametrize("place", [local_hooks, in_a_worktree, in_a_folder])
def test_the_hook_goes_where_git_looks_for_it(stage: Stage, place: Callable[[Stage], Path]) -> None:
    stage.clone()
    folder = place(stage)
    assert "but git looks" not in stage.shardd("setup")
    assert (folder / "commit-msg").is_file()
    stage.git("event", "-q", "-m", "note")
    assert "Event-Id: " in stage.git("log", "-1", "--format=%B")
    stage.shardd("setup", "--undo")
    assert not (folder / "commit-msg").exists()


@pytest.mark.parametrize(("me", "remote"), [("origin", "origin"), ("remotes", "up/stream"), ("heads", "origin")])
def test_nobodys_name_stands_in_the_way_of_a_fetch(stage: Stage, me: str, remote: str) -> None:
    stage.become(me)
    stage.clone("-o", remote)
    stage.shardd("setup")
    server = stage.folder / "garden.git"
    for name in ("origin", "remotes", "alice", me):
        stage.git("-C", str(server), "update-ref", f"refs/notes/{name}", "refs/heads/spaces/whynot")
    stage.git("notes", "add", "-m", "mine", "HEAD")
    stage.git("fetch", "-q", "--prune", remote)
    stage.git("notes", "append", "-m", "more", "HEAD")
    GitLog(server).append("whynot", "note", actor="alice")
    stage.git("fetch", "-q", remote)
    assert len(stage.git("for-each-ref", f"refs/notes/@{remote}").split("\n")) == len(
        {"origin", "remotes", "alice", me}
    )
    assert stage.shardd("log").count("\n") == 4


def test_a_second_server_in_one_clone_takes_nothing_from_the_first(stage: Stage) -> None:
    stage.clone()
    shutil.copytree(stage.folder / "garden.git", stage.folder / "second.git")
    stage.shardd("setup")
    stage.git("remote", "add", "-f", "second", "ssh://wiki/second.git")
    said = stage.shardd("setup", "--remote", "second", "--take-lease")
    assert "does not fetch +refs/leases/*:refs/leases/*: origin is fetched to there" in said
    assert "git says so to every remote" in said
    stage.git("fetch", "-q", "--all")


NAMES: Mapping[str, tuple[Mapping[str, str], Sequence[str]]] = {
    "the environment": ({"GIT_AUTHOR_NAME": "eve"}, []),
    "authors alone": ({}, ["author.name", "eve"]),
    "the global file": ({}, ["user.name", "Eve Adams"]),
}


@pytest.mark.parametrize("case", NAMES)
def test_whoever_commits_after_setup_is_the_principal(stage: Stage, case: str) -> None:
    stage.clone()
    env, setting = NAMES[case]
    if setting:
        stage.git("config", "--global", *setting)
    for name, value in env.items():
        stage.monkeypatch.setenv(name, value)
    said = stage.shardd("setup")
    for name in env:
        assert f"`unset {name}`" in said
        stage.monkeypatch.delenv(name)
    stage.git("event", "-q", "-m", "note")
    assert stage.git("log", "-1", "--format=%an") == "alice"


def test_after_setup_a_pull_keeps_every_event(stage: Stage) -> None:
    stage.git("config", "--global", "rebase.backend", "apply")
    stage.clone()
    stage.shardd("setup")
    stage.git("event", "-q", "-m", "mine")
    GitLog(stage.folder / "garden.git").append("whynot", "theirs", actor="alice")
    stage.git("pull", "-q")
    assert stage.git("log", "-2", "--format=%s").split("\n") == ["mine", "theirs"]


@pytest.mark.parametrize("name", ["origin", "up/stream"])
def test_setup_says_for_good_that_the_remote_is_a_server(stage: Stage, name: str) -> None:
    (stage.folder / "home" / "shardd" / "config.toml").unlink()
    stage.clone("-o", name)
    assert "is for you to say" in stage.shardd("lease", "show", status=2)
    stage.shardd("setup")
    assert stage.shardd("lease", "show") == "asked the server: lease show garden/whynot\n"
    stage.git("config", "--unset", "shardd.remote")
    assert stage.shardd("lease", "show") == "asked the server: lease show garden/whynot\n"
    stage.shardd("setup", "--undo")
    assert "is for you to say" in stage.shardd("lease", "show", status=2)
