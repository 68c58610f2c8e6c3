"""Reading a TOML file into a type, so that whatever is wrong with it names file and line."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from shardd.errors import Corrupt, Unavailable

T = TypeVar("T")

_PLACE = re.compile(r"(.*?) \(at line (\d+), column \d+\)\Z", re.DOTALL)
_FIELD = re.compile(r"(?:unknown field `([^`]+)`|at `\$\.([^.`\[]+))")


class Slip(Corrupt):
    """A file that somebody wrote does not read. place: of the slip; key: the one at fault, empty where it is none"""

    def __init__(self, place: str, message: str, key: str = "") -> None:
        super().__init__(f"{place}: {message}", "mend the file")
        self.place = place
        self.key = key
        self.detail = message


def load(path: Path, kind: type[T]) -> T:
    """The file as a `kind`. FileNotFoundError if there is none, Unavailable or Slip if it does not read."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Slip(str(path), f"not UTF-8 text: {error.reason}") from None
    try:
        return msgspec.convert(tomllib.loads(text), kind)
    except tomllib.TOMLDecodeError as error:
        match = _PLACE.match(str(error))
        message, line = (match[1], int(match[2])) if match else (str(error), len(text.splitlines()))
        raise Slip(f"{path}:{line}", message) from None
    except msgspec.ValidationError as error:
        found = _FIELD.search(str(error))
        raise wrong(path, text, (found[1] or found[2]) if found else "", str(error)) from None


def wrong(path: Path, text: str, word: str, message: str) -> Slip:
    """The error for a value that `word` leads to: the name of a setting, or what stands there itself."""
    where = re.compile(rf'(?:^|[\s\["\'=.]){re.escape(word)}(?:$|[\s\]"\'=.])')
    lines = (i for i, line in enumerate(text.splitlines(), 1) if word and where.search(line.split("#")[0]))
    line = next(lines, None)
    return Slip(f"{path}:{line}" if line else str(path), message, word)
