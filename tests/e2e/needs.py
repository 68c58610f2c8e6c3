"""Tools that not every machine has: a test that lacks one is skipped by name, but fails where CI=true."""

from __future__ import annotations

import os
import shutil

import pytest


def need(program: str, found: str | None = None) -> str:
    """The path of a program. found: where it was looked for elsewhere than on the PATH"""
    path = found or shutil.which(program)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{program} is not installed, and CI has to have it")
        pytest.skip(f"{program} is not installed")
    return path
