"""What an event may say, and where it may stand: the holder of the lease is held to it as well."""

from __future__ import annotations

import pytest

from tests.e2e.harness import Actor, Garden


@pytest.fixture(autouse=True)
def alice_holds_the_lease(garden: Garden, alice: Actor) -> None:
    alice.clone(garden)
    alice.acquire(garden)
    alice.event("one")
    alice.push()


# message, and what the refusal says
MALFORMED = [
    ("Hello, world\n", "type: 'Hello, world' is not an event type"),
    ("page.bound:Home\n", "type: "),
    (": Home\n", "type: "),
    ("\n", "type: "),
    ("", "type: "),
    ("x" * 101 + "\n", "type: "),
    ("page.bound: \n", "subject: has 0 characters"),
    ("page.bound: " + "x" * 201 + "\n", "subject: has 201 characters"),
    ("page.bound: a\x07b\n", "subject: holds a control character"),
    ("page.bound: a\nand b\n", "subject: is longer than one line"),
    ("one\n\nsome words\n", "data: is not JSON: Expecting value at column 1"),
    ("one\n\n[1]\n", "data: is JSON but not an object"),
    ('one\n\n"text"\n', "data: is JSON but not an object"),
    ('one\n\n{"a":1}{"b":2}\n', "data: is not JSON"),
    ('one\n\n{"a":1,"a":2}\n', "data: the key 'a' stands twice"),
    ('one\n\n{"a":{"b":1,"b":1}}\n', "data: the key 'b' stands twice"),
    ('one\n\n{"a":NaN}\n', "data: NaN is not JSON"),
    ('one\n\n{"a":-Infinity}\n', "data: -Infinity is not JSON"),
    ('one\n\n{"a":1e999}\n', "data: data.a: inf is not JSON"),
    ('one\n\n{"a":9007199254740992}\n', "data: data.a: an integer is outside"),
    ('one\n\n{"a":' + "9" * 5000 + "}\n", "data: "),
    ('one\n\n{"a":"\\ud800"}\n', "data: data.a: a string holds half of a surrogate pair"),
    ('one\n\n{"a":' + "[" * 64 + "]" * 64 + "}\n", "data: nested deeper than 64"),
    ('one\n\n{"a":' + "[" * 20_000 + "]" * 20_000 + "}\n", "data: nested deeper than 64"),
    ("one\n\nReviewed-by: bob\n", "trailers: 'Reviewed-by' is not one of"),
    ("one\n\nSeq: 2\nSeq: 2\n", "Seq: stands twice"),
    ("one\n\nSeq: 02\n", "Seq: '02' is not an integer"),
    ("one\n\nSeq: two\n", "Seq: 'two' is not an integer"),
    ("one\n\nSeq: 2\nand so on\n", "trailers: 'and so on' is not `Name: value`"),
    ("one\n\nTime: yesterday\n", "Time: 'yesterday' is not RFC 3339"),
    ("one\n\nTime: 2026-06-15T12:00:00+02:00\n", "Time: "),
    ("one\n\nTime: 1969-12-31T23:59:59Z\n", "Time: "),
    ("one\n\nEvent-Id: a b\n", "Event-Id: 'a b' is not"),
    ("one\n\nEvent-Id: \n", "Event-Id: '' is not"),
    ("one\n\nActor: alice \n", "Actor: 'alice ' has outer spaces"),
    ("one\n\nActor: \n", "Actor: has 0 characters"),
    ("one\n\nLease-Epoch: 1\nSource-Epoch: 1\n", "Source-Epoch: "),
    ("one\n\nSource-Epoch: 1\n", "Source-Epoch belongs to imported events"),
    ('one\r\n\r\n{"a":1}\r\n', "message: holds a carriage return"),
    ('one\n\n{"a":"x\ry"}\n', "message: holds a carriage return"),
]


def test_bytes_that_are_no_event(garden: Garden, alice: Actor) -> None:
    before = alice.head()
    for message, words in MALFORMED:
        oid = alice.raw_event(message)
        garden.refuses("bad-event", alice, says=[f"commit {oid[:12]}: {words}", "to mend it: "])
        alice.git("reset", "--quiet", "--hard", before)
    alice.raw_event('two\n\n{"a":' + "[" * 62 + "]" * 62 + "}\n")
    alice.push()


def test_headers_that_have_no_place_in_an_event(garden: Garden, alice: Actor) -> None:
    before = alice.head()
    for header, words in (
        ("encoding ISO-8859-1\n", "encoding: the commit is in ISO-8859-1"),
        ("HG:rename source\n", "commit: the header 'HG:rename' has no place"),
        ("mergetag object " + before + "\n type commit\n", "commit: the header 'mergetag' has no place"),
    ):
        alice.raw_event("two\n", headers=header)
        garden.refuses("bad-event", alice, says=[words])
        alice.git("reset", "--quiet", "--hard", before)


def test_a_file_in_the_tree(garden: Garden, alice: Actor) -> None:
    (alice.cwd / "Home.md").write_text("hello\n")
    alice.git("add", "Home.md")
    alice.event("two")
    garden.refuses("bad-event", alice, says=["tree: an event has no files", "git commit --amend --allow-empty"])
    alice.event("three")
    garden.refuses("bad-event", alice, says=["tree: an event has no files"])
    alice.git("rm", "--quiet", "Home.md")
    alice.git("commit", "--quiet", "-m", "four")
    garden.refuses("bad-event", alice, says=["tree: an event has no files"])


def test_another_encoding(garden: Garden, alice: Actor) -> None:
    words = ["-c", "i18n.commitEncoding=ISO-8859-1", "commit", "--quiet", "--allow-empty", "-F", "-"]
    alice.git(*words, input="page.bound: Caf\xe9\n".encode("latin-1"))
    garden.refuses("bad-event", alice, says=["the commit is in ISO-8859-1", "git config i18n.commitEncoding UTF-8"])
    # Undeclared, it is simply not UTF-8.
    alice.raw_event("page.bound: Caf\udce9\n", parents=["HEAD~1"])
    garden.refuses("bad-event", alice, says=["message: is not UTF-8 (byte 15)"])


def test_line_ends_of_another_system(garden: Garden, alice: Actor) -> None:
    words = ["commit", "--quiet", "--allow-empty", "--cleanup=verbatim", "-F", "-"]
    alice.git(*words, input=b'page.bound: Home\r\n\r\n{"page":"Home"}\r\n')
    garden.refuses("bad-event", alice, says=["carriage return", "write it anew"])


@pytest.mark.parametrize("what", ["tag", "tree", "blob"])
def test_what_is_no_commit(garden: Garden, alice: Actor, what: str) -> None:
    alice.git("tag", "-a", "-m", "a tag", "v1")
    blob = alice.git("hash-object", "-w", "--stdin", input=b"hello\n")
    source = {"tag": "refs/tags/v1", "tree": "HEAD^{tree}", "blob": blob}[what]
    # Stock git itself will not send a tree to a branch; a client by hand would.
    before = garden.refs()
    answer = alice.tries_to_push("--force", "origin", f"{source}:{garden.ref}")
    assert not answer.ok
    assert garden.refs() == before
    if what == "tag":
        assert "shardd: bad-event: commit: what you push" in answer.stderr
    oid = garden.git("hash-object", "-w", "-t", "tree", "/dev/null")
    by_hand = alice.push_by_hand(garden, (garden.head(), oid, garden.ref))
    assert f"ng {garden.ref}" in by_hand.stdout
    assert garden.refs() == before


def test_rewinding_and_rewriting(garden: Garden, alice: Actor) -> None:
    alice.event("two")
    alice.push()
    head = garden.head()
    says = [f"{garden} is at seq 2, {head[:12]}", "pull --rebase`"]
    for back in ("HEAD~1", "HEAD~2"):
        garden.refuses("non-fast-forward", alice, "--force", "origin", f"{back}:spaces/whynot", says=says)
    alice.git("commit", "--quiet", "--amend", "--allow-empty", "-m", "rewritten")
    garden.refuses("non-fast-forward", alice, "--force", says=says)
    garden.refuses("non-fast-forward", alice, f"--force-with-lease=spaces/whynot:{head}", says=says)
    # This writes even the genesis anew.
    alice.git("rebase", "--quiet", "--root", "--force-rebase")
    garden.refuses("not-linear", alice, "--force", says=["genesis"])


def side_branch(alice: Actor) -> None:
    """Two commits on the branch `side`, from the one before the head; the space itself is a commit ahead."""
    alice.event("two")
    alice.push()
    alice.git("checkout", "--quiet", "-b", "side", "HEAD~1")
    alice.event("side/one")
    alice.event("side/two")


def test_a_merge_onto_the_head(garden: Garden, alice: Actor) -> None:
    side_branch(alice)
    alice.git("checkout", "--quiet", "spaces/whynot")
    alice.git("merge", "--quiet", "--no-ff", "-m", "merged", "side")
    garden.refuses("not-linear", alice, says=["does not have the one parent", garden.head()[:12]])
    alice.event("after")
    garden.refuses("not-linear", alice)


def test_a_merge_with_the_head_as_second_parent(garden: Garden, alice: Actor) -> None:
    side_branch(alice)
    alice.git("merge", "--quiet", "-m", "merged", "spaces/whynot")
    assert alice.git("rev-parse", "HEAD^2") == garden.head()
    says = ["a log has no merges", "pull --rebase`"]
    garden.refuses("not-linear", alice, "origin", "side:spaces/whynot", says=says)
    alice.event("after")
    garden.refuses("not-linear", alice, "origin", "side:spaces/whynot", says=says)


def test_a_merge_far_below(garden: Garden, alice: Actor) -> None:
    side_branch(alice)
    alice.git("merge", "--quiet", "-m", "merged", "spaces/whynot")
    for number in range(70):
        alice.event(f"after/{number}")
    garden.refuses("not-linear", alice, "origin", "side:spaces/whynot")
    alice.git("checkout", "--quiet", "spaces/whynot")
    alice.git("cherry-pick", "--allow-empty", "--keep-redundant-commits", "side~70..side")
    alice.push()
    assert len(garden.subjects()) == 72


def test_a_second_root(garden: Garden, alice: Actor) -> None:
    root = alice.git("commit-tree", "-m", "space.created: whynot", "HEAD^{tree}")
    alice.git("checkout", "--quiet", "-b", "other", root)
    alice.event("two")
    garden.refuses("not-linear", alice, "--force", "origin", "other:spaces/whynot", says=["genesis"])
    alice.git("merge", "--quiet", "--allow-unrelated-histories", "-m", "merged", "spaces/whynot")
    garden.refuses("not-linear", alice, "origin", "other:spaces/whynot", says=["a log has no merges"])
    alice.git("checkout", "--quiet", "spaces/whynot")
    alice.git("merge", "--quiet", "--allow-unrelated-histories", "-m", "merged", root)
    garden.refuses("not-linear", alice, says=["does not have the one parent"])


def test_a_parent_named_twice(garden: Garden, alice: Actor) -> None:
    alice.raw_event("two\n", parents=["HEAD", "HEAD"])
    garden.refuses("not-linear", alice, says=["does not have the one parent"])


def test_a_wrong_number(garden: Garden, alice: Actor) -> None:
    for wrong in (0, 1, 3, 2**53 - 1):
        alice.event("two", {"a": 1}, f"Seq: {wrong}")
        says = [f"says Seq: {wrong}, and stands at 2", "leave the trailer out"]
        garden.refuses("seq-gap", alice, says=says)
        alice.git("reset", "--quiet", "--hard", "HEAD~1")
    alice.event("two", {"a": 1}, "Seq: 2")
    alice.event("three", None, "Seq: 4")
    garden.refuses("seq-gap", alice, says=["says Seq: 4, and stands at 3"])
    alice.git("commit", "--quiet", "--amend", "--allow-empty", "-m", "three")
    alice.push()


def test_an_event_that_the_space_has(garden: Garden, alice: Actor) -> None:
    alice.event("two", {"a": 1}, "Event-Id: e-1")
    first = alice.head()
    alice.push()
    alice.event("three")
    alice.event("two", {"a": 1}, "Event-Id: e-1")
    says = [f"the event e-1 is already in {garden}, at seq 2, {first[:12]}", "rebase --onto"]
    garden.refuses("duplicate-event", alice, says=says)
    alice.git("reset", "--quiet", "--hard", "HEAD~1")
    alice.event("four", None, "Event-Id: e-2")
    second = alice.head()
    alice.event("five", None, "Event-Id: e-2")
    garden.refuses("duplicate-event", alice, says=[f"the event e-2 is already in {garden}, at seq 4, {second[:12]}"])
    alice.git("reset", "--quiet", "--hard", "HEAD~1")
    # An event without an id is known by its commit's.
    alice.event("five", None, f"Event-Id: {alice.git('rev-parse', 'HEAD~1')}")
    garden.refuses("duplicate-event", alice, says=["at seq 3"])
    alice.git("reset", "--quiet", "--hard", "HEAD~1")
    alice.push()
    # The same id in another space is another event.
    assert garden.subjects() == ["one", "two", "three", "four"]


def test_the_index_of_ids_is_built_anew_when_it_is_lost(garden: Garden, alice: Actor) -> None:
    alice.event("two", None, "Event-Id: e-1")
    alice.push()
    for wreck in (b"", b"this is no database" * 100, None):
        index = garden.path / "shardd" / "index" / f"{garden.space}.db"
        if wreck is None:
            index.unlink()
        else:
            index.write_bytes(wreck)
        alice.event("three", None, "Event-Id: e-1")
        before = garden.refs()
        answer = alice.tries_to_push()
        assert "duplicate-event: " in answer.stderr
        assert garden.refs() == before
        alice.git("reset", "--quiet", "--hard", "HEAD~1")


def test_in_somebody_elses_name(garden: Garden, alice: Actor, carol: Actor) -> None:
    alice.event("two", {"a": 1}, "Actor: bob")
    garden.refuses("forged-actor", alice, says=["is by 'bob', and you are alice", '--trailer "Actor: alice"'])
    alice.git("commit", "--quiet", "--amend", "--allow-empty", "--author=bob <bob@example.org>", "-m", "two")
    says = ["is by 'bob', and you are alice", "git config user.name alice", "--author="]
    garden.refuses("forged-actor", alice, says=says)
    alice.git("commit", "--quiet", "--amend", "--allow-empty", "--author=Alice <a@b>", "-m", "two")
    garden.refuses("forged-actor", alice, says=["is by 'Alice'"])
    # Said in so many words, the actor counts, whoever the author.
    alice.git("commit", "--quiet", "--amend", "--allow-empty", "--author=bob <b@c>", "-m", "two", "-m", "Actor: alice")
    alice.push()

    carol.ssh(f"role grant alice import {garden.repo}")
    alice.event("three", {"a": 1}, "Actor: Somebody Else <else@example.org>")
    garden.refuses("forged-actor", alice)  # it is for imports alone
    alice.git("commit", "--quiet", "--amend", "--allow-empty", "-m", "three", "-m", "Source-Epoch: 4")
    garden.refuses("bad-event", alice, says=["Source-Epoch belongs to imported events"])
