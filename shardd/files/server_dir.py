"""The directory of a server: where everything is, and its settings.

config.toml    settings, all optional        access.toml, keys/    who may do what
host_keys/     the server's identity         hooks/VERSION/        installed hooks
user_ca_keys, revoked_keys                   site-hooks/           the site's own, run after ours
repos/         REPO.git, each with its authority in REPO.git/shardd/
cache/         REPO/, what was derived from it: snapshots of folds, views of one space; may be deleted
audit/         who asked for what, and what came of it
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from shardd.core.names import check_repo, is_id
from shardd.errors import Misuse, Rejected
from shardd.files import hook_install
from shardd.files.access import AccessFiles
from shardd.files.durable import refused, write_atomic
from shardd.files.settings import Settings
from shardd.version import VERSION

_CONFIG = b'# Settings; see `shardd help settings`.\n# listen = "127.0.0.1:2222"\n'
_ACCESS = b"# Who may do what; see `shardd help roles`.\n[roles]\n"

RESTORING = ".restoring"
"""A file that is there until a restore has come to its end."""


class ServerDir:
    """A server's directory at `root`; Misuse if it is none. restoring: for the restore that is making it"""

    def __init__(self, root: Path, *, restoring: bool = False) -> None:
        try:
            self.root = root.resolve()
            halfway = (root / RESTORING).exists()
            whole = (self.root / "access.toml").exists() and (self.root / "repos").is_dir()
        except OSError as error:
            raise refused(error, f"{root} cannot be looked into") from None
        if halfway and not restoring:
            raise Misuse(f"a restore into {root} has not come to its end", f"run `shardd restore BACKUP {root}` again")
        if not whole:
            raise Misuse(f"{root} is not a server's directory", f"run `shardd init {root}`")
        self.access = AccessFiles(self.root)
        self.host_keys = self.root / "host_keys"
        self.repos = self.root / "repos"

    @classmethod
    def create(cls, root: Path, *, restoring: bool = False) -> ServerDir:
        """A new directory, which must be absent or empty. restoring: see ServerDir"""
        with cls.begun(root, restoring=restoring) as server:
            return server

    @classmethod
    @contextmanager
    def begun(cls, root: Path, *, restoring: bool = False) -> Iterator[ServerDir]:
        """The same; whatever is made, in it or by the block, goes again if the block fails."""
        with ExitStack() as undo:
            try:
                _make(root, undo)
                server = cls(root, restoring=restoring)
            except OSError as error:
                undo.close()
                raise refused(error, f"{root} cannot be made") from None
            except BaseException:
                undo.close()
                raise
            try:
                yield server
            except BaseException:
                undo.close()
                raise
            undo.pop_all()

    @classmethod
    def around(cls, repository: Path) -> ServerDir | None:
        """The server's directory that a bare repo lies in; None if it lies in none; Misuse if it is incomplete."""
        folder = repository.resolve().parent
        # Either will do: a server's directory that lost its access.toml must deny, and not count as nobody's.
        if folder.name == "repos" and any((folder.parent / name).exists() for name in ("access.toml", "host_keys")):
            return cls(folder.parent)
        return None

    def is_ours(self) -> bool:
        """Whether this process runs as the owner of the directory, who may write all that is in it."""
        return self.root.stat().st_uid == os.geteuid()

    def settings(self) -> Settings:
        """Freshly read; Corrupt, naming the line, if the file does not read."""
        return Settings.load(self.root / "config.toml")

    def repo_path(self, repo: str) -> Path:
        """Where the repo lies; Rejected if it does not exist."""
        path = self.repos / f"{check_repo(repo)}.git"
        if not path.is_dir():
            raise no_such_repo(repo)
        return path

    def cache(self, repo: str) -> Path:
        """Where what is derived from a repo may be kept: outside it, and to be deleted at will."""
        return self.root / "cache" / check_repo(repo)

    def repo_names(self) -> list[str]:
        names = (path.name.removesuffix(".git") for path in self.repos.glob("*.git"))
        return sorted(name for name in names if is_id(name))

    @property
    def hooks_path(self) -> str:
        """The core.hooksPath of every repo."""
        return f"../../hooks/{VERSION}"

    def ensure_hooks(self) -> Path:
        """The folder of the hooks of this version, made if there is none."""
        return hook_install.ensure(self.root / "hooks", site=hook_install.SERVER_SITE)

    def install_hooks(self) -> Path:
        """The same, and they are those of this installation, whose Python decides from now on where no server does.
        For whoever was told to: `serve`, and `doctor --fix`.
        """
        return hook_install.install(self.root / "hooks", site=hook_install.SERVER_SITE)


def _make(root: Path, undo: ExitStack) -> None:
    if root.exists():
        if any(path.name != RESTORING for path in root.iterdir()):
            raise Rejected("exists", f"{root} is not empty", "name a new directory")
    else:
        root.mkdir(parents=True, mode=0o700)
        undo.callback(shutil.rmtree, root, ignore_errors=True)
    if root.stat().st_mode & 0o022:
        raise Rejected("not-permitted", f"others may write {root}", f"chmod 700 {root}")
    for name in ("keys", "repos", "host_keys", "hooks"):
        (root / name).mkdir(mode=0o755 if name == "hooks" else 0o700)
        undo.callback(shutil.rmtree, root / name, ignore_errors=True)
    hook_install.install(root / "hooks", site=hook_install.SERVER_SITE)
    for name, text in (("config.toml", _CONFIG), ("access.toml", _ACCESS)):
        undo.callback((root / name).unlink, missing_ok=True)
        write_atomic(root / name, text)


def no_such_repo(repo: str) -> Rejected:
    return Rejected("no-such-repo", f"there is no repo {repo}", f"an admin creates it: `shardd repo create {repo}`")
