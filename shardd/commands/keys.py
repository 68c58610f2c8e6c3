"""`key`: the SSH keys of principals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from shardd.commands.caller import Context
from shardd.commands.grammar import Words
from shardd.commands.result import Answer, Done, Table, say
from shardd.core.names import check_principal
from shardd.files.access import PublicKey


@dataclass(frozen=True, slots=True)
class KeyAdd:
    name: str
    file: str

    def run(self, context: Context) -> Answer[Done]:
        context.require_admin()
        key = PublicKey.parse(context.small_input(self.file))
        context.server.access.add_key(self.name, key, allowed=context.require_admin)
        return say(f"added {key.fingerprint} to {self.name}", {"principal": self.name, "fingerprint": key.fingerprint})


@dataclass(frozen=True, slots=True)
class KeyRemove:
    name: str
    fingerprint: str

    def run(self, context: Context) -> Answer[Done]:
        context.require_admin()
        context.server.access.remove_key(self.name, self.fingerprint, allowed=context.require_admin)
        return say(
            f"removed {self.fingerprint} from {self.name}", {"principal": self.name, "fingerprint": self.fingerprint}
        )


@dataclass(frozen=True, slots=True)
class KeyList:
    name: str | None

    def run(self, context: Context) -> Answer[Owned]:
        if self.name is None or self.name != context.principal:
            context.require_admin()
        owned = context.server.access.keys().items()
        return Answer([(name, key) for name, keys in owned for key in keys if self.name in (None, name)], _KEYS)


Owned: TypeAlias = tuple[str, PublicKey]
"""A key, and whose it is."""

_KEYS: Table[Owned] = Table(
    ["PRINCIPAL", "FINGERPRINT", "TYPE", "COMMENT"],
    lambda owned: [owned[0], owned[1].fingerprint, owned[1].algorithm, owned[1].comment],
    lambda owned: {
        "principal": owned[0],
        "fingerprint": owned[1].fingerprint,
        "type": owned[1].algorithm,
        "comment": owned[1].comment,
    },
    empty="no keys",
)


def add(words: Words) -> None:
    key = words.group("key", "the SSH keys of principals")
    made = key.command("add", KeyAdd, "register a public key")
    made.add_argument("name", metavar="NAME", type=check_principal)
    made.add_argument(
        "file", metavar="FILE.pub", nargs="?", default="-", help="standard input if left out, or over ssh"
    )
    made = key.command("remove", KeyRemove, "take a key away")
    made.add_argument("name", metavar="NAME", type=check_principal)
    made.add_argument("fingerprint", metavar="FINGERPRINT", help="like SHA256:…, as `key list` shows it")
    made = key.command("list", KeyList, "list keys")
    made.add_argument("name", metavar="NAME", type=check_principal, nargs="?")
