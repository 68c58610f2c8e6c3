"""Writing many objects: packs that are made aside (git/aside.py), and then move in all together.

Nothing sees them before. Packs are of a bounded size, so memory is too. git makes each pack's index, and so has read
every object, before it is taken in.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

from shardd.git.aside import aside
from shardd.git.kept_packs import KeptPacks
from shardd.git.pack_file import Kind, entry, stream
from shardd.git.program import Git
from shardd.git.repository import Repository

_MOST = 50_000
_LARGEST = 32 * 1024 * 1024


class PackWriter:
    """Takes objects for a bare repo; a context that leaves nothing behind unless `publish` was called."""

    def __init__(self, repository: Repository) -> None:
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(aside(repository.state))
        self._git = Git(repository.path, quarantine={"GIT_OBJECT_DIRECTORY": str(self._folder)})
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="index-pack")
        self._stack.callback(self._worker.shutdown)
        self._indexing: Future[bytes] | None = None
        self._made: list[str] = []
        self._pack = bytearray()
        self._count = 0

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def commit(self, raw: bytes) -> None:
        self._add(Kind.COMMIT, raw)

    def empty_tree(self) -> None:
        self._add(Kind.TREE, b"")

    def publish(self, kept: KeptPacks) -> None:
        """Move everything into the repo, on disk when this returns."""
        self._flush()
        self._wait()
        kept.take(self._folder / "pack", self._made)

    def _add(self, kind: Kind, raw: bytes) -> None:
        self._pack += entry(kind, raw)
        self._count += 1
        if self._count >= _MOST or len(self._pack) >= _LARGEST:
            self._flush()

    def _flush(self) -> None:
        if not self._count:
            return
        pack = stream(self._count, self._pack)
        self._pack, self._count = bytearray(), 0
        # git works on one pack while the next is filled.
        self._wait()
        self._indexing = self._worker.submit(self._git.run, "index-pack", "--stdin", stdin=pack)

    def _wait(self) -> None:
        if self._indexing is not None:
            self._made.append(self._indexing.result().decode().split()[-1])
            self._indexing = None
