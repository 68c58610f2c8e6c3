"""Writing many objects: packs in a quarantine beside the repo's own, which then move in all together.

Nothing sees them before, and what a killed process leaves behind is a folder `objects/tmp_objdir-…`, which git itself
removes as litter (git-prune(1)). Packs are of a bounded size, so memory is too. git makes each pack's index, and so
has read every object, before it is taken in.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
import tempfile
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from dulwich.object_format import SHA1
from dulwich.objects import Commit, Tree
from dulwich.pack import pack_object_header

from shardd.storage.durable import sync_directories
from shardd.storage.git import Git

PREFIX = "tmp_objdir-shardd-"
_MOST = 50_000
_LARGEST = 32 * 1024 * 1024


class PackWriter:
    """Takes objects for the bare repo at `path`; a context that leaves nothing behind unless `publish` was called."""

    def __init__(self, path: Path) -> None:
        self._objects = path / "objects"
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._objects))
        (self._folder / "pack").mkdir()
        self._git = Git(path, quarantine={"GIT_OBJECT_DIRECTORY": str(self._folder)})
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="index-pack")
        self._indexing: Future[bytes] | None = None
        self._pack = bytearray()
        self._count = 0

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    def commit(self, raw: bytes) -> None:
        self._add(Commit.type_num, raw)

    def empty_tree(self) -> None:
        self._add(Tree.type_num, b"")

    def publish(self) -> None:
        """Move everything into the repo, on disk when this returns."""
        self._flush()
        self._wait()
        # The index comes last: git looks for packs by their indexes.
        found = sorted((self._folder / "pack").iterdir(), key=lambda path: path.suffix == ".idx")
        for path in found:
            path.rename(self._objects / "pack" / path.name)
        sync_directories([self._objects / "pack", self._objects])

    def _add(self, kind: int, raw: bytes) -> None:
        self._pack += pack_object_header(kind, None, len(raw), SHA1)
        self._pack += zlib.compress(raw)
        self._count += 1
        if self._count >= _MOST or len(self._pack) >= _LARGEST:
            self._flush()

    def _flush(self) -> None:
        if not self._count:
            return
        pack = struct.pack(">4sII", b"PACK", 2, self._count) + self._pack
        pack += hashlib.sha1(pack, usedforsecurity=False).digest()
        self._pack, self._count = bytearray(), 0
        # git works on one pack while the next is filled.
        self._wait()
        self._indexing = self._worker.submit(self._git.run, "index-pack", "--stdin", stdin=bytes(pack))

    def _wait(self) -> None:
        if self._indexing is not None:
            self._indexing.result()
            self._indexing = None
