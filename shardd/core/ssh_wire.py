"""What SSH puts on the wire for keys, certificates and signatures (RFC 4253, 4251; OpenSSH's PROTOCOL.certkeys).

All of it is fields in a row: a string is four bytes of length and so many bytes. The first one names the algorithm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

SIGNATURES = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
"""How one may sign, best first. Not in the list is what rests on SHA-1: `ssh-rsa`, `ssh-dss`."""

LEAST_RSA_BITS = 2048

_FIELDS: Mapping[bytes, int] = {
    b"ssh-ed25519": 1,
    b"ssh-rsa": 2,
    b"ecdsa-sha2-nistp256": 2,
    b"ecdsa-sha2-nistp384": 2,
    b"ecdsa-sha2-nistp521": 2,
    b"sk-ssh-ed25519@openssh.com": 2,
    b"sk-ecdsa-sha2-nistp256@openssh.com": 3,
}
"""How many strings follow the name of each kind of key."""

_CERTIFIED = b"-cert-v01@openssh.com"


def algorithm(blob: bytes) -> bytes:
    """What a key, certificate or signature says it is; whatever there is of it, if it is cut short."""
    return blob[4 : 4 + int.from_bytes(blob[:4], "big")]


def is_certificate(blob: bytes) -> bool:
    return b"-cert-v" in algorithm(blob)


def is_well_formed(blob: bytes) -> bool:
    """Whether it has the fields of a kind of key that we know, whole, and nothing after them."""
    count = _FIELDS.get(algorithm(blob))
    try:
        return count is not None and len(list(_strings(blob))) == count + 1
    except ValueError:
        return False


def weakness(blob: bytes) -> str | None:
    """Why a key is too weak to prove anything, None if it is not."""
    if algorithm(blob) != b"ssh-rsa":
        return None
    try:
        *_, modulus = _strings(blob)
    except ValueError:
        return None  # no key at all
    bits = int.from_bytes(modulus, "big").bit_length()
    return f"an RSA key of {bits} bits is too weak, {LEAST_RSA_BITS} are the least" if bits < LEAST_RSA_BITS else None


def signed_with(signature: bytes) -> str | None:
    """Why a signature proves nothing, whatever key made it; None if it may."""
    name = algorithm(signature).decode("ascii", "replace")
    if name in SIGNATURES:
        return None
    return f"signed with {name}, which is SHA-1" if name in ("ssh-rsa", "ssh-dss") else f"signed with {name}"


def certificate_signature(blob: bytes) -> bytes:
    """That of the authority, which is the last field of its certificate; empty if it has none."""
    count = _FIELDS.get(algorithm(blob).removesuffix(_CERTIFIED), 0)
    try:
        # name, nonce, the key's fields | serial, type | key id, principals | from, until | options, …, signature
        at = _skip(blob, 0, count + 2) + 12
        at = _skip(blob, at, 2) + 16
        at = _skip(blob, at, 4)
        return next(_strings(blob, at))
    except (ValueError, StopIteration):
        return b""


def _strings(blob: bytes, at: int = 0) -> Iterator[bytes]:
    """Each string from `at` to the end; ValueError where it is cut short."""
    while at < len(blob):
        end = _skip(blob, at, 1)
        yield blob[at + 4 : end]
        at = end


def _skip(blob: bytes, at: int, count: int) -> int:
    """Where so many strings from `at` on have ended."""
    for _ in range(count):
        end = at + 4 + int.from_bytes(blob[at : at + 4], "big")
        if at + 4 > len(blob) or end > len(blob):
            raise ValueError("cut short")
        at = end
    return at
