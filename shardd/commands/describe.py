"""What a command is called in its outcome: its name, and those of its arguments that say whom and what it is about."""

from __future__ import annotations

from collections.abc import Sequence

from shardd.commands.grammar import Parsed
from shardd.core.names import Address
from shardd.core.outcome import Kind
from shardd.files.work import Work

_TOLD = (
    "name", "role", "scope", "fingerprint", "reason", "message", "epoch", "first", "force", "fenced", "take_lease",
    "lines", "atomic", "dry_run", "keep_gaps", "fix", "dest", "types", "known", "strict",
    "add", "off",
)  # fmt: skip
"""What else there is may be what an event holds, which is nobody's affair, or is of no interest."""


def attempted(work: Work, words: Sequence[str]) -> None:
    """Note what seems to be asked, before it is known to be anything. No more of it: the rest may be anybody's data."""
    work.about(None, None, " ".join(words[:2]))


def describe(work: Work, parsed: Parsed) -> None:
    """Note in the work what was asked."""
    command = parsed.command
    kind, address = getattr(command, "counts_as", None), getattr(command, "address", None)
    if isinstance(kind, Kind):
        work.kind = kind
    repo = getattr(command, "repo", None)
    space = None
    if isinstance(address, Address):
        repo, space = address.repo, address.space
    said = [parsed.name]
    for name in _TOLD:
        value = getattr(command, name, None)
        if value is True:
            said.append(f"--{name.replace('_', '-')}")
        elif value not in (None, False, "", []):
            said.append(f"{name}={','.join(value) if isinstance(value, list) else value}")
    work.about(repo, space, " ".join(said))
