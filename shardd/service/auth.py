"""Who a connection is: the owner of a registered key, or whom a certificate of a trusted authority names.

What is decided here about an offered key is only whether it would do. Whose connection it is, the listener learns from
a signature. It is asked again before each thing that a connection does, so that a right taken away is gone at once.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import asyncssh
from asyncssh.public_key import CERT_TYPE_USER, SSHOpenSSHCertificate

from shardd.core.names import is_id
from shardd.core.ssh_wire import algorithm, certificate_signature, is_certificate, signed_with, weakness
from shardd.errors import Rejected
from shardd.files.access import Snapshot, fingerprint


@dataclass(frozen=True, slots=True)
class Identity:
    """fingerprint: of the key that signs; certificate: what vouches for it, if it is not registered itself"""

    principal: str
    fingerprint: str
    certificate: SSHOpenSSHCertificate | None = None

    def still(self, snapshot: Snapshot) -> None:
        """Nothing while it stands, else Rejected `no-principal` with the reason."""
        if self.certificate is not None:
            if _certified(self.certificate, self.fingerprint, snapshot) != self.principal:
                raise _no("your certificate now names somebody else")
        elif snapshot.keys.get(self.fingerprint) != self.principal:
            raise _no(f"the key {self.fingerprint} is no longer registered")


def identify(blob: bytes, snapshot: Snapshot) -> Identity:
    """Whom a key or certificate, in the bytes of the protocol, would prove; Rejected `no-principal` if nobody.

    The source-address of a certificate is not looked at here: it is a matter of the connection.
    """
    if not is_certificate(blob):
        print_ = fingerprint(blob)
        principal = snapshot.keys.get(print_)
        if principal is None:
            if print_ in snapshot.revoked:
                raise _no("revoked")
            _strong(blob)
            raise _no("not registered")
        return Identity(principal, print_)
    certificate = _certificate(blob)
    print_ = certificate.key.get_fingerprint()
    principal = _certified(certificate, print_, snapshot)
    _strong(certificate.key.public_data)
    _strong(certificate.signing_key.public_data, "its authority's: ")
    if why := signed_with(certificate_signature(blob)):
        raise _no(f"its authority has {why}")
    return Identity(principal, print_, certificate)


def check_signature(signature: bytes) -> None:
    """Rejected if it is made in a way that proves nothing. The library would check it all the same."""
    if why := signed_with(signature):
        raise _no(f"{why}; take a newer ssh, or an Ed25519 key")


def _strong(blob: bytes, whose: str = "") -> None:
    if why := weakness(blob):
        raise _no(f"{whose}{why}; make another with `ssh-keygen -t ed25519`")


def described(blob: bytes) -> str:
    """What an offered key or certificate is called to the one who offered it."""
    if not is_certificate(blob):
        return fingerprint(blob)
    try:
        return f"certificate of {_certificate(blob).key.get_fingerprint()}"
    except Rejected:
        return "a certificate"


def _certificate(blob: bytes) -> SSHOpenSSHCertificate:
    try:
        # Its own signature is checked on the way, and a critical option that asyncssh does not know refuses it.
        certificate = asyncssh.import_certificate(algorithm(blob) + b" " + base64.b64encode(blob))
    except (asyncssh.KeyImportError, ValueError) as error:
        raise _no(f"cannot be honoured: {error}") from None
    if not isinstance(certificate, SSHOpenSSHCertificate):
        raise _no("not an OpenSSH certificate")
    return certificate


def _certified(certificate: SSHOpenSSHCertificate, print_: str, snapshot: Snapshot) -> str:
    """The principal that the certificate names, if it may be believed just now."""
    authority = certificate.signing_key.get_fingerprint()
    if authority not in snapshot.authorities:
        raise _no(f"its authority {authority} is not trusted here")
    if print_ in snapshot.revoked:
        raise _no("revoked")
    try:
        certificate.validate(CERT_TYPE_USER, None)
    except ValueError as error:
        raise _no(str(error).lower()) from None
    names = set(certificate.principals)
    retired = sorted(names & snapshot.access.retired)
    if retired:
        raise _no(f"{retired[0]} was retired")
    # An authority may sign names for other systems too. Two that mean somebody here would leave it open who acts.
    known = sorted(names & snapshot.principals)
    if len(known) > 1:
        raise _no(f"it names several principals of this server: {', '.join(known)}")
    if not known:
        listed = ", ".join(sorted(name for name in names if is_id(name))) or "nobody"
        raise _no(f"it names {listed}, and a principal of this server has a role or a key here")
    return str(known[0])


def _no(why: str) -> Rejected:
    return Rejected("no-principal", why, "ask an admin of this server")
