"""GitTreeShard: the Markdown files in a git repository, as of a ref. The key of `notes/Home.md` is `notes/Home`.

Git says which commit a ref names. The rest is read in this process, from a bare repo or one with a working tree, packed
or not; the working tree is never looked at.
Symbolic links and submodules are not pages; names that begin with a dot are left out.
"""

from __future__ import annotations

import os
import stat
import threading
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shardd.core.names import is_oid
from shardd.errors import Corrupt, Misuse, SharddError, Unavailable
from shardd.git.program import Git
from shardd.wiki.shard import Source

if TYPE_CHECKING:
    from dulwich.objects import Commit, ObjectID, ShaFile, Tree


class GitTreeShard:
    """The pages of `repo` at `ref`, looked up anew for every listing; a listing itself stays with one commit.

    ref: a branch, a tag, or anything else by which `git rev-parse` finds a commit, such as `main~3`
    folder: only what is under it, and keys start there; suffix: which files are pages, not part of the key
    Safe to share between threads. Misuse if there is no repository, or no such ref when it is looked up.
    """

    kind = "git"

    def __init__(
        self, repo: str | os.PathLike[str], ref: str = "HEAD", *, folder: str = "", suffix: str = ".md"
    ) -> None:
        # Imported here: it takes longer than all the rest, and most programs have no such shard.
        from dulwich.errors import NotGitRepository
        from dulwich.repo import Repo

        try:
            self._repo = Repo(os.fspath(repo))
        except NotGitRepository:
            raise Misuse(f"{os.fspath(repo)!r} is not a git repository") from None
        self._git = Git(Path(self._repo.controldir()))
        self._ref = ref
        self._folder = [part for part in folder.split("/") if part]
        self._suffix = suffix
        self._lock = threading.Lock()
        self.close = weakref.finalize(self, self._repo.close)
        """Closes the repository's files; happens by itself when nothing refers to the shard any more."""

    def pages(self) -> Iterator[Source]:
        commit, root = self._root()
        prefix = "".join(f"{part}/" for part in self._folder)
        stack = [] if root is None else [("", root)]
        while stack:
            inside, oid = stack.pop()
            for entry in self._tree(oid).iteritems():
                name = _utf8(entry.path, inside)
                if name.startswith("."):
                    continue
                if stat.S_ISDIR(entry.mode):
                    stack.append((f"{inside}{name}/", entry.sha))
                elif stat.S_ISREG(entry.mode) and name.endswith(self._suffix):
                    path = inside + name
                    yield self._source(path.removesuffix(self._suffix), f"{commit}:{prefix}{path}", entry.sha)

    def find(self, key: str) -> Source | None:
        commit, oid = self._root()
        parts = (key + self._suffix).split("/")
        if oid is None or any(not part or part.startswith(".") for part in parts):
            return None
        for depth, part in enumerate(parts, start=1):
            try:
                mode, oid = self._tree(oid)[part.encode()]
            except (KeyError, UnicodeEncodeError):
                return None
            if not (stat.S_ISREG(mode) if depth == len(parts) else stat.S_ISDIR(mode)):
                return None
        return self._source(key, f"{commit}:{'/'.join([*self._folder, *parts])}", oid)

    def _source(self, key: str, where: str, oid: ObjectID) -> Source:
        return Source(key, where, partial(self._blob, oid, where))

    def _blob(self, oid: ObjectID, where: str) -> bytes:
        return self._object(oid, where).as_raw_string()

    def _commit(self) -> Commit | None:
        """What git makes of the ref now: all that gitrevisions(7) describes. None if that is no commit."""
        from dulwich.objects import Commit, ObjectID, Tag

        if self._ref.startswith("-") or "\0" in self._ref:
            return None
        try:
            said = self._git.found("rev-parse", "--verify", "--quiet", self._ref) or b""
        except Unavailable as error:  # for a branch that tracks nothing, say, its status is not 1
            raise Misuse(f"{self._ref!r} names no commit in {self._repo.path!r}: {error.message}") from None
        oid = said.decode("ascii", "replace").strip()
        if not is_oid(oid):
            return None
        found = self._object(ObjectID(oid.encode()), self._ref)
        while isinstance(found, Tag):
            found = self._object(found.object[1], self._ref)
        return found if isinstance(found, Commit) else None

    def _root(self) -> tuple[str, ObjectID | None]:
        """The commit that the ref names now, and the tree of our folder in it; None if it has no such folder."""
        commit = self._commit()
        if commit is None:
            raise Misuse(f"{self._ref!r} names no commit in {self._repo.path!r}")
        oid = commit.tree
        for part in self._folder:
            try:
                mode, oid = self._tree(oid)[part.encode()]
            except KeyError:
                return commit.id.decode(), None
            if not stat.S_ISDIR(mode):
                return commit.id.decode(), None
        return commit.id.decode(), oid

    def _tree(self, oid: ObjectID) -> Tree:
        from dulwich.objects import Tree

        found = self._object(oid, oid.decode())
        if not isinstance(found, Tree):
            raise Corrupt(f"{oid.decode()} in {self._repo.path!r} is no tree", "run `git fsck` there")
        try:
            len(found)  # parsed only now
        except Exception as error:
            raise self._unreadable(oid.decode(), error) from None
        return found

    def _object(self, oid: ObjectID, where: str) -> ShaFile:
        with self._lock:
            try:
                return self._repo.object_store[oid]
            except KeyError:
                raise Unavailable(
                    f"{where} is not in {self._repo.path!r}", "a shallow or partial clone needs `git fetch`"
                ) from None
            except Exception as error:
                raise self._unreadable(where, error) from None

    def _unreadable(self, what: str, error: Exception) -> SharddError:
        """dulwich's errors are of a dozen kinds, and none of ours."""
        from dulwich.pack import PackFileDisappeared

        said = f"{what} in {self._repo.path!r} does not read: {type(error).__name__}: {error}"
        if isinstance(error, OSError | PackFileDisappeared):
            return Unavailable(said, "try again")
        return Corrupt(said, "run `git fsck` there")


def _utf8(name: bytes, inside: str) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise Misuse(
            f"the file name {inside.encode() + name!r} is not UTF-8, so it can be no page key", "rename the file"
        ) from None
