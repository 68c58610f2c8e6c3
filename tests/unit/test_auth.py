"""What an offered key or certificate would prove, looked up in memory: what stock clients never send included."""

from __future__ import annotations

import asyncssh
import pytest

from shardd.core.roles import Access, Grant
from shardd.errors import Rejected
from shardd.files.access import Snapshot, fingerprint
from shardd.service.auth import described, identify

CA = asyncssh.generate_private_key("ssh-ed25519")
KEY = asyncssh.generate_private_key("ssh-ed25519")
GRANTS = frozenset({Grant("alice", "read", "garden"), Grant("bob", "append", "@all")})
SNAPSHOT = Snapshot(
    Access(GRANTS, retired=frozenset({"dora"})),
    keys={KEY.get_fingerprint(): "alice"},
    authorities=frozenset({CA.get_fingerprint()}),
)


def blob(certificate: asyncssh.SSHCertificate) -> bytes:
    return bytes(certificate.public_data)


def refused(offered: bytes, snapshot: Snapshot = SNAPSHOT) -> str:
    with pytest.raises(Rejected) as caught:
        identify(offered, snapshot)
    assert caught.value.code == "no-principal"
    return caught.value.message


def test_a_registered_key() -> None:
    identity = identify(KEY.public_data, SNAPSHOT)
    assert (identity.principal, identity.fingerprint) == ("alice", KEY.get_fingerprint())
    identity.still(SNAPSHOT)
    with pytest.raises(Rejected, match="no longer registered"):
        identity.still(Snapshot())
    with pytest.raises(Rejected, match="no longer registered"):
        identity.still(Snapshot(keys={KEY.get_fingerprint(): "bob"}))


def test_a_certificate() -> None:
    certificate = CA.generate_user_certificate(KEY, "test", principals=["bob", "wheel"])
    identity = identify(blob(certificate), Snapshot(SNAPSHOT.access, authorities=SNAPSHOT.authorities))
    assert (identity.principal, identity.fingerprint) == ("bob", KEY.get_fingerprint())
    with pytest.raises(Rejected, match="is not trusted here"):
        identity.still(Snapshot(SNAPSHOT.access))
    with pytest.raises(Rejected, match="bob was retired"):
        identity.still(Snapshot(Access(GRANTS, retired=frozenset({"bob"})), authorities=SNAPSHOT.authorities))


def test_a_certificate_that_ran_out_on_an_open_connection() -> None:
    certificate = CA.generate_user_certificate(KEY, "test", principals=["bob"], valid_before=1)
    assert refused(blob(certificate)) == "certificate expired"


@pytest.mark.parametrize("principals", [["dora"], ["bob", "dora"]])
def test_a_retired_principal_spoils_a_certificate(principals: list[str]) -> None:
    assert refused(blob(CA.generate_user_certificate(KEY, "test", principals=principals))) == "dora was retired"


def test_a_host_certificate_is_no_user() -> None:
    certificate = CA.generate_host_certificate(KEY, "test", principals=["bob"])
    assert refused(blob(certificate)) == "invalid certificate type"


def test_a_key_of_the_authority_is_no_user() -> None:
    assert refused(CA.public_data) == "not registered"


def test_an_altered_certificate() -> None:
    good = blob(CA.generate_user_certificate(KEY, "test", principals=["wheel"]))
    assert "cannot be honoured" in refused(good.replace(b"wheel", b"alice"))


@pytest.mark.parametrize("cut", [0, 3, 4, 20, 40, 100])
def test_garbage(cut: int) -> None:
    offered = blob(CA.generate_user_certificate(KEY, "test", principals=["bob"]))[:cut]
    refused(offered)
    assert described(offered) in ("a certificate", fingerprint(offered))
