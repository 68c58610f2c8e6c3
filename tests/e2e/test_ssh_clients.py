"""Clients other than OpenSSH's, and what of git goes through ssh beside clone and push."""

from __future__ import annotations

import subprocess
from pathlib import Path

import paramiko
import pytest

from tests.e2e.harness import DEADLINE, Actor, Garden, Server, run
from tests.e2e.needs import need


@pytest.fixture(autouse=True)
def three_events(garden: Garden, alice: Actor) -> None:
    alice.clone(garden)
    alice.acquire(garden)
    for name in ("one", "two", "three"):
        alice.event(name)
    alice.push()


def ends_with_a_push(garden: Garden, who: Actor, ssh: str, variant: str) -> None:
    """Clone, append and push by another ssh than the one in the harness."""
    env = {"GIT_SSH_COMMAND": ssh, "GIT_SSH_VARIANT": variant}
    who.cwd = who.home
    who.git("clone", "--quiet", garden.url, "clone", env=env)
    who.cwd = who.home / "clone"
    who.event("four")
    who.push(env=env)
    assert garden.subjects()[-1] == "four"
    garden.git("fsck", "--strict")


def test_dropbear(garden: Garden, alice: Actor, server: Server, tmp_path: Path) -> None:
    client, convert = need("dbclient"), need("dropbearconvert")
    key = tmp_path / "dropbear-key"
    env = alice.env({"HOME": str(tmp_path)})
    run([convert, "openssh", "dropbear", str(alice.key), str(key)], cwd=tmp_path, env=env).must()
    # -y -y: the host key is not what is tested, and dbclient keeps its own list of them below HOME.
    assert (
        "alice"
        in run(
            [client, "-y", "-y", "-i", str(key), "-p", str(server.port), "127.0.0.1", "whoami"], cwd=tmp_path, env=env
        )
        .must()
        .stdout
    )
    ends_with_a_push(garden, alice, f"{client} -y -y -i {key}", "ssh")


def test_plink(garden: Garden, alice: Actor, server: Server, tmp_path: Path) -> None:
    client, convert = need("plink"), need("puttygen")
    key = tmp_path / "key.ppk"
    run([convert, str(alice.key), "-O", "private", "-o", str(key)], cwd=tmp_path, env=alice.env()).must()
    public = str(server.root / "host_keys" / "ssh_host_ed25519_key.pub")
    fingerprint = run(["ssh-keygen", "-l", "-f", public], cwd=tmp_path, env=alice.env()).must().stdout.split()[1]
    words = [client, "-batch", "-hostkey", fingerprint, "-i", str(key)]
    said = run([*words, "-P", str(server.port), "git@127.0.0.1", "whoami"], cwd=tmp_path, env=alice.env()).must()
    assert "alice" in said.stdout
    ends_with_a_push(Garden(server, garden.repo), alice, " ".join([*words, "-l", "git"]), "plink")


def test_paramiko(garden: Garden, alice: Actor, server: Server) -> None:
    """A push through a channel that a program holds: git talks to it as to a server of its own."""
    alice.event("four")
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(alice.home / "known_hosts"))
        client.connect(
            "127.0.0.1", server.port, "x", key_filename=str(alice.key), allow_agent=False, look_for_keys=False
        )
        _, stdout, _ = client.exec_command("whoami --json")
        assert b'"alice"' in stdout.read()
        stdin, stdout, stderr = client.exec_command(f"git-receive-pack {garden.repo}.git")
        head, ref, new = garden.head(), garden.ref, alice.head()
        stdout.channel.settimeout(DEADLINE)
        while (length := int(stdout.read(4), 16)) != 0:
            stdout.read(length - 4)
        pack = raw_git(alice, "pack-objects", "--stdout", "--revs", "-q", input=f"{new}\n^{head}\n".encode())
        line = f"{head} {new} {ref}\0report-status".encode()
        stdin.write(b"%04x" % (len(line) + 4) + line + b"0000" + pack)
        stdin.channel.shutdown_write()
        report = stdout.read()
        assert f"ok {ref}".encode() in report, stderr.read()
        assert stdout.channel.recv_exit_status() == 0
    assert garden.head() == new


def raw_git(who: Actor, *words: str, input: bytes = b"") -> bytes:
    """What git says, as bytes."""
    done = subprocess.run(["git", *words], cwd=who.cwd, env=who.env(), input=input, capture_output=True, check=True)
    return done.stdout


def test_a_shallow_clone_appends_and_deepens(garden: Garden, alice: Actor) -> None:
    alice.clone(garden, "--depth=1")
    assert alice.git("rev-parse", "--is-shallow-repository") == "true"
    assert alice.git("log", "--format=%s") == "three"
    alice.event("four")
    alice.push()
    alice.git("fetch", "--unshallow", "--quiet")
    assert alice.log() == ["one", "two", "three", "four"]


def test_a_partial_clone(garden: Garden, alice: Actor) -> None:
    alice.clone(garden, "--filter=blob:none", "--no-checkout")
    assert alice.git("config", "remote.origin.partialclonefilter") == "blob:none"
    alice.event("four")
    alice.push()
    alice.clone(garden, "--filter=tree:0", "--no-checkout")
    assert alice.log() == ["one", "two", "three", "four"]


@pytest.mark.parametrize("version", ["0", "1", "2"])
def test_the_protocol_that_was_asked_for(garden: Garden, alice: Actor, version: str) -> None:
    result = alice.try_git("-c", f"protocol.version={version}", "ls-remote", "origin", env={"GIT_TRACE_PACKET": "1"})
    said = result.must().stderr
    assert ("< version 2" in said) == (version == "2")
    assert ("< version 1" in said) == (version == "1")
    assert garden.ref in result.stdout


def test_a_protocol_that_is_none(garden: Garden, alice: Actor) -> None:
    """The variable is shape-checked: what is no protocol is dropped, and the service goes on without."""
    for odd in ("version=2; id", "version=2\nx", "../../x", "version=99999999", "-c core.hooksPath=x"):
        env = {"GIT_PROTOCOL": odd}
        result = alice.try_ssh(
            f"git-upload-pack {garden.repo}.git", "-o", "SendEnv=GIT_PROTOCOL", input=b"0000", env=env
        )
        assert "agent=git" in result.must().stdout, odd


def test_an_archive(garden: Garden, alice: Actor) -> None:
    raw = raw_git(alice, "archive", "--remote=origin", "spaces/whynot")
    assert run(["git", "get-tar-commit-id"], cwd=alice.cwd, env=alice.env(), input=raw).must().stdout.strip() == (
        garden.head()
    )
    assert not alice.try_git("archive", "--remote=origin", "refs/heads/other").ok
