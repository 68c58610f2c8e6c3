"""Refs that a repo's configuration leaves to git: a wiki's content beside its log, for instance."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from shardd.core.refs import family_at
from shardd.git.program import Git

PLAIN_REFS = "shardd.plainRefs"
"""The setting, perhaps repeated, of patterns of such refs."""


def plain_patterns(git: Git) -> list[str]:
    return [word for value in git.values(PLAIN_REFS) for word in value.split()]


def plainly(ref: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns leaves this ref to git; none leaves one in a folder of ours."""
    if family_at(ref) is not None or ".." in ref:
        return False
    return any(fnmatch.fnmatchcase(ref, pattern) for pattern in patterns)
