"""How far a push has come: for the thread of its hooks, and for whoever might end it. One of the two comes first."""

from __future__ import annotations

import threading

from shardd.errors import Unavailable


class Stage:
    """asked: a hook has; the push waits for us from then on, and no more for its client"""

    def __init__(self) -> None:
        self.asked = False
        self._lock = threading.Lock()
        self._decides = False
        self._ended = False

    def decide(self) -> None:
        """Before anything can move: from here on it goes to its end. Unavailable if that has come already."""
        with self._lock:
            if self._ended:
                raise Unavailable("the push was ended", "push again")
            self._decides = True

    def end(self) -> bool:
        """Whether it may be ended: then nothing of it moves any more."""
        with self._lock:
            self._ended = not self._decides
            return self._ended
