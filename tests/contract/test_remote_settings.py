"""A RemoteLog finds its way, its keys and its trust where the user's ssh does, with her configuration."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncssh
import pytest

from shardd import Misuse, RemoteLog, Unavailable
from shardd.client.address import parse_url
from shardd.client.ssh_settings import Settings
from shardd.service.connection import Connection
from tests.serving import Scene, serving, write_key

WIKI = "ssh://wiki/garden.git"
RELAY = "bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; cat <&3 & exec cat >&3'"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with serving(tmp_path_factory.mktemp("scene")) as scene:
        yield scene


class Home:
    """A home with a key of alice, and an ssh that takes it for hers: the real one asks the password file for that."""

    def __init__(self, path: Path, scene: Scene) -> None:
        self.path = path
        self.scene = scene
        self.ssh = path / ".ssh"
        self.ssh.mkdir()
        self.config("")
        self.write("known_hosts", scene.known_hosts())
        bin = path / "bin"
        bin.mkdir()
        (bin / "ssh").write_text(
            "#!/bin/sh\n"
            f'for word; do [ "$word" = -W ] || continue\n'
            f'echo "$*" >{path}/jumped\n'
            f"exec {RELAY.format(port=scene.port)}; done\n"
            f'exec {shutil.which("ssh")} -F {self.ssh}/config "$@"\n'
        )
        (bin / "ssh").chmod(0o755)
        for name in ("alice", "alice.pub"):
            shutil.copy(scene.home / name, self.ssh / name)

    def write(self, name: str, text: str) -> None:
        (self.ssh / name).write_text(text)

    def key(self, name: str) -> None:
        """alice's, under another name."""
        for end in ("", ".pub"):
            shutil.copy(self.ssh / f"alice{end}", self.ssh / f"{name}{end}")

    def config(self, text: str, *, host: str = "Host wiki", identity: str = "IdentityFile ~/.ssh/alice") -> None:
        """What is said of wiki: the text, and where it is."""
        rest = (
            f" HostName 127.0.0.1\n Port {self.scene.port}\n {identity}\n UserKnownHostsFile {self.ssh}/known_hosts\n"
        )
        self.write("config", f"{host}\n {text}\n{rest} GlobalKnownHostsFile /dev/null\n")

    def works(self, url: str = WIKI) -> bool:
        with RemoteLog(url, retry_seconds=0) as log:
            return log.head("whynot") is not None


@pytest.fixture
def home(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return Home(tmp_path, scene)


def included(home: Home) -> None:
    home.config("")
    home.write("more", (home.ssh / "config").read_text())
    home.write("config", f"Include {home.ssh}/more\n")


def matched(home: Home) -> None:
    home.config("", host='Match originalhost wiki exec "true"')


def known_elsewhere(home: Home) -> None:
    (home.ssh / "known_hosts").rename(home.ssh / "others")
    home.config(f"UserKnownHostsFile {home.ssh}/missing {home.ssh}/others")


def known_to_all(home: Home) -> None:
    (home.ssh / "known_hosts").rename(home.ssh / "global")
    home.config(f"GlobalKnownHostsFile {home.ssh}/global")


def known_by_another_name(home: Home) -> None:
    home.config("HostKeyAlias garden-server")
    home.write("known_hosts", home.scene.known_hosts().replace(f"[127.0.0.1]:{home.scene.port}", "garden-server"))


def no_proxy_after_all(home: Home) -> None:
    home.config("ProxyCommand none")
    home.write("config", (home.ssh / "config").read_text() + "Host *\n ProxyCommand exit 1\n")


def by_a_proxy(home: Home) -> None:
    home.config(f"ProxyCommand {RELAY.format(port='%p')}")


def by_a_jump(home: Home) -> None:
    home.config("ProxyJump first,alice@second:2222")


def first_key_missing(home: Home) -> None:
    home.config("IdentityFile ~/.ssh/nowhere\n IdentityFile %d/.ssh/alice", identity="")


def first_key_locked(home: Home) -> None:
    locked = asyncssh.generate_private_key("ssh-ed25519").export_private_key("pkcs8-pem", "secret")
    (home.ssh / "locked").write_bytes(locked)
    home.config("IdentityFile ~/.ssh/locked")


def first_key_garbage(home: Home) -> None:
    home.write("garbage", "this is no key\n")
    home.config("IdentityFile ~/.ssh/garbage\n IdentityFile ~/.ssh")


def unknown_keys_first(home: Home) -> None:
    """By the names that ssh tries when nothing is said: RSA before Ed25519."""
    home.config("", identity="")
    write_key(home.ssh / "id_rsa", asyncssh.generate_private_key("ssh-rsa", key_size=2048))
    write_key(home.ssh / "id_ecdsa", asyncssh.generate_private_key("ecdsa-sha2-nistp256"))
    home.key("id_ed25519")


def broken_known_hosts(home: Home) -> None:
    lines = [
        "[127.0.0.1]",
        f"[127.0.0.1]:{home.scene.port} ssh-ed25519 AAAA",
        "@what 127.0.0.1 ssh-rsa x",
        "|1|x|y z a",
    ]
    (home.ssh / "known_hosts").write_bytes(
        "\n".join(lines).encode() + b"\n\xff\xfe *\n" + home.scene.known_hosts().encode()
    )


def hashed_known_hosts(home: Home) -> None:
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(home.ssh / "known_hosts")], check=True, capture_output=True)


def pattern_in_known_hosts(home: Home) -> None:
    home.write("known_hosts", home.scene.known_hosts().replace("[127.0.0.1]", "[127.0.0.?]"))


def one_host_key_known(home: Home) -> None:
    lines = home.scene.known_hosts().splitlines(True)
    home.write("known_hosts", "".join(line for line in lines if "ecdsa" in line))


def no_ssh(home: Home) -> None:
    (home.path / "bin" / "ssh").unlink()
    os.environ["PATH"] = str(home.path / "bin")  # put back with the rest of it


def no_ssh_and_odd_settings(home: Home) -> None:
    no_ssh(home)
    home.config("ProxyCommand none\n IdentityFile ~/.ssh/nowhere")


WAYS: list[Callable[[Home], None]] = [
    included, matched, known_elsewhere, known_to_all, known_by_another_name, no_proxy_after_all, by_a_proxy, by_a_jump,
    first_key_missing, first_key_locked, first_key_garbage, unknown_keys_first, broken_known_hosts, hashed_known_hosts,
    pattern_in_known_hosts, one_host_key_known, no_ssh, no_ssh_and_odd_settings,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_it_connects_as_ssh_does(home: Home, way: Callable[[Home], None]) -> None:
    way(home)
    assert home.works()


def test_a_jump_is_what_ssh_makes_of_it(home: Home) -> None:
    by_a_jump(home)
    assert home.works()
    said = (home.path / "jumped").read_text().strip()
    assert said == f"-J first -W [127.0.0.1]:{home.scene.port} ssh://alice@second:2222"


@pytest.mark.parametrize("url", ["ssh://MyWiki/garden.git", "MyWiki:garden.git", "git+ssh://git@MyWiki/garden.git"])
def test_the_name_of_a_host_keeps_its_case(home: Home, url: str) -> None:
    home.config("", host="Host MyWiki")
    assert home.works(url)


def test_a_server_that_hangs_up_at_the_second_request(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """As asyncssh's own do, and ours once did."""
    monkeypatch.setattr(Connection, "_hear_packets", lambda *_: None)
    unknown_keys_first(home)
    assert home.works()


@pytest.fixture
def agent(home: Home) -> Iterator[Path]:
    """An agent that has one other key, and alice's."""
    sock = home.path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.DEVNULL) as running:
        try:
            write_key(home.ssh / "other")
            env = {**os.environ, "SSH_AUTH_SOCK": str(sock)}
            for name in ("other", "alice"):
                while subprocess.run(["ssh-add", "-q", str(home.ssh / name)], env=env, capture_output=True).returncode:
                    assert running.poll() is None
            (home.ssh / "alice").unlink()
            yield sock
        finally:
            running.terminate()


@pytest.mark.parametrize(
    ("said", "works"),
    [
        ("IdentityAgent {sock}", True),
        ("IdentityAgent $THE_AGENT", True),
        ("IdentityAgent {sock}\n IdentitiesOnly yes", True),
        ("IdentityAgent {sock}\n IdentitiesOnly yes\n IdentityFile ~/.ssh/other", False),
        ("IdentityAgent none", False),
        ("IdentityAgent {sock}.gone", False),
    ],
)
def test_an_agent(home: Home, agent: Path, monkeypatch: pytest.MonkeyPatch, said: str, works: bool) -> None:
    monkeypatch.setenv("THE_AGENT", str(agent))
    home.config(said.format(sock=agent), identity="IdentityFile ~/.ssh/alice.pub" if "other" not in said else "")
    if works:
        assert home.works()
    else:
        with pytest.raises(Unavailable):
            home.works()


@pytest.mark.parametrize("beside", [True, False])
def test_a_certificate(home: Home, request: pytest.FixtureRequest, beside: bool) -> None:
    authority = asyncssh.generate_private_key("ssh-ed25519")
    listed = home.scene.server.root / "user_ca_keys"
    listed.write_bytes(authority.export_public_key())
    request.addfinalizer(listed.unlink)
    certified = write_key(home.ssh / "work")
    made = authority.generate_user_certificate(certified, "test", principals=["alice"])
    path = home.ssh / ("work-cert.pub" if beside else "badge")
    path.write_bytes(made.export_certificate())
    said = "" if beside else "CertificateFile ~/.ssh/badge\n "
    home.config(f"{said}IdentityFile ~/.ssh/work", identity="")
    assert home.works()


def revoked(home: Home) -> None:
    lines = home.scene.known_hosts()
    home.write("known_hosts", lines + "".join(f"@revoked * {line.partition(' ')[2]}\n" for line in lines.splitlines()))


def unknown_host(home: Home) -> None:
    home.write("known_hosts", "")


def another_key(home: Home) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    home.write("known_hosts", f"[127.0.0.1]:{home.scene.port} {key}")


def does_not_read(home: Home) -> None:
    home.write("config", "Host wiki\n Prot 22\n")


def no_ssh_and_it_does_not_read(home: Home) -> None:
    no_ssh(home)
    home.write("config", "Host wiki\n 'what\n")


def proxy_that_fails(home: Home) -> None:
    home.config("ProxyCommand exit 1")


def no_key(home: Home) -> None:
    home.config("", identity="IdentityFile ~/.ssh/nowhere")


def unknown_key(home: Home) -> None:
    write_key(home.ssh / "stranger")
    home.config("", identity="IdentityFile ~/.ssh/stranger")


def odd_host(home: Home) -> None:
    home.config("HostName a..b")


FAULTS: dict[Callable[[Home], None], str] = {
    revoked: "its host key is revoked",
    unknown_host: "its host key is not in known_hosts",
    another_key: "its host key is not the one in known_hosts",
    does_not_read: "ssh does not read its configuration",
    no_ssh_and_it_does_not_read: "",
    proxy_that_fails: "",
    no_key: "there is no key to open it with",
    unknown_key: "none of 1 keys opens it",
    odd_host: "could not be reached",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_only_errors_of_ours_come_out(home: Home, fault: Callable[[Home], None]) -> None:
    fault(home)
    with pytest.raises((Unavailable, Misuse)) as caught:
        home.works()
    assert FAULTS[fault] in caught.value.message


def test_user_port_and_timeout(home: Home) -> None:
    home.write("config", "Host wiki\n User bob\n Port 7\n ConnectTimeout 3\n")
    found = Settings.of(parse_url("ssh://wiki/x"), key=None, known_hosts=None)
    assert (found.host, found.user, found.port, found.timeout) == ("wiki", "bob", 7, 3)
    found = Settings.of(parse_url("ssh://alice@wiki:8/x"), key=None, known_hosts=None)
    assert (found.user, found.port) == ("alice", 8)
