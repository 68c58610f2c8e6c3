"""Which public keys may be registered: what ssh-keygen(1) refuses is refused, and what can never log in."""

from __future__ import annotations

import base64
import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest

from shardd.errors import Misuse
from shardd.files.access import AccessFiles, PublicKey
from shardd.files.server_dir import ServerDir
from shardd.upkeep import doctor

KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp521", "ssh-rsa")
KEYS = {kind: asyncssh.generate_private_key(kind) for kind in KINDS}
LINES = {kind: key.export_public_key().decode().strip() for kind, key in KEYS.items()}
LINES["sk-ssh-ed25519@openssh.com"] = (
    "sk-ssh-ed25519@openssh.com "
    + base64.b64encode(
        b"\0\0\0\x1ask-ssh-ed25519@openssh.com" + KEYS["ssh-ed25519"].public_data[-36:] + b"\0\0\0\x04ssh:"
    ).decode()
)


def with_blob(line: str, change: bytes | None = None, *, end: int | None = None) -> str:
    kind, blob = line.split()[:2]
    raw = base64.b64decode(blob)
    return f"{kind} {base64.b64encode(raw[:end] if change is None else raw + change).decode()}"


def off_the_curve(line: str) -> str:
    kind, blob = line.split()[:2]
    raw = bytearray(base64.b64decode(blob))
    raw[-1] ^= 1
    return f"{kind} {base64.b64encode(raw).decode()}"


def by_ssh_keygen(line: str) -> bool:
    done = subprocess.run(["ssh-keygen", "-l", "-f", "-"], input=f"{line}\n".encode(), capture_output=True, check=False)
    return done.returncode == 0


DAMAGE: dict[str, Callable[[str], str]] = {
    "whole": lambda line: line,
    "with a comment": lambda line: f"{line} a comment",
    "without its last four characters": lambda line: line[:-4],
    "cut in the middle": lambda line: with_blob(line, end=40),
    "one byte short": lambda line: with_blob(line, end=-1),
    "its name alone": lambda line: with_blob(line, end=4 + len(line.split()[0])),
    "one byte more": lambda line: with_blob(line, b"\0"),
    "one string more": lambda line: with_blob(line, b"\0\0\0\0"),
}


@pytest.mark.parametrize("kind", LINES)
def test_what_ssh_keygen_refuses_is_refused(kind: str) -> None:
    for name, damage in DAMAGE.items():
        line = damage(LINES[kind])
        fine = by_ssh_keygen(line)
        assert fine == (name in ("whole", "with a comment")), name
        if fine:
            assert str(PublicKey.given(f"{line}\n")) == line
        else:
            with pytest.raises(Misuse):
                PublicKey.given(f"{line}\n")


def test_a_point_beside_its_curve() -> None:
    line = off_the_curve(LINES["ecdsa-sha2-nistp256"])
    assert not by_ssh_keygen(line)
    with pytest.raises(Misuse, match="damaged"):
        PublicKey.given(line)


SMALL = asyncssh.generate_private_key("ssh-rsa", key_size=1024)


@pytest.mark.parametrize(
    ("text", "says", "mends"),
    [
        (SMALL.export_public_key().decode(), "an RSA key of 1024 bits is too weak", "ssh-keygen -t ed25519"),
        (LINES["ssh-ed25519"][:-4], "it is damaged", "copy the whole file"),
        (KEYS["ssh-ed25519"].export_private_key().decode(), "this is a private key", "ends in .pub"),
        (KEYS["ssh-rsa"].export_private_key("pkcs1-pem").decode(), "this is a private key", "ends in .pub"),
        ("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", "this is a private key", "ends in .pub"),
        (KEYS["ssh-rsa"].export_public_key("rfc4716").decode(), "RFC 4716", "ssh-keygen -i"),
        (KEYS["ssh-rsa"].export_public_key("pkcs8-pem").decode(), "PKCS 8", "-m PKCS8"),
        (KEYS["ssh-rsa"].export_public_key("pkcs1-pem").decode(), "PEM", "-m PEM"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA x", "this is a certificate", "user_ca_keys"),
        (f"{LINES['ssh-ed25519']}\n{LINES['ssh-rsa']}\n", "not 2 lines", "id_ed25519.pub"),
        ("", "not 0 lines", "id_ed25519.pub"),
        ("ssh-dss AAAA x", "is not an OpenSSH public key", "id_ed25519.pub"),
    ],
    ids=itertools.count(),  # the keys are made anew in each process
)
def test_what_else_people_give_is_called_by_its_name(text: str, says: str, mends: str) -> None:
    with pytest.raises(Misuse) as caught:
        PublicKey.given(text)
    assert says in caught.value.message
    assert mends in caught.value.remedy


@pytest.mark.parametrize("where", ["keys/bob.pub", "user_ca_keys"])
@pytest.mark.parametrize(
    "line", [LINES["ssh-ed25519"][:-4], SMALL.export_public_key().decode().strip()], ids=["damaged", "small"]
)
def test_the_doctor_names_what_is_there_already(tmp_path: Path, where: str, line: str) -> None:
    server = ServerDir.create(tmp_path / "server")
    (server.root / where).write_text(f"{LINES['ssh-rsa']}\n{line}\n")
    AccessFiles(server.root).load()  # it hurts nobody else
    found = [each for each in doctor.examine(server) if each.where == str(server.root / where)]
    assert [each.level for each in found] == ["warning"]
    assert PublicKey.parse(line).fingerprint in found[0].message
    assert ("key remove bob" in found[0].remedy) == (where != "user_ca_keys")
