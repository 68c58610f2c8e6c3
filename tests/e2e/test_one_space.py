"""A space by its own URL: the same repo, but one sees and pushes only what belongs to the space."""

from __future__ import annotations

import pytest

from tests.e2e.harness import Actor, Garden


@pytest.fixture
def other(garden: Garden, carol: Actor) -> Garden:
    """A second space, by its own URL."""
    carol.ssh(f"space create {garden.repo}/other")
    carol.ssh(f"space create {garden.repo}/other-one")
    return Garden(garden.server, f"{garden.repo}/other", "other")


def advertised(who: Actor, url: str, version: str = "2") -> set[str]:
    lines = who.git("-c", f"protocol.version={version}", "ls-remote", url).splitlines()
    return {line.split("\t")[1] for line in lines}


@pytest.mark.parametrize("version", ["0", "2"])
def test_only_its_own_refs_are_shown(garden: Garden, other: Garden, alice: Actor, bob: Actor, version: str) -> None:
    for space in (garden.space, "other", "other-one"):
        alice.ssh(f"lease acquire {garden.repo}/{space}")
    for who in (alice, bob):
        who.clone(garden)
        who.git("notes", "--ref", who.name, "add", "-m", "well", "HEAD")
        who.push("origin", f"refs/notes/{who.name}")
    everything = {"refs/heads/spaces/other", "refs/leases/other", "refs/notes/alice"}
    assert advertised(alice, other.url, version) - {"HEAD"} == everything
    assert len(advertised(alice, garden.url, version)) == 9
    assert alice.git("ls-remote", "--symref", other.url, "HEAD").startswith("ref: refs/heads/spaces/other\tHEAD")


def test_a_clone_checks_the_space_out_and_pushes_to_it(garden: Garden, other: Garden, alice: Actor) -> None:
    alice.clone(other)
    assert alice.git("symbolic-ref", "HEAD") == "refs/heads/spaces/other"
    assert alice.git("for-each-ref", "--format=%(refname)", "refs/remotes").splitlines() == [
        "refs/remotes/origin/HEAD",
        "refs/remotes/origin/spaces/other",
    ]
    alice.event("one")
    refused = alice.tries_to_push()
    assert f"lease acquire {garden.repo}/other`" in refused.stderr
    alice.ssh(f"lease acquire {garden.repo}/other")
    alice.push()
    assert garden.git("log", "-1", "--format=%s", "refs/heads/spaces/other") == "one"
    assert garden.subjects() == []


def test_the_other_space_is_out_of_reach(garden: Garden, other: Garden, alice: Actor) -> None:
    alice.acquire(garden)
    alice.clone(garden)
    alice.event("one")
    before = garden.refs()
    refused = alice.tries_to_push(other.url, f"HEAD:{garden.ref}")
    assert "deny updating a hidden ref" in refused.stderr
    assert garden.refs() == before
    alice.push(garden.url, f"HEAD:{garden.ref}")


def test_a_space_that_is_none(garden: Garden, other: Garden, alice: Actor, mallory: Actor) -> None:
    for path, code in (
        (f"{garden.repo}/nothing.git", "no-such-space"),
        ("nowhere/nothing.git", "not-permitted"),
        (f"{garden.repo}/../{garden.repo}.git", "no-such-repo"),
        (f"{garden.repo}/a/b.git", "no-such-repo"),
        (f"{garden.repo}.git/shardd", "no-such-space"),
        (f"{garden.repo}/shardd/views/other", "no-such-repo"),
    ):
        refused = alice.try_git("ls-remote", f"{garden.server.url}/{path}")
        assert f"shardd: {code}: " in refused.stderr, (path, refused.stderr)


def test_a_role_on_the_space_alone_is_enough(garden: Garden, other: Garden, carol: Actor, mallory: Actor) -> None:
    carol.ssh(f"role revoke mallory read {garden.repo}")
    assert "not-permitted" in mallory.try_git("ls-remote", other.url).stderr
    carol.ssh(f"role grant mallory append {garden.repo}/other")
    mallory.clone(other)
    mallory.ssh(f"lease acquire {garden.repo}/other")
    mallory.event("mine")
    mallory.push()
