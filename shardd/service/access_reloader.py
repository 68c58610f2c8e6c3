"""The access files as the server sees them: reloaded when they change, and the last good ones when they do not read."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from shardd.core.roles import Access
from shardd.errors import SharddError
from shardd.files.access import AccessFiles, Snapshot

log = logging.getLogger("shardd.access")


class LiveAccess:
    """Fit for any thread. A change on disk is in force at the next question."""

    def __init__(self, root: Path) -> None:
        self._files = AccessFiles(root)
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self._good = self._files.load()

    def snapshot(self) -> Snapshot:
        with self._lock:
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                try:
                    self._good = self._files.load()
                except SharddError as error:
                    log.error("the access files do not read, the last good ones stay in force: %s", error)
                else:
                    log.info("access files reloaded")
            return self._good

    def access(self) -> Access:
        return self.snapshot().access

    def _stamp(self) -> tuple[tuple[str, int, int, int], ...]:
        found = []
        for path in self._files.paths():
            try:
                stat = path.stat()
            except OSError:
                found.append((str(path), 0, 0, 0))
            else:
                found.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(found)
