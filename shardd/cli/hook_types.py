"""What the commit-msg hook of a clone is told of the types that its spaces take; it does without, where nobody has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from shardd.client.address import Remote
from shardd.core.canonical import Json
from shardd.files.durable import write_atomic

_FILE = "shardd-types.json"


def forget(git_dir: Path) -> None:
    """The hook does without it again."""
    (git_dir / _FILE).unlink(missing_ok=True)


def tell_hook(remote: Remote, git_dir: Path) -> Iterator[str]:
    """Ask the server what its spaces take, and leave it where the hook looks; what was new."""
    words = ["space", "list", *([remote.repo] if remote.repo else []), "--json"]
    said = remote.answer(words)
    try:
        listed: dict[str, Json] = {
            each["space"].partition("/")[2]: each["types"] for each in json.loads(said) if each["types"]
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # a server that knows nothing of it
    file, text = git_dir / _FILE, json.dumps(listed, sort_keys=True).encode() + b"\n"
    before = file.read_bytes() if file.exists() else b"{}\n"
    if text != before:
        write_atomic(file, text, mode=0o644)
        yield f"the hook knows which types {', '.join(sorted(listed)) or 'no space'} takes"
