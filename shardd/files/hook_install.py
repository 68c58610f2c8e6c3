"""Installing our hooks: copied to where the repos are, under our version, never used from a virtual environment.

A hooks folder holds the scripts, `interpreter`, the path of the Python that decides when no server does, and `site`,
the folder (seen from here) of the site's own hooks, which run after ours. A repo names its folder relative to itself,
so a whole server directory can be moved.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from shardd.errors import Corrupt
from shardd.files.durable import write_atomic
from shardd.version import VERSION

SERVER_SIDE = ("pre-receive", "proc-receive", "post-receive")
SERVER_SITE = "../../site-hooks"
EMBEDDED_SITE = "../../../hooks"
"""An embedded repo's own former hooks folder."""

LAST = "site"
"""Written last: where it stands, the folder is whole."""


def script(name: str) -> bytes:
    """The bytes of one of the packaged hooks."""
    try:
        return (files("shardd") / "hooks" / name).read_bytes()
    except OSError as error:
        raise Corrupt(f"this installation lacks the hook {name}: {error}", "install shardd again") from None


def ensure(parent: Path, *, site: str) -> Path:
    """Like `install`, but what stands there whole stays as it is: another installation of this version may have put it
    there, and its Python decides until somebody says otherwise.
    """
    folder = parent / VERSION
    return folder if (folder / LAST).is_file() else install(parent, site=site)


def install(parent: Path, *, site: str) -> Path:
    """Make `parent/VERSION` hold the hooks of this version, and return it. Does nothing where they already stand."""
    folder = parent / VERSION
    for each in (parent, folder):  # `parents=True` would leave the mode of the first to the umask
        each.mkdir(exist_ok=True, mode=0o755)
    wanted = {name: (script(name), 0o755) for name in SERVER_SIDE}
    wanted["interpreter"] = (f"{sys.executable}\n".encode(), 0o644)
    wanted[LAST] = (f"{site}\n".encode(), 0o644)
    for name, (content, mode) in wanted.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content or path.stat().st_mode & 0o777 != mode:
            write_atomic(path, content, mode=mode)
    return folder
