"""LastGood: what some files say, read anew when they change. While they do not read, what they last said is in force.

So a slip of the pen in a file shuts nobody out and lets nobody in, and a change is in force at the next question.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from shardd.errors import SharddError, Unavailable

log = logging.getLogger("shardd.files")

T = TypeVar("T")

_Stamp = tuple[tuple[str, int, int, int], ...]


class LastGood(Generic[T]):
    """Fit for any thread. what: the files' name in the log

    paths: every file that `load` reads, whether it exists or not; load: raises our errors if they do not read
    Where they could not be read (a disk, too many open files), and so may have changed, each question tries it again.
    kept: what they last said to an earlier process, if that is known: in force where they do not read the first time.
    If it is not, that first time raises
    """

    def __init__(
        self,
        what: str,
        paths: Callable[[], Iterable[Path]],
        load: Callable[[], T],
        *,
        kept: Callable[[], T | None] = lambda: None,
    ) -> None:
        self._what = what
        self._paths = paths
        self._load = load
        self._lock = threading.Lock()
        self._seen: _Stamp | None = self._stamp()
        self._fault: SharddError | None = None
        try:
            self._good = load()
        except SharddError as error:
            good = kept()
            if good is None:
                raise
            self._good = good
            self._failed(error)

    def now(self) -> T:
        with self._lock:
            stamp = self._stamp()
            if stamp != self._seen:
                self._read(stamp)
            return self._good

    def reload(self) -> SharddError | None:
        """Read whatever the stamps say; why the last good ones stay in force, if they do."""
        with self._lock:
            self._read(self._stamp())
            return self._fault

    @property
    def fault(self) -> SharddError | None:
        """Why the last good ones are in force, if the files do not read."""
        with self._lock:
            return self._fault

    def _read(self, stamp: _Stamp) -> None:
        self._seen = stamp  # of before they are read: a change meanwhile is seen the next time
        try:
            self._good = self._load()
        except SharddError as error:
            self._failed(error)
        else:
            self._fault = None
            log.info("%s reloaded", self._what)

    def _failed(self, error: SharddError) -> None:
        before, self._fault = self._fault, error
        if isinstance(error, Unavailable):
            self._seen = None
            if before is not None and str(before) == str(error):
                return  # it is in the log
        log.error("the %s do not read, the last good ones stay in force: %s", self._what, error)

    def _stamp(self) -> _Stamp:
        found = []
        for path in self._paths():
            try:
                stat = path.stat()
            except OSError:
                found.append((str(path), 0, 0, 0))
            else:
                found.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(found)
