"""What shardd adds to a clone: setup, the commit-msg hook, and commands that know where they stand."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import SHARDD, Actor, Garden, Result, run


def shardd(who: Actor, *words: str, input: bytes = b"") -> Result:
    """`shardd WORDS` in the actor's clone."""
    return run([*SHARDD, *words], cwd=who.cwd, env=who.env(), input=input)


@pytest.fixture
def ready(garden: Garden, alice: Actor) -> Garden:
    """alice holds the lease, in a clone that is set up."""
    alice.clone(garden)
    alice.acquire(garden)
    shardd(alice, "setup").must()
    return garden


def install_without_shardd(who: Actor) -> Path:
    """The hook as somebody gets it who has only git and ssh."""
    path = who.cwd / ".git" / "hooks" / "commit-msg"
    path.parent.mkdir(exist_ok=True)
    path.write_text(who.ssh("hook commit-msg"))
    path.chmod(0o755)
    return path


def test_setup_makes_a_clone_fit_for_appending(garden: Garden, alice: Actor) -> None:
    (alice.home / ".gitconfig").write_text("[user]\n\tname = Somebody Else\n")
    alice.clone(garden)
    first = shardd(alice, "setup").must().stdout
    assert first.startswith("set up for alice\n")
    assert alice.git("config", "--local", "user.name") == "alice"
    assert alice.git("config", "--local", "user.email") == "alice@shardd"
    assert shardd(alice, "setup").must().stdout == "set up for alice\n", "the second time there is nothing to do"
    alice.acquire(garden)
    alice.event("page.bound", {"page": "Home"})
    alice.push()
    alice.git("fetch", "--quiet")
    assert alice.git("log", "-1", "--format=%s", "refs/leases/whynot") == "lease: alice"
    alice.git("notes", "add", "-m", "looks right", "HEAD")
    alice.push("origin", "refs/notes/alice")
    assert garden.git("rev-parse", "refs/notes/alice") == alice.git("rev-parse", "refs/notes/alice")
    alice.git("fetch", "--quiet")
    assert "looks right" in alice.git("log", "-1")


def test_setup_outside_a_clone_or_without_access_says_what_to_do(alice: Actor, garden: Garden) -> None:
    result = shardd(alice, "setup")
    assert (result.status, "run this in a clone" in result.stderr) == (2, True)
    alice.clone(garden)
    alice.git("remote", "set-url", "origin", "ssh://127.0.0.1:1/garden.git")
    result = shardd(alice, "setup")
    assert (result.status, "does not say who you are" in result.stderr) == (3, True)
    assert "Traceback" not in result.stderr
    assert not (alice.cwd / ".git" / "hooks" / "commit-msg").exists()


def test_the_hook_completes_an_event(ready: Garden, alice: Actor) -> None:
    alice.event("page.bound: Home", {"page": "Home", "n": 1.0})
    message = alice.git("log", "-1", "--format=%B")
    assert '{"n":1,"page":"Home"}' in message
    trailers = alice.git("log", "-1", "--format=%(trailers:only)").splitlines()
    assert [line.split(":")[0] for line in trailers] == ["Event-Id", "Actor", "Time"]
    alice.push()
    (event,) = [json.loads(line) for line in shardd(alice, "log", "--json").must().stdout.splitlines()]
    assert (event["id"], event["seq"]) == (trailers[0].removeprefix("Event-Id: "), 1)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (["two words"], "type"),
        (["note", "{"], "data"),
        (["note", '{"k":1,"k":2}'], "data"),
        (["note", "{}", "Reviewed-by: bob"], "trailers"),
        (["note", "{}", "Seq: x"], "Seq"),
    ],
)
def test_the_hook_catches_before_the_push_what_the_server_would_refuse(
    ready: Garden, alice: Actor, message: list[str], field: str
) -> None:
    before = alice.head()
    words = [word for part in message for word in ("-m", part)]
    result = alice.try_git("commit", "--allow-empty", *words)
    assert not result.ok
    assert f"shardd: bad-event: {field}" in result.stderr
    assert alice.head() == before
    alice.git("commit", "--quiet", "--allow-empty", "--no-verify", *words)
    ready.refuses("bad-event", alice, says=[field])


def test_the_hook_refuses_files_and_foreign_encodings(ready: Garden, alice: Actor) -> None:
    (alice.cwd / "file").write_text("x")
    alice.git("add", "file")
    assert "bad-event: tree" in alice.try_git("commit", "-m", "note").stderr
    alice.git("rm", "--quiet", "--cached", "file")
    alice.git("config", "i18n.commitEncoding", "ISO-8859-1")
    assert "bad-event: encoding" in alice.try_git("commit", "--allow-empty", "-m", "note").stderr


def test_the_hook_leaves_other_branches_alone(ready: Garden, alice: Actor) -> None:
    alice.git("switch", "--quiet", "--orphan", "drafts")
    alice.git("commit", "--quiet", "--allow-empty", "-m", "anything goes here")
    assert alice.git("log", "-1", "--format=%B") == "anything goes here"


def test_an_amend_and_a_rebase_keep_the_id(ready: Garden, alice: Actor, bob: Actor) -> None:
    alice.event("note", {"n": 1})
    first = alice.git("log", "-1", "--format=%(trailers:key=Event-Id,valueonly)")
    alice.git("commit", "--quiet", "--amend", "--allow-empty", "--no-edit")
    assert alice.git("log", "-1", "--format=%(trailers:key=Event-Id,valueonly)") == first
    alice.ssh(f"lease transfer {ready} bob")
    bob.clone(ready)
    bob.event("note", {"n": 0})
    bob.push()
    bob.ssh(f"lease transfer {ready} alice")
    alice.pull()
    alice.push()
    assert alice.git("log", "-1", "--format=%(trailers:key=Event-Id,valueonly)") == first
    assert [json.loads(line)["seq"] for line in shardd(alice, "log", "--json").must().stdout.splitlines()] == [1, 2]


def test_a_hook_that_was_there_runs_first(garden: Garden, alice: Actor) -> None:
    alice.clone(garden)
    path = alice.cwd / ".git" / "hooks" / "commit-msg"
    path.parent.mkdir(exist_ok=True)
    path.write_text('#!/bin/sh\ngrep -q forbidden "$1" && { echo no, says the old hook; exit 1; }\nexit 0\n')
    path.chmod(0o755)
    said = shardd(alice, "setup").must().stdout
    assert "your commit-msg hook is kept" in said
    refused = alice.try_git("commit", "--allow-empty", "-m", "forbidden")
    assert "says the old hook" in refused.stdout + refused.stderr
    alice.event("note")
    assert "Event-Id" in alice.git("log", "-1", "--format=%B")
    shardd(alice, "setup").must()
    assert "says the old hook" in (path.parent / "commit-msg.before-shardd").read_text()


def test_a_global_hooks_path_is_noticed(garden: Garden, alice: Actor) -> None:
    (alice.home / "my-hooks").mkdir()
    with (alice.home / ".gitconfig").open("a") as config:
        config.write(f"[core]\n\thooksPath = {alice.home}/my-hooks\n")
    alice.clone(garden)
    said = shardd(alice, "setup").must().stdout
    assert f"git looks for hooks in {alice.home}/my-hooks" in said
    (mend,) = [part for part in said.split("`") if part.startswith("git config core.hooksPath")]
    alice.git(*mend.split()[1:])
    alice.event("note")
    assert "Event-Id" in alice.git("log", "-1", "--format=%B")


def test_the_hook_is_to_be_had_with_ssh_alone(garden: Garden, alice: Actor) -> None:
    alice.clone(garden)
    hook = install_without_shardd(alice)
    assert hook.read_bytes() == (Path(__file__).parents[2] / "hooks" / "commit-msg").read_bytes()
    alice.event("note", {"n": 1})
    assert "Event-Id" in alice.git("log", "-1", "--format=%B")
    # It needs nothing but the standard library: no site-packages at all.
    done = subprocess.run([sys.executable, "-I", "-S", str(hook), "/nonexistent"], capture_output=True, text=True)
    assert "ModuleNotFoundError" not in done.stderr


def test_append_whoami_and_lease_know_the_clone(ready: Garden, alice: Actor) -> None:
    said = shardd(alice, "append", "page.bound", "Home", "--body", '{"page": "Home"}').must().stdout.split()
    assert said[:2] == [str(ready), "1"]
    assert said[2] == ready.head()
    assert "alice" in shardd(alice, "whoami").must().stdout
    assert json.loads(shardd(alice, "lease", "show", "--json").must().stdout)["holder"] == "alice"
    assert "Home is a page" in shardd(alice, "log").must().stdout, "what was appended from here was fetched"
    alice.ssh(f"append {ready} note --force")
    assert "note" not in shardd(alice, "log").must().stdout, "what was not fetched is not shown"
    alice.git("fetch", "--quiet")
    assert "Home" in shardd(alice, "fold").must().stdout
    host = ready.server.host("log", str(ready)).must().stdout
    assert host == alice.ssh(f"log {ready}") == shardd(alice, "log").must().stdout


def test_lines_answer_each_line(ready: Garden, alice: Actor) -> None:
    lines = [
        {"type": "note", "id": "a", "data": {"n": 1}},
        {"type": "no good", "id": "b"},
        {"type": "note", "id": "a", "data": {"n": 1}},
        {"type": "note", "id": "a", "data": {"n": 2}},
        {"type": "note", "id": "c", "time": "2026-06-15T10:00:00Z", "subject": "s"},
        {"type": "note", "unknown": 1},
    ]
    raw = "".join(json.dumps(line) + "\n" for line in lines) + "not json\n"
    result = shardd(alice, "append", "--lines", input=raw.encode())
    assert result.status == 1, "some of them failed"
    said = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(each["id"], each.get("seq"), each.get("error", {}).get("code")) for each in said] == [
        ("a", 1, None),
        ("b", None, "bad-event"),
        ("a", 1, None),
        ("a", None, "duplicate-event"),
        ("c", 2, None),
        (None, None, "usage"),
        (None, None, "bad-event"),
    ]
    assert said[0]["oid"] == said[2]["oid"]
    assert ready.subjects() == ["note", "note: s"]
    alice.ssh(f"lease release {ready}")
    (refused,) = shardd(alice, "append", "--lines", input=b'{"type": "note"}\n').stdout.splitlines()
    assert f"`ssh -p {ready.server.port} 127.0.0.1 lease acquire {ready}`" in json.loads(refused)["error"]["remedy"]


def test_a_stranger_appends_nothing_by_command(ready: Garden, alice: Actor, bob: Actor, mallory: Actor) -> None:
    head = ready.head()
    bob.denied("not-holder", f"append {ready} note --force", says=["alice holds the lease", f"lease acquire {ready}"])
    mallory.denied("not-permitted", f"append {ready} note --force")
    alice.denied("no-such-space", f"append {ready.repo}/nowhere note --force")
    assert ready.head() == head


def test_wrong_words_and_wrong_places_are_explained(alice: Actor, garden: Garden) -> None:
    alice.clone(garden)
    for words, status, says in (
        (("lease", "frobnicate"), 2, "invalid choice"),
        (("log", "Not-A-Space"), 2, "is not a space name"),
        (("fold", "nowhere"), 1, "no-such-space"),
        (("diff", "1"), 2, "name two points"),
        (("fold", "--at", "someday"), 2, "is no point in a log"),
        (("--server", "http://x", "whoami"), 2, "is not the address of a server"),
        (("--dir",), 2, "--dir: expected one argument"),
        (("--dir", "/nonexistent", "whoami"), 2, "is not a server's directory"),
    ):
        result = shardd(alice, *words)
        assert (result.status, says in result.stderr) == (status, True), (words, result)
        assert "Traceback" not in result.stderr


def test_hooks_are_executable_in_the_checkout() -> None:
    for path in (Path(__file__).parents[2] / "hooks").iterdir():
        assert path.stat().st_mode & stat.S_IXUSR


def test_another_author_of_an_amended_event_becomes_its_actor(ready: Garden, alice: Actor) -> None:
    alice.git("config", "user.name", "eve")
    alice.event("note")
    ready.refuses("forged-actor", alice, says=["by 'eve'"])
    alice.git("config", "user.name", "alice")
    alice.git("commit", "--quiet", "--amend", "--allow-empty", "--reset-author", "--no-edit")
    assert "Actor: alice" in alice.git("log", "-1", "--format=%B")
    alice.push()


def test_where_the_space_stands_among_the_words(ready: Garden, alice: Actor) -> None:
    alice.ssh(f"lease release {ready}")
    shardd(alice, "append", "--take-lease", "page.bound", "Home", "--body", '{"page": "Home"}').must()
    shardd(alice, "append", "--json", "--take-lease", "--force", "note").must()
    assert json.loads(shardd(alice, "lease", "acquire", "whynot", "--ttl", "60", "--json").must().stdout)["epoch"] == 4
    assert "alice" in shardd(alice, "lease", "show", "--json", str(ready)).must().stdout
    for words in (("append", "--help"), ("import", "--help"), ("help",), ("help", "lease")):
        assert "usage: " in shardd(alice, *words).must().stdout
    assert "usage: " in alice.ssh("help")
    assert "` help`" not in alice.denied("usage", "frob", says=["help`"]).stderr
    alice.git("switch", "--quiet", "--orphan", "drafts")
    assert "which space?" in shardd(alice, "lease", "show").stderr


def test_a_space_that_lists_its_types_takes_no_other_by_any_client(garden: Garden, alice: Actor, carol: Actor) -> None:
    alice.clone(garden)
    alice.acquire(garden)
    alice.git("config", "user.name", "alice")
    carol.ssh(f"space types {garden} page.bound acme.seen")
    alice.denied("not-permitted", f"space types {garden} --off")
    alice.event("wip")
    garden.refuses("type-not-allowed", alice, says=[f"{garden} takes no wip", "--amend --allow-empty"])
    alice.git("reset", "--quiet", "--hard", "HEAD~1")
    alice.event("page.bound: Home", {"pgae": "Home"})
    garden.refuses("bad-event", alice, says=["data.page: page.bound: is missing; is `pgae` meant for it?"])
    alice.git("reset", "--quiet", "--hard", "HEAD~1")
    assert f"the hook knows which types {garden.space} takes" in shardd(alice, "setup").must().stdout
    assert "did you mean acme.seen?" in alice.try_git("commit", "--allow-empty", "-m", "acme.sean").stderr
    alice.event("acme.seen")
    alice.push()
    carol.ssh(f"space types {garden} --off")
    shardd(alice, "setup").must()
    alice.event("note")
    alice.push()
    assert "ahead" in shardd(alice, "status", "--json").must().stdout
    lease = next(line for line in shardd(alice, "status").must().stdout.splitlines() if line.startswith("lease"))
    assert lease.split()[1:4] == ["alice,", "epoch", "1,"]
