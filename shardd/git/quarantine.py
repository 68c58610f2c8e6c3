"""Incoming objects of a push that was killed: git itself leaves the folder behind, `objects/tmp_objdir-incoming-*`.

It is nobody's when every process whose environment names it is gone (the server knows which those were when it ends
a push), or when nothing in it has changed for an hour (the doctor). In case somebody is still at it after all, it is
first renamed, in one step: git then finds none of it where it looks, and refuses that push as a whole. Removed piece by
piece, it could let a part of it through.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from shardd.core.hook_protocol import QUARANTINE

PREFIX = "tmp_objdir-"
_VARIABLE = f"{QUARANTINE[0]}=".encode()


def named_by(group: int, repository: Path) -> set[Path]:
    """The folders of incoming objects of a repo that the processes of a group have in their environment."""
    found: set[Path] = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int((process / "stat").read_text().rpartition(")")[2].split()[2]) != group:
                continue
            for variable in (process / "environ").read_bytes().split(b"\0"):
                if variable.startswith(_VARIABLE):
                    found.add(Path(os.fsdecode(variable.removeprefix(_VARIABLE))).resolve())
        except (OSError, ValueError):
            continue  # it has ended meanwhile
    objects = (repository / "objects").resolve()
    return {path for path in found if path.parent == objects and path.name.startswith(PREFIX)}


def discard(folders: Iterable[Path]) -> None:
    """Remove folders of incoming objects that are nobody's."""
    for folder in folders:
        aside = folder.with_name(f"{PREFIX}left-{folder.name.removeprefix(PREFIX)}")
        with suppress(OSError):
            folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def changed(folder: Path) -> float:
    """When anything in a folder last changed, itself included: seconds since 1970."""
    times = [folder.lstat().st_mtime]
    for path in folder.rglob("*"):
        with suppress(OSError):
            times.append(path.lstat().st_mtime)
    return max(times)
