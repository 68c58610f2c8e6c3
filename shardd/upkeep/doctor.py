"""A look over a server's directory: what is not as it should be, what mends it, and what can be mended at once.

A finding is `broken` where a promise may not hold until it is mended, and a `warning` where it does. Only what is safe
to do beside a running server, and loses nothing, has a `mend`. Each repo is looked over by upkeep/repo_checkup.py.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from shardd.core.plural import many
from shardd.errors import SharddError, Unavailable
from shardd.files.durable import refused, user_name
from shardd.files.hook_install import SERVER_SIDE, script
from shardd.files.server_dir import ServerDir
from shardd.files.space_locks import flock
from shardd.git import quarantine
from shardd.git.program import require_version
from shardd.version import VERSION

Level: TypeAlias = Literal["broken", "warning"]

OLD = 3600.0
"""Seconds after which a temporary file is nobody's any more."""

_LEAST_FREE = 0.05
_SECRET = ("host_keys",)


@dataclass(frozen=True, slots=True)
class Finding:
    """where: a path or a space; remedy: what a person does; mend: does it, where that is safe"""

    level: Level
    where: str
    message: str
    remedy: str
    mend: Callable[[], object] | None = None


def examine(server: ServerDir, *, now: float | None = None) -> Iterator[Finding]:
    """Everything about the directory but its repos. now: seconds since 1970, to tell the age of files"""
    now = time.time() if now is None else now
    yield from _git()
    yield from _readable(server)
    yield from _keys(server)
    yield from permissions(server.root)
    yield from _strangers(server.root)
    yield from _writable(server.root)
    yield from _hooks(server)
    yield from _disk(server.root)
    for pattern in (".*.toml.*", "keys/.*", "repos/.new-*", ".access.toml.*"):
        yield from leftovers(server.root.glob(pattern), now)


def leftovers(paths: Iterator[Path], now: float) -> Iterator[Finding]:
    """Those that have lain there for long."""
    for path in paths:
        try:
            age = now - path.lstat().st_mtime
        except OSError:
            continue  # gone meanwhile: somebody's after all
        incoming = path.name.startswith(quarantine.PREFIX)
        if age > OLD and (not incoming or now - quarantine.changed(path) > OLD):
            tree = partial(quarantine.discard, [path]) if incoming else partial(shutil.rmtree, path)
            mend = tree if path.is_dir() else partial(path.unlink, missing_ok=True)
            yield Finding("warning", str(path), "was left behind by a process that was killed", "remove it", mend)


def _git() -> Iterator[Finding]:
    try:
        require_version()
    except SharddError as error:
        yield Finding("broken", "git", error.message, error.remedy)


def _readable(server: ServerDir) -> Iterator[Finding]:
    for name, load in (("access.toml", server.access.load), ("config.toml", server.settings)):
        try:
            load()
        except SharddError as error:
            yield Finding("broken", str(server.root / name), error.message, error.remedy or "mend the file")


def _keys(server: ServerDir) -> Iterator[Finding]:
    """Those that nobody can log in with. A key is looked at when it is added; these were added before, or by hand."""
    with suppress(SharddError):  # what does not read at all is told already
        for path, key, fault in server.access.faults():
            owner = path.parent.name == "keys"
            remedy = f"`shardd key remove {path.stem} {key.fingerprint}`" if owner else "take its line out"
            yield Finding("warning", str(path), f"{key.fingerprint}: nobody can use this key: {fault}", remedy)


_HELD = ("*", "host_keys/*", "keys/*", "hooks/*", "hooks/*/*", "site-hooks/*", "repos/*.git", "repos/*.git/config")
_HELD_IN_REPOS = ("repos/*.git/shardd", "repos/*.git/objects", "repos/*.git/refs", "repos/*.git/info")


def permissions(root: Path) -> Iterator[Finding]:
    """Whatever others may write, and secrets that they may read: whoever writes hooks, keys or configuration is us."""
    owner = root.stat().st_uid
    for path in [root, *(path for pattern in (*_HELD, *_HELD_IN_REPOS) for path in root.glob(pattern))]:
        if path.is_symlink():
            if path == root / "repos" or path.parent == root / "repos":
                # Hooks, access files and locks are found from where a repo lies, and git goes to where that is.
                how = f"put what it points at here; for another disk, mount that at {path}"
                yield Finding("broken", str(path), "is a link, and its repos are found without hooks and rules", how)
            continue
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue  # a temporary file
        mode = stat.st_mode & 0o777
        secret = path.parent.name in _SECRET and path.suffix != ".pub"
        allowed = 0o700 if secret else 0o755
        if mode & ~allowed:
            what = "others may read it" if secret and not mode & 0o022 else "others may write it"
            mend = partial(path.chmod, mode & allowed)
            yield Finding("broken", str(path), f"{what} (mode {mode:03o})", f"chmod {mode & allowed:03o} {path}", mend)
        if stat.st_uid != owner:
            whose = f"belongs to {user_name(stat.st_uid)}, and the directory to {user_name(owner)}"
            yield Finding("broken", str(path), whose, f"chown -R {user_name(owner).lstrip('#')} {path}")


def _strangers(root: Path) -> Iterator[Finding]:
    """What a process of somebody else's has left deep in the repos, where it is in the owner's way."""
    owner = root.stat().st_uid
    for repo in sorted((root / "repos").glob("*.git")):
        found = [path for path in _below(repo) if path.lstat().st_uid != owner]
        if found:
            said = f"{many(len(found), 'file')} below it, such as {found[0]}, are not {user_name(owner)}'s"
            yield Finding("broken", str(repo), said, f"chown -R {user_name(owner).lstrip('#')} {repo}")


def _below(folder: Path) -> Iterator[Path]:
    """All that is there and does not go meanwhile."""
    for at, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(at, name)
            if os.path.lexists(path):
                yield path


def _writable(root: Path) -> Iterator[Finding]:
    """A disk that takes nothing, or gives no locks: reading goes on, and every push and lease call is refused."""
    try:
        with tempfile.NamedTemporaryFile(prefix=".doctor.", dir=root) as file:
            file.write(b"x")
            file.flush()
            flock(file.fileno(), time.monotonic())
    except (OSError, Unavailable) as error:
        refusal = error if isinstance(error, Unavailable) else refused(error, "nothing can be written here")
        yield Finding("broken", str(root), refusal.message, refusal.remedy)


def _hooks(server: ServerDir) -> Iterator[Finding]:
    folder = server.root / "hooks" / VERSION
    install = server.install_hooks
    for name in SERVER_SIDE:
        path = folder / name
        if not path.is_file():
            yield Finding("broken", str(path), "the hook is missing", "start the server, or mend it here", install)
        elif path.read_bytes() != script(name):
            yield Finding("broken", str(path), f"is not the hook of version {VERSION}", "put it back", install)
        elif not os.access(path, os.X_OK):
            yield Finding(
                "broken", str(path), "is not executable: git refuses every push", f"chmod 755 {path}", install
            )
    yield from _interpreter(folder / "interpreter", install)


def _interpreter(path: Path, install: Callable[[], object]) -> Iterator[Finding]:
    """What decides a push where no server does: over OpenSSH, or by a local path."""
    python = path.read_text().strip() if path.is_file() else ""
    if not python or not os.access(python, os.X_OK):
        yield Finding("broken", str(path), f"{python or 'nothing'} is no program that runs", "mend it here", install)
    elif python != sys.executable:
        said = f"pushes without a server are decided by {python}, and this is {sys.executable}"
        yield Finding("warning", str(path), said, "mend it here, if this one is to stay", install)


def _disk(root: Path) -> Iterator[Finding]:
    usage = shutil.disk_usage(root)
    if usage.free < usage.total * _LEAST_FREE:
        free = f"{usage.free // 2**20} MiB of {usage.total // 2**20} MiB are free"
        yield Finding("warning", str(root), free, "make room: a full disk refuses every push")
