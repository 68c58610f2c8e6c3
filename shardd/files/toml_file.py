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


def load(path: Path, kind: type[T]) -> T:
    """The file as a `kind`. FileNotFoundError if there is none, Unavailable or Corrupt if it does not read."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Corrupt(f"{path}: not UTF-8 text: {error.reason}", "mend the file") from None
    try:
        return msgspec.convert(tomllib.loads(text), kind)
    except tomllib.TOMLDecodeError as error:
        match = _PLACE.match(str(error))
        message, line = (match[1], int(match[2])) if match else (str(error), len(text.splitlines()))
        raise Corrupt(f"{path}:{line}: {message}", "mend the file") from None
    except msgspec.ValidationError as error:
        found = _FIELD.search(str(error))
        raise wrong(path, text, (found[1] or found[2]) if found else "", str(error)) from None


def wrong(path: Path, text: str, word: str, message: str) -> Corrupt:
    """The error for a value that `word` leads to: the name of a setting, or what stands there itself."""
    where = re.compile(rf'(?:^|[\s\["\'=.]){re.escape(word)}(?:$|[\s\]"\'=.])')
    lines = (i for i, line in enumerate(text.splitlines(), 1) if word and where.search(line.split("#")[0]))
    line = next(lines, None)
    return Corrupt(f"{path}:{line}: {message}" if line else f"{path}: {message}", "mend the file")
