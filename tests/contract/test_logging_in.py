"""What clients of every age meet when they log in: read off the wire, with the server in this process."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import asyncssh
import paramiko
import pytest
import structlog

from shardd.cli.authorized_keys import AuthorizedKeys
from shardd.core.ssh_wire import SIGNATURES, certificate_signature
from shardd.files.access import fingerprint
from shardd.service.listener import host_keys
from tests.serving import Scene, serving

PATIENCE = 30.0


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with serving(tmp_path_factory.mktemp("scene")) as scene:
        yield scene


@contextmanager
def transport(scene: Scene) -> Iterator[paramiko.Transport]:
    """A connection, as nobody yet."""
    with (
        scene.alone(),
        closing(paramiko.Transport(socket.create_connection(("127.0.0.1", scene.port), PATIENCE))) as made,
    ):
        made.start_client(timeout=PATIENCE)
        yield made


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Signer(paramiko.PKey):
    """A key that signs as it likes, whatever the library of the other side, or of ours, would do."""

    public_blob = None  # which the lowest paramiko asks every key for

    def __init__(self, key: asyncssh.SSHKey, name: str, blob: bytes = b"") -> None:
        self._key, self._name, self._blob = key, name, blob or key.public_data

    def get_name(self) -> str:
        return self._key.get_algorithm()

    def asbytes(self) -> bytes:
        return self._blob

    def sign_ssh_data(self, data: bytes, algorithm: str | None = None) -> paramiko.Message:
        return paramiko.Message(self._key.sign(data, self._name.encode()))


def said_to(scene: Scene, key: paramiko.PKey) -> str:
    """What is said to who offers that key, and nothing else; empty for who is let in."""
    with transport(scene) as client:
        try:
            client.auth_publickey("git", key)
        except paramiko.AuthenticationException:
            with pytest.raises(paramiko.AuthenticationException):
                client.auth_interactive("git", lambda *_: [])
            return (client.get_banner() or b"").decode()
        return ""


def asks_again(client: paramiko.Transport, key: paramiko.PKey) -> None:
    with pytest.raises(paramiko.AuthenticationException):
        client.auth_publickey("git", key)


@pytest.mark.parametrize("first", ["another key", "three other keys", "no key", "another user"])
def test_a_client_may_repeat_its_service_request(scene: Scene, first: str) -> None:
    """paramiko's does before each thing that it tries."""
    with transport(scene) as client:
        if first == "no key":
            with pytest.raises(paramiko.BadAuthenticationType):
                client.auth_none("git")
        for _ in range({"another key": 1, "three other keys": 3}.get(first, 0)):
            asks_again(client, paramiko.ECDSAKey.generate())
        if first == "another user":
            with pytest.raises(paramiko.AuthenticationException):
                client.auth_publickey("somebody", paramiko.ECDSAKey.generate())
        client.auth_publickey("git", paramiko.Ed25519Key.from_private_key_file(str(scene.home / "alice")))
        assert client.is_authenticated()


def test_each_signature_algorithm_is_listed_once(scene: Scene) -> None:
    """A client of libssh2's writes past the end of its memory where one is listed twice."""
    with transport(scene) as client:
        wait_for(lambda: bool(vars(client)["server_extensions"]))
        listed = vars(client)["server_extensions"]["server-sig-algs"].decode().split(",")
    assert listed == list(SIGNATURES)
    assert len(set(listed)) == len(listed)
    assert not {"ssh-rsa", "ssh-dss"} & set(listed)


RSA = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
SMALL = asyncssh.generate_private_key("ssh-rsa", key_size=1024)
ED = asyncssh.generate_private_key("ssh-ed25519")


@pytest.mark.parametrize(
    ("key", "signed", "says"),
    [
        (RSA, "rsa-sha2-256", ""),
        (RSA, "rsa-sha2-512", ""),
        (RSA, "ssh-rsa", "signed with ssh-rsa, which is SHA-1; take a newer ssh"),
        (RSA, "ssh-rsa-sha256@ssh.com", "signed with ssh-rsa-sha256@ssh.com"),
        (SMALL, "rsa-sha2-256", "an RSA key of 1024 bits is too weak, 2048 are the least"),
    ],
)
def test_weak_rsa_is_refused_and_told_why(
    scene: Scene, request: pytest.FixtureRequest, key: asyncssh.SSHKey, signed: str, says: str
) -> None:
    listed = scene.server.root / "keys" / "rsa.pub"
    listed.write_bytes(key.export_public_key())
    request.addfinalizer(listed.unlink)
    said = said_to(scene, Signer(key, signed))
    assert (says in said) and bool(said) == bool(says)


def test_a_weak_key_is_not_handed_to_another_sshd(scene: Scene, request: pytest.FixtureRequest) -> None:
    listed = scene.server.root / "keys" / "rsa.pub"
    listed.write_bytes(RSA.export_public_key() + SMALL.export_public_key())
    request.addfinalizer(listed.unlink)
    lines = AuthorizedKeys(None, None).lines(scene.server)
    assert [len(line.split()[-1]) > 300 for line in lines if " ssh-rsa " in line] == [True]


@pytest.mark.parametrize(
    ("authority", "certified", "signed", "says"),
    [
        (ED, ED, "", ""),
        (RSA, ED, "rsa-sha2-256", ""),
        (RSA, ED, "ssh-rsa", "its authority has signed with ssh-rsa"),
        (SMALL, ED, "rsa-sha2-256", "its authority's: an RSA key of 1024 bits"),
        (ED, SMALL, "", "an RSA key of 1024 bits"),
    ],
)
def test_a_certificate_is_no_way_around_it(
    scene: Scene,
    request: pytest.FixtureRequest,
    authority: asyncssh.SSHKey,
    certified: asyncssh.SSHKey,
    signed: str,
    says: str,
) -> None:
    listed = scene.server.root / "user_ca_keys"
    listed.write_bytes(authority.export_public_key())
    request.addfinalizer(listed.unlink)
    made = authority.generate_user_certificate(certified, "test", principals=["alice"], sig_alg=signed or ())
    blob = bytes(made.public_data)
    assert certificate_signature(blob) and not certificate_signature(blob[:-1])
    name = "rsa-sha2-256" if certified is SMALL else "ssh-ed25519"
    said = said_to(scene, Signer(certified, name, blob))
    assert (says in said) and bool(said) == bool(says)


def connected(scene: Scene, key: asyncssh.SSHKey, **options: object) -> None:
    async def connect() -> None:
        async with asyncssh.connect(
            "127.0.0.1", scene.port, config=None, client_keys=[key], agent_path=None, **options
        ) as found:
            await found.run("whoami", check=True)

    with scene.alone():
        asyncio.run(asyncio.wait_for(connect(), PATIENCE))


@pytest.mark.parametrize("kind", ["ecdsa-sha2-nistp256", "ssh-ed25519"])
def test_a_client_that_knows_one_kind_of_host_key(scene: Scene, tmp_path: Path, kind: str) -> None:
    known = tmp_path / "known_hosts"
    known.write_text("".join(line for line in scene.known_hosts().splitlines(True) if kind in line))
    alice = asyncssh.read_private_key(scene.home / "alice")
    connected(scene, alice, known_hosts=str(known), server_host_key_algs=[kind])


def kexinit(**offers: str) -> bytes:
    """A client's first packet: what it offers. By default all that this server has."""
    common = {
        "kex": "curve25519-sha256",
        "host": "ssh-ed25519",
        "ciphers": "aes256-ctr",
        "ciphers_back": "aes256-ctr",
        "macs": "hmac-sha2-256",
        "macs_back": "hmac-sha2-256",
        "compression": "none",
        "compression_back": "none",
        "languages": "",
        "languages_back": "",
    }
    lists = ((common | offers)[name].encode() for name in common)
    payload = b"\x14" + bytes(16) + b"".join(len(names).to_bytes(4, "big") + names for names in lists) + bytes(5)
    padding = 8 - (len(payload) + 5) % 8 + 8
    return (len(payload) + padding + 1).to_bytes(4, "big") + bytes([padding]) + payload + bytes(padding)


@pytest.mark.parametrize(
    ("offers", "says"),
    [
        ({"host": "ssh-dss,ssh-rsa"}, "Unable to find compatible server host key"),
        ({"kex": "diffie-hellman-group1-sha1"}, "No matching key exchange algorithm"),
        ({"ciphers": "3des-cbc,arcfour"}, "No matching encryption algorithm"),
        ({}, "it left"),
    ],
)
def test_a_failed_negotiation_is_one_line(
    scene: Scene, caplog: pytest.LogCaptureFixture, offers: dict[str, str], says: str
) -> None:
    caplog.set_level(logging.INFO, "shardd.ssh")
    with scene.alone(), connection(scene) as client:
        assert client.recv(4096).startswith(b"SSH-2.0-")
        client.sendall(b"SSH-2.0-JSCH-0.1.54\r\n" + kexinit(**offers))
        while offers and client.recv(4096):
            pass  # until it hangs up
    (line,) = (record.getMessage() for record in caplog.records if record.name == "shardd.ssh")
    assert line.startswith(f"no algorithms were agreed on with 127.0.0.1: {says}")


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-keyscan\r\n"])
def test_who_only_looks_whether_somebody_listens_leaves_no_line(
    scene: Scene, caplog: pytest.LogCaptureFixture, said: bytes
) -> None:
    caplog.set_level(logging.INFO, "shardd.ssh")
    with structlog.testing.capture_logs() as lines, scene.alone(), connection(scene) as client:
        assert client.recv(4096).startswith(b"SSH-2.0-")
        client.sendall(said)
    assert not lines
    assert not [record for record in caplog.records if record.name == "shardd.ssh"]


def connection(scene: Scene) -> socket.socket:
    return socket.create_connection(("127.0.0.1", scene.port), PATIENCE)


@pytest.mark.parametrize("keys", [1, 3])
def test_a_login_with_unknown_keys_is_one_line(scene: Scene, keys: int) -> None:
    offered = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(keys)]
    with structlog.testing.capture_logs() as lines, transport(scene) as client:
        for key in offered:
            asks_again(client, Signer(key, "ssh-ed25519"))
    (line,) = lines
    assert (line["event"], line["verdict"], line["origin"]) == ("login", "no-principal", "ssh 127.0.0.1")
    assert line["key"] == fingerprint(offered[0].public_data)
    assert all(fingerprint(key.public_data) in line["why"] for key in offered)


@pytest.mark.parametrize(
    "asked", ["sftp", "netconf", "scp -t /tmp", "/usr/lib/openssh/sftp-server", "rsync --server . /tmp"]
)
def test_who_would_transfer_files_is_told_in_words(scene: Scene, asked: str) -> None:
    with transport(scene) as client:
        client.auth_publickey("git", paramiko.Ed25519Key.from_private_key_file(str(scene.home / "alice")))
        channel = client.open_session(timeout=PATIENCE)
        channel.settimeout(PATIENCE)
        if asked in ("sftp", "netconf"):
            channel.invoke_subsystem(asked)
            channel.sendall(b"\0\0\0\x05\x01\0\0\0\x03")  # as an sftp client begins
        else:
            channel.exec_command(asked)
        said = channel.makefile_stderr().read().decode()
        assert channel.recv_exit_status() == 2
        assert not channel.recv(1)
    assert "no file transfer here" in said
    assert "use `git clone" in said


def test_a_directory_of_one_host_key_keeps_it(tmp_path: Path) -> None:
    """One that an older version made, or an operator wanted so."""
    made = host_keys(tmp_path)
    assert [key.get_algorithm() for key in made] == ["ssh-ed25519", "ecdsa-sha2-nistp256"]
    assert host_keys(tmp_path) == made
    for path in tmp_path.glob("*ecdsa*"):
        path.unlink()
    assert host_keys(tmp_path) == made[:1]
    assert len(list(tmp_path.iterdir())) == 2
