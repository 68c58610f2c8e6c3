"""A repo seen through one space: a git directory of two small files, whose HEAD is that space's branch.

Git knows such directories from linked work trees: `commondir` points at the repo, which holds everything but HEAD. A
clone through a view checks out the space, whatever the repo's own HEAD is. What of the repo's refs a view shows is said
by the configuration of whoever serves it.
"""

from __future__ import annotations

import os
from pathlib import Path

from shardd.core.names import check_space
from shardd.core.refs import shown, space_ref
from shardd.files.durable import write_atomic, writing


def view(repository: Path, space: str, views: Path) -> Path:
    """The view of an existing space, made if need be; Unavailable if it cannot be.

    views: a folder outside the repo, where its views are
    """
    folder = views / check_space(space)
    with writing(folder):
        # Where it really lies: the folder of all views may be a link to another disk, and `..` leads out of that.
        to_repo = os.path.relpath(repository.resolve(), folder.resolve())
        wanted = {"commondir": os.fsencode(f"{to_repo}\n"), "HEAD": f"ref: {space_ref(space)}\n".encode()}
        for name, content in wanted.items():
            path = folder / name
            if not path.is_file() or path.read_bytes() != content:
                folder.mkdir(parents=True, exist_ok=True, mode=0o755)
                write_atomic(path, content)
    return folder


def repository_of(git_dir: Path) -> Path:
    """The repo that a git directory is, or is a view of."""
    pointer = git_dir / "commondir"
    return (git_dir / pointer.read_text().strip()).resolve() if pointer.is_file() else git_dir.resolve()


def hidden(space: str, principal: str) -> list[str]:
    """Values of transfer.hideRefs, in order, that leave of a repo's refs what belongs to one space and one reader."""
    return ["refs/", *(f"!{ref}" for ref in shown(space, principal))]
