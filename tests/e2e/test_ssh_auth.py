"""Who is let in, as whom, and what is said to who is not: keys and certificates, by stock ssh."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.harness import Actor, Garden, Result, Server, make_key, run, surroundings, wait_until


class Authority:
    """A certificate authority in a folder, and a key that it certifies."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.key = make_key(folder / "ca")
        self._serial = 0

    @property
    def public(self) -> str:
        return self.key.with_suffix(".pub").read_text()

    def certify(self, names: str, *options: str) -> Path:
        """A fresh key with a certificate for these principals; the key's path."""
        self._serial += 1
        key = make_key(self.folder / f"user-{self._serial}")
        listed = ("-n", names) if names else ()
        words = ["ssh-keygen", "-q", "-s", str(self.key), "-I", "test", *listed, *options]
        run([*words, str(key.with_suffix(".pub"))], cwd=self.folder, env=surroundings(self.folder)).must()
        return key


@pytest.fixture
def authority(server: Server, tmp_path: Path) -> Iterator[Authority]:
    authority = Authority(tmp_path / "authority")
    (server.root / "user_ca_keys").write_text(f"# whom we believe\n{authority.public}")
    yield authority
    for name in ("user_ca_keys", "revoked_keys"):
        (server.root / name).unlink(missing_ok=True)


def loud(key: Path, home: Path, server: Server, command: str, *options: str) -> Result:
    """ssh as a person has it: not in batch mode, so that it turns to keyboard-interactive when its keys fail."""
    actor = Actor("somebody", key, home, server)
    words = [word for word in actor.ssh_words if word not in ("BatchMode=yes", "LogLevel=ERROR")]
    words = [w for i, w in enumerate(words) if not (w == "-o" and (i + 1 == len(words) or words[i + 1] == "-o"))]
    words += [*options, "-p", str(server.port), "127.0.0.1", command]
    return run(words, cwd=home, env=actor.env())


def explained(key: Path, home: Path, server: Server) -> str:
    refused = loud(key, home, server, "whoami")
    assert refused.status == 255, refused
    return refused.stderr


def test_a_certificate_names_the_principal(
    server: Server, garden: Garden, authority: Authority, tmp_path: Path
) -> None:
    # Named for other systems too, and with a user name on the line that is somebody else's: neither counts.
    alice = Actor("alice", authority.certify("alice,wheel", "-V", "-1m:+5m"), tmp_path / "home", server)
    assert alice.ssh_json("whoami")["principal"] == "alice"
    assert alice.try_ssh("whoami --json", "-l", "carol").stdout == alice.ssh("whoami --json")
    alice.clone(garden)
    alice.acquire(garden)
    alice.event("certified")
    alice.push()
    assert garden.subjects() == ["certified"]


REFUSED = {
    "expired": ("alice", ["-V", "-2m:-1m"], "certificate expired"),
    "not yet valid": ("alice", ["-V", "+5m:+10m"], "certificate not yet valid"),
    "for nobody": ("", [], "it names nobody"),
    "for a stranger": ("eve", [], "it names eve"),
    "for several": ("alice,bob", [], "it names several principals of this server: alice, bob"),
    "from elsewhere": ("alice", ["-O", "source-address=192.0.2.0/24"], "not good from this address"),
    "with a condition unknown to us": ("alice", ["-O", "critical:new@example.org=1"], "cannot be honoured"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_certificate_is_refused(server: Server, authority: Authority, tmp_path: Path, case: str) -> None:
    names, options, why = REFUSED[case]
    assert why in explained(authority.certify(names, *options), tmp_path, server).lower().replace("\r", "")


def test_an_address_that_matches(server: Server, authority: Authority, tmp_path: Path) -> None:
    key = authority.certify("bob", "-O", "source-address=127.0.0.0/8")
    assert Actor("bob", key, tmp_path, server).ssh_json("whoami")["principal"] == "bob"


def test_a_forced_command_is_all_there_is(server: Server, authority: Authority, tmp_path: Path, garden: Garden) -> None:
    key = authority.certify("alice", "-O", f"force-command=git-upload-pack {garden.repo}.git")
    alice = Actor("alice", key, tmp_path / "home", server)
    alice.clone(garden)
    assert "whynot" in alice.try_ssh("whoami", input=b"0000").stdout  # the refs, whatever was asked
    assert not alice.try_ssh(f"lease acquire {garden}", input=b"0000").stderr
    alice.event("not mine to push")
    assert not alice.tries_to_push().ok
    assert holder_of(garden) is None


def holder_of(garden: Garden) -> object:
    return json.loads(garden.server.host("lease", "show", str(garden), "--json").must().stdout)["holder"]


def test_an_unknown_authority(server: Server, authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    assert "is not trusted here" in explained(other.certify("alice"), tmp_path, server)


def test_an_authority_that_is_trusted_no_more(server: Server, authority: Authority, tmp_path: Path) -> None:
    alice = Actor("alice", authority.certify("alice"), tmp_path / "home", server)
    with multiplexed(alice, tmp_path / "control") as control:
        assert alice.try_ssh("whoami", *control).ok
        (server.root / "revoked_keys").write_text(authority.public)
        assert "is not trusted here" in explained(alice.key, tmp_path, server)
        refused = alice.try_ssh("whoami", *control)
        assert (refused.status, "is not trusted here" in refused.stderr) == (1, True)


def test_a_revoked_key(server: Server, authority: Authority, tmp_path: Path) -> None:
    certified = authority.certify("alice")
    words = ["ssh-keygen", "-l", "-f", str(certified.with_suffix(".pub"))]
    fingerprint = run(words, cwd=tmp_path, env=surroundings(tmp_path)).must().stdout.split()[1]
    (server.root / "revoked_keys").write_text(f"{fingerprint} lost laptop\n")
    said = explained(certified, tmp_path, server)
    assert f"certificate of {fingerprint}  revoked" in said


@contextmanager
def multiplexed(actor: Actor, socket: Path) -> Iterator[tuple[str, str]]:
    """One connection that stays open; the options by which further commands go over it."""
    control = ("-S", str(socket))
    base = [*actor.ssh_words, *control]
    to = ["-p", str(actor.server.port), "127.0.0.1"]
    run([*base, "-M", "-N", "-f", "-o", "ControlPersist=yes", *to], cwd=actor.home, env=actor.env()).must()
    try:
        yield control
    finally:
        run([*base, "-O", "exit", *to], cwd=actor.home, env=actor.env())


def test_a_key_that_was_only_offered_proves_nothing(server: Server, keys: dict[str, Path], tmp_path: Path) -> None:
    """ssh offers carol's public key, is told that it would do, cannot sign with it, and goes on to mallory's."""
    offered = tmp_path / "carol.pub"
    offered.write_bytes(keys["carol"].with_suffix(".pub").read_bytes())
    mallory = Actor("mallory", keys["mallory"], tmp_path / "home", server)
    words = [*mallory.ssh_words[:3], "-i", str(offered), *mallory.ssh_words[3:], "-v", "-o", "LogLevel=DEBUG1"]
    result = run([*words, "-p", str(server.port), "127.0.0.1", "whoami"], cwd=tmp_path, env=mallory.env()).must()
    assert "Server accepts key: " + str(offered) in result.stderr
    assert result.stdout.split()[:2] == ["principal", "mallory"]


def test_the_wrong_key_is_explained(server: Server, tmp_path: Path) -> None:
    wrong = make_key(tmp_path / "wrong")
    words = ["ssh-keygen", "-l", "-f", str(wrong)]
    fingerprint = run(words, cwd=tmp_path, env=surroundings(tmp_path)).must().stdout.split()[1]
    said = explained(wrong, tmp_path, server)
    assert "shardd: no-principal: none of the keys that your ssh offered opens this server:" in said
    assert f"{fingerprint}  not registered" in said
    assert f"`ssh -p {server.port} 127.0.0.1 key add NAME <FILE.pub`" in said
    assert "IdentitiesOnly=yes" in said
    assert said.count("no-principal") == 1


def test_git_passes_the_explanation_on(server: Server, garden: Garden, tmp_path: Path) -> None:
    wrong = Actor("eve", make_key(tmp_path / "wrong"), tmp_path / "home", server)
    command = (
        " ".join(word for word in wrong.ssh_words).replace("-o BatchMode=yes", "").replace("-o LogLevel=ERROR", "")
    )
    refused = wrong.try_git("clone", garden.url, "x", env={"GIT_SSH_COMMAND": command})
    assert "not registered" in refused.stderr
    assert "shardd: to mend it" in refused.stderr


def test_who_has_a_right_key_hears_nothing_of_the_wrong_one(
    server: Server, keys: dict[str, Path], tmp_path: Path
) -> None:
    agent = tmp_path / "agent"
    with subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(agent)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        try:
            env = surroundings(tmp_path, {"SSH_AUTH_SOCK": str(agent)})
            wait_until(agent.exists, "the agent listens")
            for key in (make_key(tmp_path / "wrong"), keys["bob"]):
                run(["ssh-add", "-q", str(key)], cwd=tmp_path, env=env).must()
            bob = Actor("bob", keys["bob"], tmp_path / "home", server)
            options = ["-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={bob.home}/known_hosts"]
            words = ["ssh", "-F", "/dev/null", *options, "-p", str(server.port), "127.0.0.1", "whoami", "--json"]
            result = run(words, cwd=tmp_path, env=env).must()
        finally:
            running.terminate()
    assert '"principal":"bob"' in result.stdout
    assert "shardd" not in result.stderr


def test_an_unreadable_access_file_keeps_the_last_good_one(server: Server, garden: Garden, alice: Actor) -> None:
    access = server.root / "access.toml"
    good = access.read_text()
    alice.ssh("whoami")  # the server has seen the good one
    access.write_text(good + "[roles\n")
    try:
        alice.acquire(garden)
        assert "the last good ones stay in force" in server.log.read_text()
        assert f"access.toml:{len(good.splitlines()) + 1}: " in server.log.read_text()
    finally:
        access.write_text(good)
