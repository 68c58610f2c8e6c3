"""Stock git as a full client: no hook, no extra command, no trailer."""

from __future__ import annotations

import json
import shlex

import pytest

from tests.e2e.harness import Actor, Garden


@pytest.fixture(autouse=True)
def alice_holds_the_lease(garden: Garden, alice: Actor) -> None:
    alice.clone(garden)
    alice.acquire(garden)


def events(garden: Garden, who: Actor) -> list[dict[str, object]]:
    """The log as shardd reads it."""
    return [json.loads(line) for line in who.ssh(f"log {garden} --json").splitlines()]


def test_a_plain_commit_is_a_full_event(garden: Garden, alice: Actor) -> None:
    alice.git(
        "commit",
        "--allow-empty",
        "-m",
        "page.bound: Home",
        "-m",
        '{"page":"Home"}',
        env={"GIT_AUTHOR_DATE": "1781517600 +0545", "GIT_COMMITTER_DATE": "1781600000 -0330"},
    )
    alice.push()
    oid = alice.head()
    assert garden.head() == oid
    assert events(garden, alice) == [
        {
            "seq": 1,
            "oid": oid,
            "id": oid,
            "type": "page.bound",
            "subject": "Home",
            "actor": "alice",
            "time": "2026-06-15T10:00:00.000000Z",
            "epoch": None,
            "source_epoch": None,
            "data": {"page": "Home"},
        }
    ]


def test_two_commits_before_one_push(garden: Garden, alice: Actor) -> None:
    alice.event("one")
    alice.event("two: about something", {"b": [1.0, None, "ü"]})
    alice.push()
    found = [(e["seq"], e["type"], e["subject"], e["data"]) for e in events(garden, alice)]
    assert found == [(1, "one", None, {}), (2, "two", "about something", {"b": [1, None, "ü"]})]


def test_amending_before_the_push(garden: Garden, alice: Actor) -> None:
    alice.event("one", {"draft": 1})
    first = alice.head()
    alice.git("commit", "--quiet", "--amend", "--allow-empty", "-m", "one", "-m", '{"draft":2}')
    alice.git("commit", "--quiet", "--amend", "--allow-empty", "--no-edit", "--date=1781517600 +0000")
    assert alice.head() != first
    alice.push()
    [event] = events(garden, alice)
    assert (event["data"], event["id"], event["seq"]) == ({"draft": 2}, alice.head(), 1)


def test_amending_what_was_refused(garden: Garden, alice: Actor) -> None:
    alice.event("Not an event")
    garden.refuses("bad-event", alice, says=["git commit --amend --allow-empty"])
    alice.git("commit", "--quiet", "--amend", "--allow-empty", "-m", "note.added")
    alice.push()


def test_amending_what_was_pushed(garden: Garden, alice: Actor) -> None:
    alice.event("one")
    alice.push()
    alice.git("commit", "--quiet", "--amend", "--allow-empty", "-m", "other")
    lost = alice.tries_to_push()
    assert not lost.ok
    assert "non-fast-forward" in lost.stderr
    garden.refuses("non-fast-forward", alice, "--force", says=["git -c rebase.backend=merge pull --rebase"])
    # The remedy mends it: the rewritten commit becomes a second event.
    alice.pull()
    alice.push()
    assert garden.subjects() == ["one", "other"]


def test_losing_the_race_then_pull_rebase(garden: Garden, alice: Actor, bob: Actor) -> None:
    bob.clone(garden)
    bob.event("bobs/one")
    bob.event("bobs/two", {"n": 2})
    alice.event("one")
    alice.push()
    alice.ssh(f"lease transfer {garden} bob")
    before = garden.refs()
    lost = bob.tries_to_push()
    assert not lost.ok
    assert "fetch first" in lost.stderr
    assert garden.refs() == before
    bob.pull()
    bob.push()
    assert garden.subjects() == ["one", "bobs/one", "bobs/two"]
    assert [event["seq"] for event in events(garden, bob)] == [1, 2, 3]


def test_a_merge_made_by_git_pull(garden: Garden, alice: Actor, bob: Actor) -> None:
    bob.clone(garden)
    bob.event("bobs")
    mine = bob.head()
    alice.event("one")
    alice.push()
    alice.ssh(f"lease transfer {garden} bob")
    bob.git("pull", "--quiet", "--no-rebase", "--no-edit")
    refused = garden.refuses("not-linear", bob, says=["a log has no merges"])
    # The remedy, as it is printed.
    assert "`git -c rebase.backend=merge pull --rebase`" in refused.stderr
    bob.git("reset", "--quiet", "--hard", "ORIG_HEAD")
    assert bob.head() == mine
    bob.pull()
    bob.push()
    assert garden.subjects() == ["one", "bobs"]


def test_picking_an_event_that_was_never_pushed(garden: Garden, alice: Actor) -> None:
    alice.git("checkout", "--quiet", "-b", "draft")
    alice.event("drafted", {"a": 1}, "Event-Id: d-1")
    alice.git("checkout", "--quiet", "spaces/whynot")
    alice.event("one")
    alice.git("cherry-pick", "--allow-empty", "draft")
    alice.push()
    assert [(e["id"], e["type"]) for e in events(garden, alice)][1] == ("d-1", "drafted")


def test_picking_ones_own_pushed_event(garden: Garden, alice: Actor) -> None:
    """With an id it is the same event again; without one it is known by its commit, and the pick is another."""
    alice.event("named", {"a": 1}, "Event-Id: n-1")
    alice.event("unnamed", {"a": 1})
    alice.push()
    alice.git("cherry-pick", "--allow-empty", "HEAD~1")
    garden.refuses("duplicate-event", alice, says=["the event n-1 is already in", "at seq 1", "rebase --onto"])
    # The remedy drops it: a rebase leaves the second of two equal events out only if told which.
    alice.git("rebase", "--quiet", "--onto", "HEAD~1", "HEAD")
    alice.git("cherry-pick", "--allow-empty", "HEAD")
    alice.push("origin", "HEAD:spaces/whynot")
    assert garden.subjects() == ["named", "unnamed", "unnamed"]
    found = events(garden, alice)
    assert found[1]["id"] != found[2]["id"]


def test_picking_with_a_note_of_the_source(garden: Garden, alice: Actor) -> None:
    """`-x` adds a line that has no place in an event; without it the pick is taken."""
    alice.event("one", {"a": 1})
    alice.push()
    alice.git("cherry-pick", "--allow-empty", "-x", "HEAD")
    garden.refuses("bad-event", alice)
    alice.git("reset", "--quiet", "--hard", "HEAD~1")
    alice.git("cherry-pick", "--allow-empty", "HEAD")
    alice.push()
    assert garden.subjects() == ["one", "one"]


def test_any_layout_of_the_json(garden: Garden, alice: Actor) -> None:
    data = {"page": "Home", "links": [{"to": "About"}, {"to": "Überall"}], "n": 1.5, "empty": {}}
    for indent in (None, 0, 2, 8):
        text = json.dumps(data, indent=indent, ensure_ascii=bool(indent))
        alice.git("commit", "--quiet", "--allow-empty", "-m", "page.bound: Home", "-m", text)
    # Blank lines between the members make paragraphs of their own.
    spaced = json.dumps(data, indent=2).replace(",\n", ",\n\n")
    alice.git("commit", "--quiet", "--allow-empty", "-m", f"page.bound: Home\n\n{spaced}\n\nActor: alice\n")
    alice.push()
    assert [event["data"] for event in events(garden, alice)] == [data] * 5


def test_the_wrong_name_is_told_how_to_mend_it(garden: Garden, alice: Actor) -> None:
    alice.git("config", "user.name", "Alice Liddell")
    alice.event("one", {"a": 1})
    refused = garden.refuses("forged-actor", alice, says=["is by 'Alice Liddell', and you are alice"])
    said = refused.stderr.split("to mend it: ")[1]
    name, amend = said.split("`")[1], said.split("`")[3]
    for words in (name, amend):
        assert words.startswith("git ")
        alice.git(*shlex.split(words)[1:])
    alice.push()
    [event] = events(garden, alice)
    assert (event["actor"], event["data"]) == ("alice", {"a": 1})


def test_signed_commits(garden: Garden, alice: Actor) -> None:
    for name, value in (("gpg.format", "ssh"), ("user.signingKey", str(alice.key)), ("commit.gpgSign", "true")):
        alice.git("config", name, value)
    alice.event("one", {"a": 1})
    alice.event("two")
    assert "gpgsig -----BEGIN SSH SIGNATURE-----" in alice.git("cat-file", "commit", "HEAD")
    alice.push()
    assert [event["seq"] for event in events(garden, alice)] == [1, 2]
    (alice.home / "signers").write_text(f"alice@example.org {alice.key.with_suffix('.pub').read_text()}")
    alice.clone(garden)
    alice.git("-c", f"gpg.ssh.allowedSignersFile={alice.home}/signers", "verify-commit", "HEAD", "HEAD~1")


def test_signing_off_and_co_authors(garden: Garden, alice: Actor) -> None:
    alice.git("commit", "--quiet", "--allow-empty", "-s", "-m", "one", "-m", '{"a":1}')
    alice.git("commit", "--quiet", "--allow-empty", "-s", "-m", "two")
    alice.event("three", None, "Event-Id: e-3\nCo-authored-by: bob <bob@example.org>")
    alice.push()
    found = [(e["type"], e["data"], e["actor"]) for e in events(garden, alice)]
    assert found == [("one", {"a": 1}, "alice"), ("two", {}, "alice"), ("three", {}, "alice")]
    assert events(garden, alice)[2]["id"] == "e-3"


@pytest.mark.parametrize("zone", ["+1400", "-1200", "+0545", "-0001", "+9959"])
def test_odd_time_zones(garden: Garden, alice: Actor, zone: str) -> None:
    alice.event("one", env={"GIT_AUTHOR_DATE": f"1781517600 {zone}", "GIT_COMMITTER_DATE": f"1781517600 {zone}"})
    alice.push()
    assert events(garden, alice)[0]["time"] == "2026-06-15T10:00:00.000000Z"


def test_other_emails_and_committers(garden: Garden, alice: Actor) -> None:
    other = {"GIT_COMMITTER_NAME": "Some Committer", "GIT_COMMITTER_EMAIL": ""}
    alice.event("one", env={"GIT_AUTHOR_EMAIL": "a.l@wonder.land", **other})
    alice.event("two", env={"GIT_AUTHOR_EMAIL": "", **other})
    alice.push()
    assert [event["actor"] for event in events(garden, alice)] == ["alice", "alice"]


def test_a_revert_is_no_event_until_it_is_told_as_one(garden: Garden, alice: Actor) -> None:
    alice.event("page.bound: Home")
    alice.push()
    alice.git("revert", "--no-edit", "--no-commit", "HEAD")
    alice.git("commit", "--quiet", "--allow-empty", "-m", 'Revert "page.bound: Home"')
    garden.refuses("bad-event", alice, says=["type: 'Revert \"page.bound' is not an event type"])
    alice.git("commit", "--quiet", "--amend", "--allow-empty", "-m", "page.unbound: Home")
    alice.push()


def test_a_squash_of_two_events_is_one(garden: Garden, alice: Actor) -> None:
    alice.event("one", {"a": 1})
    alice.event("two", {"b": 2})
    alice.git("reset", "--quiet", "--soft", "HEAD~2")
    alice.event("both", {"a": 1, "b": 2})
    alice.push()
    assert garden.subjects() == ["both"]


@pytest.mark.parametrize("version", ["0", "1", "2"])
def test_every_protocol_version(garden: Garden, alice: Actor, version: str) -> None:
    alice.git("config", "--global", "protocol.version", version)
    alice.clone(garden)
    alice.event("one", {"a": 1})
    alice.push()
    alice.clone(garden)
    assert alice.log() == ["one"]
    alice.git("fetch", "--quiet", "--depth=1", "origin", "spaces/whynot")


def test_shallow_partial_and_single_branch_clones_append(garden: Garden, alice: Actor, carol: Actor) -> None:
    carol.ssh(f"space create {garden.repo}/other")
    alice.event("one")
    alice.event("two")
    alice.push()
    for number, options in enumerate(
        (["--depth=1"], ["--filter=blob:none"], ["--single-branch", "-b", "spaces/whynot"])
    ):
        alice.clone(garden, *options)
        alice.event(f"more/{number}")
        alice.push()
    assert garden.subjects() == ["one", "two", "more/0", "more/1", "more/2"]


def test_a_bundle_carries_the_log(garden: Garden, alice: Actor) -> None:
    alice.event("one")
    alice.push()
    alice.git("bundle", "create", "--quiet", str(alice.home / "log.bundle"), "spaces/whynot")
    alice.git("fetch", str(alice.home / "log.bundle"), "spaces/whynot")
    assert alice.git("rev-parse", "FETCH_HEAD") == garden.head()
