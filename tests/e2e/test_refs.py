"""Which refs a push may touch, and who may touch them: the lease holder's wishes included."""

from __future__ import annotations

import pytest

from tests.e2e.harness import ZERO, Actor, Garden


@pytest.fixture(autouse=True)
def alice_holds_the_lease(garden: Garden, alice: Actor) -> None:
    alice.clone(garden)
    alice.acquire(garden)
    alice.event("one")
    alice.push()
    alice.event("two")


OTHERS = [
    "refs/heads/main",
    "refs/heads/spaces",
    "refs/heads/Spaces/whynot",
    "refs/heads/spaces/Whynot",
    "refs/heads/spaces/WHYNOT",
    "refs/heads/spaces/whynot/more",
    "refs/heads/spaces/-dash",
    "refs/heads/spaces/whÿnot",
    "refs/heads/spaces/" + "x" * 64,
    "refs/tags/v1",
    "refs/remotes/origin/main",
    "refs/leases/whynot",
    "refs/leases/other",
    "refs/notes/alice/more",
    "refs/intents/whynot",
    "refs/stash",
    "refs/bisect/bad",
]


def test_other_refs_are_not_taken(garden: Garden, alice: Actor) -> None:
    for ref in OTHERS:
        garden.refuses("ref-not-allowed", alice, "origin", f"+HEAD:{ref}")


def test_nor_from_an_admin(garden: Garden, carol: Actor) -> None:
    carol.clone(garden)
    for ref in ("refs/heads/main", "refs/tags/v1", "refs/leases/whynot"):
        garden.refuses("ref-not-allowed", carol, "origin", f"+HEAD:{ref}")


def test_a_replacement_is_not_taken(garden: Garden, alice: Actor) -> None:
    garden.refuses("ref-not-allowed", alice, "origin", f"HEAD:refs/replace/{garden.head()}")


def test_tags_are_not_taken(garden: Garden, alice: Actor) -> None:
    alice.git("tag", "light")
    alice.git("tag", "-a", "-m", "heavy", "heavy")
    garden.refuses("ref-not-allowed", alice, "origin", "light")
    garden.refuses("ref-not-allowed", alice, "--tags")
    garden.refuses("ref-not-allowed", alice, "--follow-tags")


HOSTILE = [
    "HEAD",
    "refs/heads/spaces/whynot.lock",
    "refs/heads/spaces/../whynot",
    "refs/heads/spaces/../../../config",
    "../../config",
    "/etc/passwd",
    "refs/heads/spaces/why\x1b[31mnot",
    "refs/heads/spaces/why not",
    "refs/heads/spaces/whynot ",
    "refs/heads//spaces/whynot",
    "refs/heads/spaces/",
    "refs/",
    "whynot",
]


def test_names_that_no_git_would_send_are_not_taken(garden: Garden, alice: Actor) -> None:
    before = garden.refs()
    head = garden.head()
    config = (garden.path / "config").read_bytes()
    for ref in HOSTILE:
        for old, new in ((ZERO, head), (head, ZERO)):
            answer = alice.push_by_hand(garden, (old, new, ref))
            assert f"ok {ref}" not in answer.stdout
            assert "ng " in answer.stdout or answer.status != 0, answer
            assert "\x1b" not in answer.stderr
            assert garden.refs() == before, ref
    assert (garden.path / "config").read_bytes() == config


def test_a_client_that_lies_about_where_the_space_stands(garden: Garden, alice: Actor) -> None:
    before = garden.refs()
    head = garden.head()
    genesis = garden.git("rev-parse", f"{head}~1")
    for old in (head, ZERO, genesis):
        for new in (genesis, ZERO, "1234567890" * 4):
            answer = alice.push_by_hand(garden, (old, new, garden.ref))
            assert f"ok {garden.ref}" not in answer.stdout
            assert "ng " in answer.stdout or answer.status != 0, answer
            assert garden.refs() == before, (old, new)


def test_a_space_that_nobody_created(garden: Garden, alice: Actor, carol: Actor) -> None:
    says = [f"there is no space {garden.repo}/nowhere", f"space create {garden.repo}/nowhere"]
    garden.refuses("no-such-space", alice, "origin", "HEAD:refs/heads/spaces/nowhere", says=says)
    carol.clone(garden)
    garden.refuses("no-such-space", carol, "origin", "HEAD:refs/heads/spaces/nowhere")


def test_a_symbolic_ref_is_not_written_through(garden: Garden, alice: Actor, carol: Actor) -> None:
    garden.git("symbolic-ref", "refs/heads/spaces/alias", garden.ref)
    garden.refuses("ref-not-allowed", alice, "origin", "HEAD:refs/heads/spaces/alias", says=["symbolic"])
    garden.git("symbolic-ref", "refs/notes/alice", garden.ref)
    garden.refuses("ref-not-allowed", alice, "origin", "HEAD:refs/notes/alice", says=["symbolic"])
    garden.git("symbolic-ref", "--delete", "refs/heads/spaces/alias")
    garden.git("symbolic-ref", "--delete", "refs/notes/alice")
    alice.push()


def test_a_space_turned_into_a_symbolic_ref_takes_nothing(garden: Garden, alice: Actor) -> None:
    garden.git("update-ref", "refs/heads/elsewhere", garden.head())
    garden.git("symbolic-ref", garden.ref, "refs/heads/elsewhere")
    garden.refuses("ref-not-allowed", alice, says=["symbolic"])


def test_a_space_is_never_deleted(garden: Garden, alice: Actor) -> None:
    says = ["append-only", f"space freeze {garden} MESSAGE"]
    garden.refuses("deletion", alice, "origin", "--delete", "spaces/whynot", says=says)
    garden.refuses("deletion", alice, "--force", "origin", ":refs/heads/spaces/whynot", says=says)
    garden.refuses("deletion", alice, "--prune", "origin", "refs/heads/none/*:refs/heads/spaces/*", says=says)


def test_a_mirror_push_is_refused(garden: Garden, alice: Actor) -> None:
    alice.git("update-ref", "-d", "refs/remotes/origin/spaces/whynot")
    before = garden.refs()
    assert not alice.tries_to_push("--mirror").ok
    assert garden.refs() == before


def test_a_frozen_space_shows_its_message(garden: Garden, alice: Actor, carol: Actor) -> None:
    carol.ssh(f"space freeze {garden} 'moved to the \x1b[31mnew\x07 garden'")
    refused = garden.refuses("frozen", alice, says=["moved to the ", "garden", f"space thaw {garden}"])
    assert "\x1b[31m" not in refused.stderr
    assert "\x07" not in refused.stderr
    alice.denied("not-permitted", f"space thaw {garden}")
    carol.ssh(f"space thaw {garden}")
    alice.push()


def test_notes_are_for_their_owner(garden: Garden, alice: Actor, mallory: Actor) -> None:
    for who in (alice, mallory):
        who.clone(garden)
        who.git("notes", "--ref", who.name, "add", "-m", f"seen by {who.name}", "HEAD")
        who.push("origin", f"refs/notes/{who.name}")
    garden.refuses(
        "not-permitted", mallory, "origin", "+refs/notes/mallory:refs/notes/alice", says=["belongs to alice"]
    )
    garden.refuses("not-permitted", mallory, "origin", "refs/notes/mallory:refs/notes/commits")
    mallory.git("notes", "--ref", "mallory", "append", "-m", "and again", "HEAD")
    mallory.push("origin", "refs/notes/mallory")
    mallory.git("update-ref", "refs/notes/mallory", "refs/notes/mallory~1")
    garden.refuses("non-fast-forward", mallory, "--force", "origin", "refs/notes/mallory", says=["git notes merge"])
    garden.refuses("deletion", mallory, "origin", ":refs/notes/mallory")


def test_who_may_only_read_appends_nothing(garden: Garden, mallory: Actor) -> None:
    mallory.clone(garden)
    mallory.event("mine")
    says = ["mallory needs the role append", f"role grant mallory append {garden}"]
    garden.refuses("not-permitted", mallory, says=says)
    garden.refuses("not-permitted", mallory, "-o", "lease=acquire")
    garden.refuses("not-permitted", mallory, "--force", "origin", "HEAD~2:spaces/whynot")
    garden.refuses("not-permitted", mallory, "origin", ":spaces/whynot")


def test_who_has_no_role_sees_nothing(garden: Garden, mallory: Actor, carol: Actor) -> None:
    carol.ssh(f"role revoke mallory read {garden.repo}")
    for command in ("git-upload-pack", "git-receive-pack", "git-upload-archive"):
        answer = mallory.try_ssh(f"{command} '/{garden.repo}.git'")
        assert answer.status == 128
        assert not answer.stdout
        assert "shardd: not-permitted: mallory needs the role read" in answer.stderr
    mallory.denied("not-permitted", f"log {garden}")
    mallory.denied("not-permitted", f"space show {garden}")


def test_a_role_on_one_space_is_none_on_another(garden: Garden, bob: Actor, carol: Actor) -> None:
    carol.ssh(f"space create {garden.repo}/other")
    carol.ssh(f"role revoke bob append {garden.repo}")
    carol.ssh(f"role grant bob append {garden.repo}/oth*")
    bob.clone(garden)
    bob.event("mine")
    garden.refuses("not-permitted", bob)
    bob.git("checkout", "--quiet", "spaces/other")
    bob.event("mine")
    bob.push("-o", "lease=acquire")


def test_refs_that_the_operator_leaves_to_git(garden: Garden, alice: Actor, mallory: Actor) -> None:
    garden.git("config", "shardd.plainRefs", "refs/heads/content/*")
    (alice.cwd / "Home.md").write_text("hello\n")
    alice.git("checkout", "--quiet", "--orphan", "content/main")
    alice.git("add", "Home.md")
    alice.git("commit", "--quiet", "-m", "Any message at all")
    alice.push("origin", "content/main", "spaces/whynot")
    alice.git("commit", "--quiet", "--amend", "-m", "Rewritten")
    alice.push("--force", "origin", "content/main")
    assert garden.git("show", "content/main:Home.md") == "hello"
    assert garden.subjects() == ["one", "two"]
    mallory.clone(garden)
    garden.refuses("not-permitted", mallory, "origin", "HEAD:refs/heads/content/mine")
    garden.refuses("ref-not-allowed", alice, "origin", "HEAD:refs/heads/contents")
