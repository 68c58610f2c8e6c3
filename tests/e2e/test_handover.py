"""The lease passes from hand to hand, and the log goes on from its head each time."""

from __future__ import annotations

import pytest

from tests.e2e.harness import Actor, Garden


def test_append_refusal_release_resume(garden: Garden, alice: Actor, bob: Actor) -> None:
    alice.clone(garden)
    bob.clone(garden)
    alice.event("page.bound: Home", {"page": "Home"})
    garden.refuses("not-holder", alice, says=["nobody holds the lease", f"lease acquire {garden}"])
    assert alice.acquire(garden) == 1
    alice.push()

    bob.event("page.bound: About", {"page": "About"})
    bob.pull()
    garden.refuses("not-holder", bob, says=["alice holds the lease", "epoch 1", "ask alice to release it"])
    alice.ssh(f"lease release {garden}")
    assert bob.acquire(garden) == 2
    bob.push()

    assert garden.subjects() == ["page.bound: Home", "page.bound: About"]
    alice.event("page.bound: Late")
    alice.pull()
    garden.refuses("not-holder", alice, says=["bob holds the lease", "epoch 2"])


@pytest.mark.parametrize("way", ["transfer", "grant", "revoke"])
def test_the_lease_is_handed_to_bob(garden: Garden, alice: Actor, bob: Actor, carol: Actor, way: str) -> None:
    alice.clone(garden)
    alice.acquire(garden)
    alice.event("one")
    alice.push()
    alice.event("two")
    match way:
        case "transfer":
            alice.ssh(f"lease transfer {garden} bob --reason 'off to lunch'")
        case "grant":
            carol.denied("not-holder", f"lease grant {garden} bob", says=["alice holds", "--force"])
            carol.ssh(f"lease grant {garden} bob --force")
        case _:
            carol.ssh(f"lease revoke {garden} --reason stuck")
            alice.denied("not-holder", f"lease acquire {garden}", says=["revoked"])
            bob.acquire(garden)
    garden.refuses("not-holder", alice, says=["bob holds the lease"])

    bob.clone(garden)
    assert bob.log() == ["one"]
    bob.event("three")
    bob.push()
    assert garden.subjects() == ["one", "three"]


def test_only_the_holder_gives_the_lease_away(garden: Garden, alice: Actor, bob: Actor, mallory: Actor) -> None:
    alice.acquire(garden)
    bob.denied("not-holder", f"lease acquire {garden}", says=["alice holds"])
    bob.denied("not-holder", f"lease release {garden}", says=["alice holds"])
    bob.denied("not-holder", f"lease transfer {garden} bob", says=["alice holds"])
    bob.denied("not-permitted", f"lease grant {garden} bob --force")
    bob.denied("not-permitted", f"lease revoke {garden}")
    mallory.denied("not-permitted", f"lease acquire {garden}")
    alice.denied("not-permitted", f"lease transfer {garden} mallory", says=["mallory needs the role append"])
    assert alice.ssh_json(f"lease show {garden}")["holder"] == "alice"


def test_an_expired_lease_lets_the_next_one_in(garden: Garden, alice: Actor, bob: Actor) -> None:
    alice.clone(garden)
    bob.clone(garden)
    alice.acquire(garden, "--ttl 1")
    alice.event("late")
    # Stands in line, and is served as soon as the lease has run out.
    assert bob.acquire(garden, "--wait 20") == 2
    garden.refuses("not-holder", alice, says=["bob holds the lease"])
    bob.event("early")
    bob.push()
    assert garden.subjects() == ["early"]


def test_the_journal_tells_who_could_write_from_where(garden: Garden, alice: Actor, bob: Actor) -> None:
    alice.clone(garden)
    alice.acquire(garden)
    alice.event("one")
    alice.push()
    alice.ssh(f"lease transfer {garden} bob --reason 'off to lunch'")
    alice.git("fetch", "origin", "refs/leases/*:refs/leases/*")
    trailers = "%(trailers:key=Lease-Epoch,key=Holder,key=Resumed-At,key=Previous-Ended,valueonly,separator=%x20)"
    told = alice.git("log", "--reverse", f"--format={trailers}", f"refs/leases/{garden.space}").split("\n")
    genesis = alice.git("rev-list", "--max-parents=0", "HEAD")
    assert told == [f"1 alice 0 {genesis} first", f"2 bob 1 {alice.head()} transferred"]
