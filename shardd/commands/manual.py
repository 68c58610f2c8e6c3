"""The topics of `help TOPIC`: what shardd/manual holds, one Markdown file each."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent.parent / "manual"


def topics() -> dict[str, str]:
    """Each by name, with its title."""
    files = sorted(_FOLDER.glob("*.md"))
    return {file.stem: _title(file.read_text(encoding="utf-8")) for file in files}


def topic(name: str) -> str | None:
    """Its text; None if there is no such topic."""
    # Taken from what is there, and never put together from what a caller says.
    found = [file for file in _FOLDER.glob("*.md") if file.stem == name]
    return found[0].read_text(encoding="utf-8") if found else None


def _title(text: str) -> str:
    return text.partition("\n")[0].lstrip("# ")
