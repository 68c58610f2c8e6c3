"""Whose turn it is: lease, epoch, push options, fences, and several refs in one push."""

from __future__ import annotations

from tests.e2e.harness import Actor, Garden


def epochs(garden: Garden) -> list[tuple[str, str]]:
    """(epoch, holder) of every entry in the published journal, oldest first."""
    ref = f"refs/leases/{garden.space}"
    if not garden.git("for-each-ref", ref):
        return []
    trailers = "%(trailers:key=Lease-Epoch,key=Holder,valueonly,separator=%x20)"
    lines = garden.git("log", "--reverse", f"--format={trailers}", ref).split("\n")
    return [(line.split()[0], line.split()[1]) for line in lines]


def test_not_your_turn(garden: Garden, alice: Actor, bob: Actor) -> None:
    alice.clone(garden)
    alice.event("one")
    garden.refuses("not-holder", alice, says=["nobody holds the lease", f"lease acquire {garden}"])
    bob.acquire(garden)
    says = ["bob holds the lease", "(epoch 1, ", " left)", "ask bob", f"lease acquire {garden} --wait "]
    garden.refuses("not-holder", alice, says=says)
    garden.refuses("not-holder", alice, "-o", "epoch=1", says=says)
    garden.refuses("not-holder", alice, "--force", says=says)
    bob.ssh(f"lease release {garden}")
    garden.refuses("not-holder", alice, says=["nobody holds the lease", "(the last one was released)"])


def test_every_remedy_by_command_mends_it(garden: Garden, mallory: Actor, carol: Actor) -> None:
    """Run over ssh as it is printed, by whoever may."""
    mallory.clone(garden)

    def mends(code: str, by: Actor) -> None:
        refused = garden.refuses(code, mallory)
        remedy = refused.stderr.partition("to mend it: ")[2].partition("`")[2].partition("`")[0]
        assert remedy.startswith(f"ssh -p {garden.server.port} 127.0.0.1 "), refused
        by.ssh(remedy.partition("127.0.0.1 ")[2])

    mallory.event("one")
    mends("not-permitted", carol)
    mends("not-holder", mallory)
    carol.ssh(f"space freeze {garden} moving")
    mends("frozen", carol)
    mallory.push()
    mallory.ssh(f"lease release {garden}")
    mallory.ssh(f"lease acquire {garden} --fenced")
    mallory.event("two")
    refused = garden.refuses("stale-epoch", mallory)
    mallory.push(*refused.stderr.partition("push with `")[2].partition("`")[0].split())
    assert garden.subjects() == ["one", "two"]


def test_a_push_may_name_its_epoch(garden: Garden, alice: Actor) -> None:
    alice.clone(garden)
    epoch = alice.acquire(garden)
    alice.event("one")
    for wrong in (0, epoch - 1, epoch + 1, 2**53 - 1):
        says = [f"the epoch of {garden} is {epoch}", f"made for {wrong}", f"lease history {garden}"]
        garden.refuses("stale-epoch", alice, "-o", f"epoch={wrong}", says=says)
    for malformed in ("", "x", "-1", "1e3", "١", "9" * 30):
        garden.refuses("stale-epoch", alice, "-o", f"epoch={malformed}", says=["names no epoch"])
    garden.refuses("stale-epoch", alice, "-o", f"epoch={epoch}", "-o", "epoch=99")
    alice.push("-o", f"epoch={epoch}", "-o", "something=else")
    assert garden.subjects() == ["one"]


def test_an_event_may_name_its_epoch(garden: Garden, alice: Actor) -> None:
    alice.clone(garden)
    alice.acquire(garden)
    alice.event("one", {"a": 1}, "Lease-Epoch: 7")
    garden.refuses("stale-epoch", alice, says=["says Lease-Epoch: 7", "is 1"])
    alice.git("commit", "--quiet", "--amend", "--allow-empty", "-m", "one", "-m", "Lease-Epoch: 1")
    alice.push()
    alice.ssh(f"lease release {garden}")
    alice.acquire(garden)
    alice.event("two", None, "Lease-Epoch: 1")
    garden.refuses("stale-epoch", alice, says=["says Lease-Epoch: 1", "is 2"])


def test_who_lost_the_lease_and_took_it_again_is_warned(garden: Garden, alice: Actor, bob: Actor) -> None:
    alice.clone(garden)
    first = alice.acquire(garden)
    alice.event("one")
    alice.ssh(f"lease transfer {garden} bob")
    bob.ssh(f"lease transfer {garden} alice")
    garden.refuses("stale-epoch", alice, "-o", f"epoch={first}")
    alice.push()


def test_a_fenced_lease_wants_the_epoch_with_every_push(garden: Garden, alice: Actor) -> None:
    alice.clone(garden)
    epoch = alice.acquire(garden, "--fenced")
    alice.event("one")
    garden.refuses("stale-epoch", alice, says=["is fenced", f"-o epoch={epoch}"])
    garden.refuses("stale-epoch", alice, "-o", "lease=acquire", says=["is fenced"])
    garden.refuses("stale-epoch", alice, "-o", f"epoch={epoch + 1}")
    alice.push("-o", f"epoch={epoch}")
    alice.event("two", None, f"Lease-Epoch: {epoch}")
    alice.push()
    alice.event("three", None, f"Lease-Epoch: {epoch}")
    alice.event("four")
    garden.refuses("stale-epoch", alice, says=["is fenced"])
    alice.denied("stale-epoch", f"lease release {garden}", says=["fenced"])
    alice.ssh(f"lease release {garden} --epoch {epoch}")


def test_a_lease_for_one_push_alone(garden: Garden, alice: Actor, bob: Actor) -> None:
    alice.clone(garden)
    alice.event("one")
    alice.event("two")
    alice.push("-o", "lease=acquire")
    assert garden.subjects() == ["one", "two"]
    shown = alice.ssh_json(f"lease show {garden}")
    assert (shown["holder"], shown["epoch"]) == (None, 1)
    assert epochs(garden) == [("1", "alice")]
    bob.clone(garden)
    bob.event("three")
    bob.push("-o", "lease=acquire")
    assert epochs(garden) == [("1", "alice"), ("2", "bob")]


def test_nothing_remains_of_it_if_the_push_is_refused(garden: Garden, alice: Actor) -> None:
    alice.clone(garden)
    alice.event("not an event")
    garden.refuses("bad-event", alice, "-o", "lease=acquire")
    assert alice.ssh_json(f"lease show {garden}")["epoch"] == 0
    assert epochs(garden) == []
    garden.refuses("stale-epoch", alice, "-o", "lease=acquire", "-o", "epoch=1")
    garden.refuses("not-holder", alice, "-o", "lease=steal", says=["lease=acquire"])
    assert epochs(garden) == []


def test_it_uses_a_lease_that_one_has_and_takes_nobody_elses(garden: Garden, alice: Actor, bob: Actor) -> None:
    alice.clone(garden)
    epoch = alice.acquire(garden)
    alice.event("one")
    alice.push("-o", "lease=acquire")
    shown = alice.ssh_json(f"lease show {garden}")
    assert (shown["holder"], shown["epoch"]) == ("alice", epoch)
    bob.clone(garden)
    bob.event("two")
    garden.refuses("not-holder", bob, "-o", "lease=acquire", says=["alice holds the lease"])


def test_it_is_no_way_round_a_revocation(garden: Garden, alice: Actor, carol: Actor) -> None:
    alice.acquire(garden)
    carol.ssh(f"lease revoke {garden}")
    alice.clone(garden)
    alice.event("one")
    says = ["was revoked from alice", f"lease grant {garden} alice"]
    garden.refuses("not-holder", alice, "-o", "lease=acquire", says=says)


def test_plain_git_push_is_enough_for_a_small_team(garden: Garden, alice: Actor, bob: Actor) -> None:
    for who in (alice, bob):
        who.clone(garden, "-c", "push.pushOption=lease=acquire")
    for number in range(3):
        for who in (alice, bob):
            who.pull()
            who.event(f"turn/{number}/{who.name}")
            who.push()
    assert garden.subjects() == [f"turn/{n}/{who}" for n in range(3) for who in ("alice", "bob")]
    assert [epoch for epoch, _ in epochs(garden)] == ["1", "2", "3", "4", "5", "6"]


def test_a_push_of_nothing_that_has_options_is_fine(garden: Garden, alice: Actor, bob: Actor) -> None:
    """Stock gits send the options also where they send no ref."""
    for who in (alice, bob):
        who.clone(garden, "-c", "push.pushOption=lease=acquire")
    assert alice.push().stderr == "Everything up-to-date\n"
    alice.event("one")
    alice.push()
    assert alice.push().stderr == "Everything up-to-date\n"
    bob.event("two")
    late = bob.tries_to_push()
    assert (late.status, "(fetch first)" in late.stderr, "shardd:" in late.stderr) == (1, True, False)
    assert epochs(garden) == [("1", "alice")]


def two_spaces(garden: Garden, alice: Actor, carol: Actor) -> Garden:
    """A second space in the same repo; alice has a clone with an event to be pushed in each."""
    other = Garden(garden.server, garden.repo, "other")
    carol.ssh(f"space create {other}")
    alice.clone(garden)
    alice.event("here")
    alice.git("checkout", "--quiet", "spaces/other")
    alice.event("there")
    return other


def test_one_bad_ref_refuses_the_whole_push(garden: Garden, alice: Actor, carol: Actor) -> None:
    other = two_spaces(garden, alice, carol)
    alice.acquire(garden)
    for atomic in ([], ["--atomic"]):
        both = [*atomic, "origin", "spaces/whynot", "spaces/other"]
        garden.refuses("not-holder", alice, *both, says=[f"nobody holds the lease of {other}"])
        garden.refuses("ref-not-allowed", alice, *atomic, "origin", "spaces/whynot", "HEAD:refs/heads/main")
    alice.acquire(other)
    alice.push("--atomic", "origin", "spaces/whynot", "spaces/other")
    assert (garden.subjects(), other.subjects()) == (["here"], ["there"])


def test_a_momentary_lease_on_each_space_or_on_none(garden: Garden, alice: Actor, bob: Actor, carol: Actor) -> None:
    other = two_spaces(garden, alice, carol)
    bob.acquire(other)
    both = ["-o", "lease=acquire", "origin", "spaces/whynot", "spaces/other"]
    garden.refuses("not-holder", alice, *both, says=["bob holds the lease"])
    assert epochs(garden) == []
    bob.ssh(f"lease release {other}")
    alice.push(*both)
    assert (epochs(garden), epochs(other)) == ([("1", "alice")], [("1", "bob"), ("2", "alice")])
    assert (garden.subjects(), other.subjects()) == (["here"], ["there"])


def test_an_atomic_push_that_git_itself_stops_moves_nothing(
    garden: Garden, alice: Actor, bob: Actor, carol: Actor
) -> None:
    other = two_spaces(garden, alice, carol)
    bob.clone(garden)
    bob.event("first")
    bob.push("-o", "lease=acquire")
    before = garden.refs()
    lost = alice.tries_to_push("--atomic", "-o", "lease=acquire", "origin", "spaces/whynot", "spaces/other")
    assert not lost.ok
    assert "fetch first" in lost.stderr
    assert garden.refs() == before
    assert other.subjects() == []


def test_notes_and_events_go_in_one_push(garden: Garden, alice: Actor) -> None:
    alice.clone(garden)
    alice.event("one")
    alice.git("notes", "--ref", "alice", "add", "-m", "looks right", "HEAD")
    alice.push("-o", "lease=acquire", "origin", "spaces/whynot", "refs/notes/alice")
    assert garden.git("notes", "--ref", "alice", "show", garden.ref) == "looks right"
