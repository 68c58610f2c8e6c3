"""The user's own configuration: `~/.config/shardd/config.toml`, or below $XDG_CONFIG_HOME.

server = "ssh://wiki"               asked where no other is named, so that commands work in any folder
identity = "~/.ssh/id_ed25519"      the key for that server, in place of those that ssh would take
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import msgspec

from shardd.client.address import Remote, parse_url
from shardd.errors import Corrupt, Misuse
from shardd.files import toml_file

_EXAMPLE = 'write it like `server = "ssh://wiki"`; the other setting is `identity`, the file of a key'


class UserConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    server: str = ""
    identity: str = ""

    @classmethod
    def load(cls) -> UserConfig:
        """Freshly read, the defaults where there is no file; Misuse if it does not read."""
        try:
            found = toml_file.load(_path(), cls)
        except (FileNotFoundError, NotADirectoryError):
            return cls()
        except Corrupt as error:
            raise Misuse(error.message, _EXAMPLE) from None
        if found.server:
            try:
                parse_url(found.server)
            except Misuse as error:
                raise Misuse(f"{_path()}: {error.message}", _EXAMPLE) from None
        return found

    def default(self) -> Remote | None:
        """The server to ask where no other is named."""
        return self.reached(parse_url(self.server)) if self.server else None

    def means(self, remote: Remote) -> bool:
        """Whether it is that server."""
        own = parse_url(self.server) if self.server else None
        return own is not None and (own.destination, own.port) == (remote.destination, remote.port)

    def reached(self, remote: Remote) -> Remote:
        """The same, with the key for it."""
        if not self.identity or not self.means(remote):
            return remote
        path = Path(self.identity).expanduser()
        if not path.is_file():
            raise Misuse(
                f"{_path()}: identity: there is no file {path}", "name the file of a private key, or leave it out"
            )
        return replace(remote, identity=str(path))


def _path() -> Path:
    named = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(named) if named.startswith("/") else Path("~/.config").expanduser()
    return folder / "shardd" / "config.toml"
