"""The access files of a server directory: `access.toml` and `keys/`. Read whole, written atomically.

    access.toml                                     keys/alice.pub
        [roles]                                         ssh-ed25519 AAAAC3Nz… alice@laptop
        alice = ["admin @all"]
        bob = ["append garden/*", "import garden"]
        [local]                                     (OS user = principal, for pushes by local path)
        root = "alice"
        retired = ["carol"]                         (at the top: names that are never given again)

Anything that does not read as this is an error, and whoever asked gets no answer: a typing slip must not grant.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from shardd.core.names import check_principal, is_id
from shardd.core.roles import Access, Grant
from shardd.errors import Corrupt, Misuse, Rejected, SharddError, Unavailable
from shardd.storage.durable import sync_directories, write_atomic

_KEY_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    roles: dict[str, list[str]] = {}
    local: dict[str, str] = {}
    retired: list[str] = []


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One line of a key file: algorithm, base64 blob, comment."""

    algorithm: str
    blob: str
    comment: str

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen(1) shows it: `SHA256:` and unpadded base64."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.algorithm} {self.blob} {self.comment}".rstrip()

    @classmethod
    def parse(cls, line: str) -> PublicKey:
        """Misuse unless it is one OpenSSH public key without options."""
        parts = line.strip().split(None, 2)
        if len(parts) >= 2 and parts[0] in _KEY_TYPES:
            try:
                raw = base64.b64decode(parts[1], validate=True)
            except binascii.Error:
                raw = b""
            named = parts[0].encode()
            if raw[4 : 4 + len(named)] == named and int.from_bytes(raw[:4], "big") == len(named):
                return cls(parts[0], parts[1], parts[2] if len(parts) > 2 else "")
        if "PRIVATE KEY" in line:
            raise Misuse("this is a private key", "give the file that ends in .pub, and keep this one to yourself")
        raise Misuse(f"{line.strip()[:40]!r} is not an OpenSSH public key", "give a file like ~/.ssh/id_ed25519.pub")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The access files as they stood at one moment. keys: fingerprint to principal."""

    access: Access = field(default_factory=Access)
    keys: Mapping[str, str] = field(default_factory=dict)


class AccessFiles:
    """The access files below the server directory `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._toml = root / "access.toml"
        self._keys = root / "keys"

    def load(self) -> Snapshot:
        """Everything, freshly read. Corrupt if any of it does not read; Unavailable if it cannot be read."""
        owners: dict[str, str] = {}
        for principal, keys in self.keys().items():
            for key in keys:
                other = owners.setdefault(key.fingerprint, principal)
                if other != principal:
                    raise Corrupt(f"{key.fingerprint} is a key of both {other} and {principal}", "remove one of them")
        return Snapshot(self._access(self._parse()), owners)

    def keys(self) -> dict[str, list[PublicKey]]:
        """The keys of each principal, by name."""
        found: dict[str, list[PublicKey]] = {}
        for path in sorted(self._keys.glob("*.pub")):
            if not is_id(path.stem):
                raise Corrupt(f"{path} is not named after a principal", "rename it to NAME.pub")
            found[path.stem] = self._read_keys(path)
        return found

    def add_key(self, principal: str, key: PublicKey) -> None:
        check_principal(principal)
        with self._editing() as before:
            if principal in before.access.retired:
                raise Rejected("retired", f"{principal} was retired; a retired name is not given again")
            owner = before.keys.get(key.fingerprint)
            if owner is not None:
                raise Rejected("exists", f"{key.fingerprint} is already a key of {owner}")
            path = self._keys / f"{principal}.pub"
            keys = [*(self._read_keys(path) if path.exists() else []), key]
            write_atomic(path, "".join(f"{k}\n" for k in keys).encode())

    def remove_key(self, principal: str, fingerprint: str) -> None:
        check_principal(principal)
        with self._editing():
            path = self._keys / f"{principal}.pub"
            keys = self._read_keys(path) if path.exists() else []
            kept = [k for k in keys if k.fingerprint != fingerprint]
            if len(kept) == len(keys):
                raise Rejected(
                    "not-found", f"{principal} has no key {fingerprint}", f"see `shardd key list {principal}`"
                )
            if kept:
                write_atomic(path, "".join(f"{k}\n" for k in kept).encode())
            else:
                path.unlink()
                sync_directories([self._keys])

    def grant(self, grant: Grant) -> bool:
        """Add a role; False if it was there."""
        return self._change_roles(grant, add=True)

    def revoke(self, grant: Grant) -> bool:
        """Take a role away; False if it was not there."""
        return self._change_roles(grant, add=False)

    def _change_roles(self, grant: Grant, *, add: bool) -> bool:
        # Comments and order in the file are somebody's work: tomlkit keeps them. Imported late, it is slow.
        import tomlkit

        with self._editing() as before:
            if add and grant.principal in before.access.retired:
                raise Rejected("retired", f"{grant.principal} was retired; a retired name is not given again")
            if (grant in before.access.grants) == add:
                return False
            document = tomlkit.parse(self._toml.read_text() if self._toml.exists() else "")
            roles = document.setdefault("roles", tomlkit.table())
            line = f"{grant.role} {grant.scope}"
            listed = [str(item) for item in roles.get(grant.principal, [])]
            listed = [*listed, line] if add else [item for item in listed if item.split() != line.split()]
            if listed:
                roles[grant.principal] = listed
            else:
                del roles[grant.principal]
            write_atomic(self._toml, tomlkit.dumps(document).encode())
            return True

    @contextmanager
    def _editing(self) -> Iterator[Snapshot]:
        """Nobody else edits meanwhile; what stands there must read, or the edit is refused."""
        with (self._root / ".access.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.load()

    def _parse(self) -> _File:
        try:
            return msgspec.convert(tomllib.loads(self._toml.read_text()), _File)
        except FileNotFoundError:
            raise Unavailable(f"{self._toml} is missing", "restore it; an empty file grants nothing") from None
        except OSError as error:
            raise Unavailable(f"{self._toml} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
            raise Corrupt(f"{self._toml}: {error}", "mend the file") from None

    def _access(self, file: _File) -> Access:
        grants: set[Grant] = set()
        try:
            for principal, lines in file.roles.items():
                for line in lines:
                    role, _, scope = line.partition(" ")
                    grants.add(Grant(principal, role, scope.strip()))
            for name in [*file.local.values(), *file.retired]:
                check_principal(name)
        except SharddError as error:
            raise Corrupt(f"{self._toml}: {error.message}", "mend the file") from None
        return Access(frozenset(grants), frozenset(file.retired), dict(file.local))

    def _read_keys(self, path: Path) -> list[PublicKey]:
        try:
            lines = path.read_text().splitlines()
            return [PublicKey.parse(line) for line in lines if line.strip() and not line.startswith("#")]
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(f"{path} cannot be read: {error}") from None
        except Misuse as error:
            raise Corrupt(f"{path}: {error.message}", "mend the file") from None
