"""The access files of a server directory: `access.toml`, `keys/` and two lists. Read whole, written atomically.

    access.toml                                     keys/alice.pub
        [roles]                                         ssh-ed25519 AAAAC3Nz… alice@laptop
        alice = ["admin @all"]
        bob = ["append garden/*", "import garden"]
        [local]                                     (OS user = principal, for pushes by local path)
        root = "alice"
        retired = ["carol"]                         (at the top: names that are never given again)

    user_ca_keys    public keys, one a line: authorities whose user certificates are believed
    revoked_keys    public keys or SHA256:… fingerprints, one a line: of keys and authorities that are believed no more

Anything that does not read as this is an error, and whoever asked gets no answer: a typing slip must not grant.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import msgspec

from shardd.core.names import check_new, check_principal, is_id
from shardd.core.nearest import did_you_mean
from shardd.core.roles import ALL, Access, Grant
from shardd.core.ssh_wire import is_well_formed, weakness
from shardd.errors import Corrupt, Misuse, Rejected, SharddError, Unavailable
from shardd.files import toml_file
from shardd.files.durable import check_owner, sync_directories, write_atomic, writing
from shardd.files.space_locks import PATIENCE, flock

if TYPE_CHECKING:
    import tomlkit

_KEY_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_EXAMPLE = "~/.ssh/id_ed25519.pub"
_MAKE = "make another with `ssh-keygen -t ed25519`"
_PRIVATE = ("this is a private key", "give the file that ends in .pub, and keep this one to yourself")
_OTHER_FILES = {
    "PRIVATE KEY": _PRIVATE,
    "PuTTY-User-Key-File": _PRIVATE,
    "BEGIN SSH2 PUBLIC KEY": ("this is a public key in the form of RFC 4716", "convert it: `ssh-keygen -i -f FILE`"),
    "BEGIN PUBLIC KEY": ("this is a public key in the form of PKCS 8", "convert it: `ssh-keygen -i -m PKCS8 -f FILE`"),
    "BEGIN RSA PUBLIC KEY": ("this is a public key in the form of PEM", "convert it: `ssh-keygen -i -m PEM -f FILE`"),
    "-cert-v01@openssh.com": ("this is a certificate", "register the key, or its authority's in user_ca_keys"),
}
"""What people give besides, by a sign of it."""

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}\Z")

T = TypeVar("T")


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
        return fingerprint(base64.b64decode(self.blob))

    @property
    def fault(self) -> str | None:
        """Why nobody can ever log in with it, or be certified by it; None if it will do."""
        import asyncssh  # late: every hook reads the access files, and none asks this

        try:
            whole = is_well_formed(raw := base64.b64decode(self.blob)) and asyncssh.import_public_key(str(self))
        except (ValueError, asyncssh.Error):  # such as a point beside its curve
            whole = False
        return weakness(raw) if whole else "it is damaged: the key does not read"

    @classmethod
    def given(cls, text: str) -> PublicKey:
        """The key that a file holds which is given to be registered; Misuse, with the reason, if it is of no use."""
        for sign, (what, remedy) in _OTHER_FILES.items():
            if sign in text:
                raise Misuse(what, remedy)
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) != 1:
            raise Misuse(f"one public key is expected, not {len(lines)} lines", f"give a file like {_EXAMPLE}")
        key = cls.parse(lines[0])
        if key.fault is not None:
            remedy = "copy the whole file that ends in .pub" if "damaged" in key.fault else _MAKE
            raise Misuse(f"the key cannot be used: {key.fault}", remedy)
        return key

    def __str__(self) -> str:
        return f"{self.algorithm} {self.blob} {self.comment}".rstrip()

    @classmethod
    def parse(cls, line: str) -> PublicKey:
        """Misuse unless it is one OpenSSH public key without options."""
        parts = line.strip().split(None, 2)
        if len(parts) >= 2 and parts[0] in _KEY_TYPES:
            try:
                raw = base64.b64decode(parts[1], validate=True)
            except ValueError:  # also for what is not ASCII, such as an ellipsis
                raw = b""
            named = parts[0].encode()
            if raw[4 : 4 + len(named)] == named and int.from_bytes(raw[:4], "big") == len(named):
                comment = parts[2] if len(parts) > 2 else ""
                if _CONTROL.search(comment):
                    raise Misuse("the key's comment holds control characters", "take them out: a key is one line")
                return cls(parts[0], parts[1], comment)
        if "PRIVATE KEY" in line:
            raise Misuse(*_PRIVATE)
        raise Misuse(f"{line.strip()[:40]!r} is not an OpenSSH public key", f"give a file like {_EXAMPLE}")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The access files as they stood at one moment.

    keys: fingerprint to principal, of keys that open a connection: not revoked, not of a retired principal, not weak
    authorities, revoked: fingerprints
    """

    access: Access = field(default_factory=Access)
    keys: Mapping[str, str] = field(default_factory=dict)
    authorities: frozenset[str] = frozenset()
    revoked: frozenset[str] = frozenset()

    @property
    def principals(self) -> frozenset[str]:
        """Everybody who was given a key or a role, and is not retired."""
        named = {*self.keys.values(), *(grant.principal for grant in self.access.grants)}
        return frozenset(named - self.access.retired)


Allowed: TypeAlias = Callable[[], None]
"""Raises if whoever asks for an edit may not. Called when nobody else edits any more: that edit may have changed it."""


def _by_owner() -> None:
    """Whoever may write the files may edit them."""


class AccessFiles:
    """The access files below the server directory `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._toml = root / "access.toml"
        self._keys = root / "keys"
        self._authorities = root / "user_ca_keys"
        self._revoked = root / "revoked_keys"

    def paths(self) -> list[Path]:
        """Every file that `load` reads, whether it exists or not."""
        return [self._toml, self._authorities, self._revoked, *sorted(self._keys.glob("*.pub"))]

    def load(self) -> Snapshot:
        """Everything, freshly read. Corrupt if any of it does not read; Unavailable if it cannot be read."""
        owners: dict[str, str] = {}
        weak: set[str] = set()
        for principal, keys in self.keys().items():
            for key in keys:
                if weakness(base64.b64decode(key.blob)) is not None:
                    weak.add(key.fingerprint)
                other = owners.setdefault(key.fingerprint, principal)
                if other != principal:
                    raise Corrupt(f"{key.fingerprint} is a key of both {other} and {principal}", "remove one of them")
        access = self._access()
        revoked = frozenset(self._read_lines(self._revoked, _named)) if self._revoked.exists() else frozenset()
        authorities = (
            {key.fingerprint for key in self._read_keys(self._authorities)} if self._authorities.exists() else ()
        )
        return Snapshot(
            access,
            {key: who for key, who in owners.items() if key not in revoked | weak and who not in access.retired},
            frozenset(authorities) - revoked,
            revoked,
        )

    def keys(self) -> dict[str, list[PublicKey]]:
        """The keys of each principal, by name."""
        found: dict[str, list[PublicKey]] = {}
        for path in sorted(self._keys.glob("*.pub")):
            if not is_id(path.stem):
                raise Corrupt(f"{path} is not named after a principal", "rename it to NAME.pub")
            found[path.stem] = self._read_keys(path)
        return found

    def faults(self) -> Iterator[tuple[Path, PublicKey, str]]:
        """The keys that nobody can log in with, each with the file that holds it, and why."""
        for path in [*sorted(self._keys.glob("*.pub")), *([self._authorities] if self._authorities.exists() else [])]:
            for key in self._read_keys(path):
                if key.fault is not None:
                    yield path, key, key.fault

    def add_key(self, principal: str, key: PublicKey, *, allowed: Allowed = _by_owner) -> None:
        check_principal(principal)
        with self._editing(allowed) as before:
            if principal in before.access.retired:
                raise Rejected("retired", f"{principal} was retired; a retired name is not given again")
            self._check_new(principal, before)
            # Asked of the files, not of `before`: a revoked key has an owner too.
            named = ((name, one) for name, keys in self.keys().items() for one in keys)
            owner = next((name for name, one in named if one.fingerprint == key.fingerprint), None)
            if owner is not None:
                raise Rejected("exists", f"{key.fingerprint} is already a key of {owner}")
            path = self._keys / f"{principal}.pub"
            keys = [*(self._read_keys(path) if path.exists() else []), key]
            write_atomic(path, "".join(f"{k}\n" for k in keys).encode())

    def remove_key(self, principal: str, fingerprint: str, *, allowed: Allowed = _by_owner) -> None:
        check_principal(principal)
        with self._editing(allowed):
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

    def grant(self, grant: Grant, *, allowed: Allowed = _by_owner) -> bool:
        """Add a role; False if it was there."""
        return self._change_roles(grant, allowed, add=True)

    def revoke(self, grant: Grant, *, allowed: Allowed = _by_owner) -> bool:
        """Take a role away; False if it was not there."""
        return self._change_roles(grant, allowed, add=False)

    def retire(self, principal: str, *, allowed: Allowed = _by_owner) -> bool:
        """Take away for good whatever `principal` was given; False if that was done before. Rejected if unknown."""
        import tomlkit

        with self._editing(allowed) as before:
            self._keep_an_admin(principal, before)
            path = self._keys / f"{check_principal(principal)}.pub"
            new = principal not in before.access.retired
            known = principal in before.principals or path.exists() or principal in before.access.local.values()
            if new and not known:
                raise no_such_principal(principal, before)
            # One write takes every right: what follows only tidies up, and a crash before it leaves nothing granted.
            with self._document() as document:
                if new:
                    document.setdefault("retired", tomlkit.array()).append(principal)
                for table, gone in (("roles", lambda k, _: k == principal), ("local", lambda _, v: v == principal)):
                    for name in [k for k, v in document.get(table, {}).items() if gone(k, v)]:
                        del document[table][name]
            if path.exists():
                path.unlink()
                sync_directories([self._keys])
            return new

    def _keep_an_admin(self, principal: str, before: Snapshot) -> None:
        """Rejected if nobody but `principal` may give roles over ssh."""
        if before.access.admins == {principal}:
            raise Rejected(
                "last-admin",
                f"{principal} is the only admin of everything, and the last one stays",
                "make somebody else one first: `shardd role grant NAME admin @all`",
            )

    def _check_new(self, principal: str, before: Snapshot) -> None:
        if principal not in before.principals and not (self._keys / f"{principal}.pub").exists():
            check_new("principal", principal)

    def _change_roles(self, grant: Grant, allowed: Allowed, *, add: bool) -> bool:
        import tomlkit

        with self._editing(allowed) as before:
            if add and grant.principal in before.access.retired:
                raise Rejected("retired", f"{grant.principal} was retired; a retired name is not given again")
            if (grant in before.access.grants) == add:
                return False
            if add:
                self._check_new(grant.principal, before)
            elif (grant.role, grant.scope) == ("admin", ALL):
                self._keep_an_admin(grant.principal, before)
            with self._document() as document:
                roles = document.setdefault("roles", tomlkit.table())
                line = f"{grant.role} {grant.scope}"
                listed = [str(item) for item in roles.get(grant.principal, [])]
                listed = [*listed, line] if add else [item for item in listed if item.split() != line.split()]
                if listed:
                    roles[grant.principal] = listed
                else:
                    del roles[grant.principal]
            return True

    @contextmanager
    def _document(self) -> Iterator[tomlkit.TOMLDocument]:
        """access.toml to be changed in place, and written at the end if it changed."""
        # Comments and order in the file are somebody's work: tomlkit keeps them. Imported late, it is slow.
        import tomlkit

        text = self._toml.read_text() if self._toml.exists() else ""
        document = tomlkit.parse(text)
        yield document
        changed = tomlkit.dumps(document)
        if changed != text:
            write_atomic(self._toml, changed.encode())

    @contextmanager
    def still(self) -> Iterator[None]:
        """No other command edits the files meanwhile."""
        check_owner(self._root)
        path = self._root / ".access.lock"
        with writing(path):
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not flock(lock, time.monotonic() + PATIENCE):
                raise Unavailable(f"{path} stays locked", "look for a stopped shardd on the server")
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _editing(self, allowed: Allowed) -> Iterator[Snapshot]:
        """Nobody else edits meanwhile; what stands there must read, or the edit is refused."""
        with self.still():
            allowed()
            yield self.load()

    def _access(self) -> Access:
        try:
            file = toml_file.load(self._toml, _File)
        except FileNotFoundError:
            raise Unavailable(f"{self._toml} is missing", "restore it; an empty file grants nothing") from None
        grants: set[Grant] = set()
        at = ""
        try:
            for principal, lines in file.roles.items():
                at = principal
                check_principal(at)
                for at in lines:
                    role, _, scope = at.partition(" ")
                    grants.add(Grant(principal, role, scope.strip()))
            for at in [*file.local.values(), *file.retired]:
                check_principal(at)
        except SharddError as error:
            raise toml_file.wrong(self._toml, self._toml.read_text(), at, error.message) from None
        return Access(frozenset(grants), frozenset(file.retired), dict(file.local))

    def _read_keys(self, path: Path) -> list[PublicKey]:
        return self._read_lines(path, PublicKey.parse)

    def _read_lines(self, path: Path, parse: Callable[[str], T]) -> list[T]:
        """What stands on each line but the empty ones and comments."""
        try:
            lines = path.read_text().split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(f"{path} cannot be read: {error}") from None
        found: list[T] = []
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            try:
                found.append(parse(line))
            except Misuse as error:
                raise Corrupt(f"{path}:{number}: {error.message}", "mend the file") from None
        return found


def no_such_principal(name: str, known: Snapshot) -> Rejected:
    near = did_you_mean(name, known.principals)
    return Rejected("not-found", f"there is no principal {name}{near}", "see `shardd principal list`")


def fingerprint(blob: bytes) -> str:
    """Of a public key's bytes, as ssh-keygen(1) shows it: `SHA256:` and unpadded base64."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _named(line: str) -> str:
    """The fingerprint that a line of revoked_keys is, or is of."""
    word = line.split()[0]
    return word if _FINGERPRINT.match(word) else PublicKey.parse(line).fingerprint
