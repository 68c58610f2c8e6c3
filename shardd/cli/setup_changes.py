"""What `shardd setup` has changed in a clone, noted before it is done, so that it can be undone.

`shardd-setup.json` in the git directory is a list in order, of the three kinds below. What somebody has changed since
is theirs, and stays.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import msgspec

from shardd.cli.clone import git
from shardd.errors import Corrupt, Rejected
from shardd.files import hook_install
from shardd.files.durable import write_atomic

HOOK = "commit-msg"
KEPT = "commit-msg.before-shardd"
_OURS = b'"""commit-msg for clones: checks an event'
"""How a hook of ours begins, of whatever version."""


class _Set(msgspec.Struct, tag_field="kind", tag="set"):
    name: str
    to: str
    was: str | None


class _Added(msgspec.Struct, tag_field="kind", tag="add"):
    name: str
    value: str


class _Hook(msgspec.Struct, tag_field="kind", tag="hook"):
    path: str


class Changes:
    def __init__(self, file: Path, found: list[_Set | _Added | _Hook]) -> None:
        self._file = file
        self._found = found

    @classmethod
    def of(cls, folder: Path) -> Changes:
        """Those of the repository whose git directory is `folder`."""
        file = folder / "shardd-setup.json"
        try:
            return cls(file, msgspec.convert(json.loads(file.read_bytes()), list[_Set | _Added | _Hook]))
        except FileNotFoundError:
            return cls(file, [])
        except (ValueError, msgspec.ValidationError) as error:
            mend = "remove it: then what it noted can only be undone by hand"
            raise Corrupt(f"{file} does not read: {error}", mend) from None

    def set(self, name: str, value: str) -> bool:
        """Give a setting this value; False if it has it."""
        if git("config", name) == value:
            return False
        noted = next((each for each in self._found if isinstance(each, _Set) and each.name == name), None)
        was = git("config", "--local", name)
        if noted is None:
            self._found.append(_Set(name, value, was))
        else:
            if was != noted.to:  # somebody has changed it since
                noted.was = was
            noted.to = value
        self._note()
        git("config", "--local", "--replace-all", name, value)
        return True

    def add(self, name: str, value: str) -> bool:
        """Give a setting this value besides those it has; False if it is one of them."""
        if value in _values(name):
            return False
        self._found.append(_Added(name, value))
        self._note()
        git("config", "--local", "--add", name, value)
        return True

    def hook(self, folder: Path) -> Iterator[str]:
        """Put the commit-msg hook into a folder; Rejected if that would lose somebody's."""
        path, kept = folder / HOOK, folder / KEPT
        ours = hook_install.script(HOOK)
        there = path.read_bytes() if path.exists() else None
        if there == ours:
            return
        theirs = there is not None and _OURS not in there
        if theirs and kept.exists():
            raise Rejected(
                "exists",
                f"{path} is a hook, and so is {kept}, which was there before shardd's",
                f"make one of the two, and move the other away: `{shlex.join(['mv', str(path), f'{path}.aside'])}`",
            )
        self._found = [each for each in self._found if each != _Hook(str(path))]
        self._found.append(_Hook(str(path)))
        self._note()
        if theirs:
            path.rename(kept)
            yield f"your commit-msg hook is kept as {KEPT}, and runs first"
        folder.mkdir(exist_ok=True)
        write_atomic(path, ours, mode=0o755)
        yield "the commit-msg hook checks and completes events"

    def undo(self) -> Iterator[str]:
        """Take all of it back, the last first."""
        for each in reversed(self._found):
            match each:
                case _Set(name, to, was) if git("config", "--local", name) == to:
                    if was is None:
                        git("config", "--local", "--unset-all", name)
                    else:
                        git("config", "--local", name, was)
                    yield f"{name} is {'not set' if was is None else was}"
                case _Added(name, value) if value in _values(name):
                    git("config", "--local", "--fixed-value", "--unset-all", name, value)
                    yield f"{name} is no longer {value}"
                case _Hook(path):
                    yield from _without_hook(Path(path))
                case _:
                    pass
        self._file.unlink(missing_ok=True)

    def _note(self) -> None:
        # Not by msgspec: the name of a branch may be any bytes, which JSON can spell and UTF-8 cannot.
        write_atomic(self._file, json.dumps(msgspec.to_builtins(self._found)).encode(), mode=0o644)


def _values(name: str) -> list[str]:
    return (git("config", "--local", "--get-all", name) or "").split("\n")


def _without_hook(path: Path) -> Iterator[str]:
    kept = path.with_name(KEPT)
    if path.exists() and _OURS in path.read_bytes():
        path.unlink()
        yield "the commit-msg hook is gone"
    if kept.exists() and not path.exists():
        kept.rename(path)
        yield "your commit-msg hook is back"
