"""The same rules through OpenSSH's own server: `shardd shell` as forced command, `shardd authorized-keys`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shardd.authority.authorities import Authorities
from shardd.core.roles import FileAccess, Grant
from shardd.files.server_dir import ServerDir
from tests.e2e.harness import SHARDD, Actor, Garden, Result, make_key, run, surroundings, wait_until
from tests.e2e.needs import need
from tests.e2e.openssh import OpenSsh, find_sshd, me
from tests.e2e.test_expansion import nothing_brought
from tests.packs import Pack, commit, push


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Path]) -> Iterator[OpenSsh]:
    """In place of the built-in server, with the same people."""
    need("sshd", find_sshd())
    server = OpenSsh(tmp_path_factory.mktemp("stage") / "server", keys["carol"].with_suffix(".pub"))
    for name in ("alice", "bob", "mallory"):
        (server.root / "keys" / f"{name}.pub").write_bytes(keys[name].with_suffix(".pub").read_bytes())
    server.start()
    yield server
    server.stop()
    server.fsck()


@pytest.fixture
def garden(server: OpenSsh) -> Garden:
    """As elsewhere, but made in this process: each login through sshd starts Python three times."""
    garden = Garden(server, server.next_name())
    directory = ServerDir(server.root)
    authorities = Authorities.open(directory)
    authorities.create(garden.repo)
    with authorities.repo(garden.repo, FileAccess) as authority:
        authority.create(garden.space)
    for name, role in (("alice", "append"), ("bob", "append"), ("mallory", "read")):
        directory.access.grant(Grant(name, role, garden.repo))
    return garden


def test_clone_refusal_lease_push(garden: Garden, alice: Actor, bob: Actor, server: OpenSsh) -> None:
    alice.clone(garden)
    alice.event("page.bound: Home", {"page": "Home"})
    remedy = f"`ssh -p {server.port} {me()}@127.0.0.1 lease acquire {garden}`"
    garden.refuses("not-holder", alice, says=["nobody holds the lease", remedy])
    assert alice.acquire(garden) == 1
    alice.push()
    bob.clone(garden)
    assert bob.log() == ["page.bound: Home"]
    bob.event("page.bound: About")
    garden.refuses("not-holder", bob, says=["alice holds the lease"])
    alice.ssh(f"lease transfer {garden} bob")
    bob.push("-o", "epoch=2")
    assert garden.subjects() == ["page.bound: Home", "page.bound: About"]


@pytest.mark.slow
def test_one_space_by_its_url(garden: Garden, alice: Actor, carol: Actor, server: OpenSsh) -> None:
    carol.ssh(f"space create {garden.repo}/other")
    other = Garden(server, f"{garden.repo}/other", "other")
    alice.clone(other)
    assert alice.git("branch", "--all").split()[:2] == ["*", "spaces/other"]
    alice.ssh(f"lease acquire {garden.repo}/other")
    alice.event("one")
    alice.push()
    assert garden.git("log", "--format=%s", "-1", "refs/heads/spaces/other") == "one"


@pytest.mark.slow
def test_whoami_names_the_key(alice: Actor, keys: dict[str, Path]) -> None:
    words = ["ssh-keygen", "-l", "-f", str(keys["alice"].with_suffix(".pub"))]
    fingerprint = run(words, cwd=alice.home, env=surroundings(alice.home)).must().stdout.split()[1]
    assert alice.ssh_json("whoami")["principal"] == "alice"
    assert alice.ssh_json("whoami")["key"] == fingerprint


def test_there_is_no_shell(garden: Garden, alice: Actor, server: OpenSsh) -> None:
    hello = run([*alice.ssh_words, "-p", str(server.port), "127.0.0.1"], cwd=alice.home, env=alice.env())
    assert hello.status == 2
    assert "hello alice" in hello.stderr
    assert alice.try_ssh("shell alice $(id)").status == 2
    assert not alice.try_ssh("", "-s", "sftp").ok


@pytest.mark.slow
def test_a_file_is_standard_input(alice: Actor, carol: Actor, server: OpenSsh, keys: dict[str, Path]) -> None:
    public = keys["alice"].with_suffix(".pub")
    refused = carol.try_ssh(f"key add eve {public}")
    assert "one public key is expected, not 0 lines" in refused.stderr
    refused = carol.try_ssh("key add eve /dev/null", input=public.read_bytes())
    assert "is already a key of alice" in refused.stderr
    assert not (server.root / "keys" / "eve.pub").exists()


def test_what_a_client_sends_along_is_ignored(garden: Garden, mallory: Actor) -> None:
    mallory.clone(garden)
    mallory.event("stolen")
    sent = " ".join([*mallory.ssh_words, "-o", "SendEnv=SHARDD_*", "-o", "SendEnv=GIT_*"])
    env = {"GIT_SSH_COMMAND": sent, "SHARDD_PRINCIPAL": "alice", "SHARDD_RELAY": "1"}
    garden.refuses("not-permitted", mallory, env=env)


def test_a_stranger_is_not_let_in(server: OpenSsh, tmp_path: Path) -> None:
    stranger = Actor("eve", make_key(tmp_path / "eve"), tmp_path / "home", server)
    refused = stranger.try_ssh("whoami")
    assert refused.status == 255
    assert "Permission denied" in refused.stderr


def test_a_removed_key_loses_its_open_connection(garden: Garden, server: OpenSsh, tmp_path: Path, bob: Actor) -> None:
    key = make_key(tmp_path / "second")
    server.host("key", "add", "bob", str(key.with_suffix(".pub"))).must()
    second = Actor("bob", key, tmp_path / "second-home", server)
    control = ("-S", str(tmp_path / "control"))
    words = [*second.ssh_words, *control, "-M", "-N", "-f", "-p", str(server.port), "127.0.0.1"]
    run([*words[:-1], "-o", "ControlPersist=yes", words[-1]], cwd=second.home, env=second.env()).must()
    try:
        assert second.try_ssh("whoami", *control).ok
        fingerprint = str(second.ssh_json("whoami")["key"])
        server.host("key", "remove", "bob", fingerprint).must()
        refused = second.try_ssh("whoami", *control)
        assert refused.status == 1
        assert "no longer registered" in refused.stderr
        assert second.try_ssh(f"git-upload-pack {garden.repo}.git", *control).status == 128
        assert bob.try_ssh("whoami").ok
    finally:
        run([*words[: words.index("-M")], "-O", "exit", "127.0.0.1"], cwd=second.home, env=second.env())


def authorized_keys(server: OpenSsh, *words: str) -> Result:
    return run(
        [*SHARDD, "--dir", str(server.root), "authorized-keys", *words], cwd=server.home, env=surroundings(server.home)
    )


def test_authorized_keys_names_registered_keys_only(server: OpenSsh, keys: dict[str, Path]) -> None:
    every = authorized_keys(server).must().stdout.splitlines()
    assert {line.split("shell ")[1].split()[0] for line in every} == {"alice", "bob", "carol", "mallory"}
    assert all(line.startswith('command="') and '",restrict ssh-ed25519 ' in line for line in every)
    blob = keys["alice"].with_suffix(".pub").read_text().split()[1]
    by_key = authorized_keys(server, me(), blob).must().stdout.splitlines()
    assert len(by_key) == 1
    assert " shell alice " in by_key[0]
    fingerprint = by_key[0].split("--key ")[1].split('"')[0]
    assert authorized_keys(server, me(), fingerprint).must().stdout.splitlines() == by_key
    assert authorized_keys(server, me(), "SHA256:" + "A" * 43).must().stdout == ""


def test_authorized_keys_says_nothing_when_in_doubt(server: OpenSsh) -> None:
    for user in ("nobody", "no-such-user"):
        refused = authorized_keys(server, user)
        assert (refused.ok, refused.stdout) == (False, "")
    broken = server.root / "keys" / "zoe.pub"
    broken.write_text("ssh-ed25519 AAAA zoe\n")
    try:
        refused = authorized_keys(server, me())
        assert (refused.status, refused.stdout) == (4, "")
        assert f"{broken}:1: " in refused.stderr
    finally:
        broken.unlink()
    assert os.getuid() == server.root.stat().st_uid


def local_shell(server: OpenSsh, name: str, asked: str) -> Result:
    """The forced command, as sshd would start it."""
    words = [*SHARDD, "--dir", str(server.root), "shell", name]
    return run(words, cwd=server.home, env=surroundings(server.home, {"SSH_ORIGINAL_COMMAND": asked}))


def test_a_retired_name_that_a_hand_written_line_still_names(server: OpenSsh, garden: Garden) -> None:
    access = server.root / "access.toml"
    good = access.read_text()
    access.write_text(f'retired = ["bob"]\n{good}')
    try:
        assert "bob was retired" in local_shell(server, "bob", "whoami").stderr
        assert local_shell(server, "bob", f"git-upload-pack {garden.repo}.git").status == 128
        assert " shell bob " not in authorized_keys(server).must().stdout
        access.unlink()
        refused = local_shell(server, "alice", "whoami")
        assert (refused.ok, refused.stdout) == (False, "")
    finally:
        access.write_text(good)


def test_a_local_shell_is_no_way_around(server: OpenSsh) -> None:
    """SHARDD_PRINCIPAL counts for the owner alone, and the forced command runs for nobody else."""
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    assert "alice" in local_shell(server, "alice", "whoami").must().stdout
    owner = server.root.stat()
    os.chown(server.root, 65534, 65534)
    try:
        refused = local_shell(server, "alice", "whoami")
        assert refused.status == 3
        assert "belongs to nobody, and you are root" in refused.stderr
    finally:
        os.chown(server.root, owner.st_uid, owner.st_gid)


def test_what_a_pack_expands_to_is_bounded(garden: Garden, mallory: Actor) -> None:
    """As over our own server, before git has it; what a killed push would have brought is gone."""
    pack = Pack()
    tip = pack.put("commit", commit(pack.put("tree", b""), [], bytes(30 * 2**20)))
    words = [*mallory.ssh_words, "-p", str(mallory.server.port), f"{me()}@127.0.0.1"]
    sent = push([("0" * 40, tip, "refs/notes/mallory")], pack.bytes())
    said = run([*words, f"git-receive-pack {garden.repo}.git"], cwd=mallory.home, env=mallory.env(), input=sent)
    assert "ng refs/notes/mallory too-large: an object of 31457" in said.stdout
    wait_until(lambda: nothing_brought(garden), "what it brought is gone")
    assert not garden.server.git(garden.repo, "cat-file", "-e", tip).ok
