"""What one event costs on states of different sizes: `python tests/bench/fold_cost.py`.

Prints microseconds per event and their ratio to the smallest state. The states are ten and a hundred times as large;
the ratios stay far below that: what grows is the depth of the maps, one level per 32 times, and cache misses.
"""

from __future__ import annotations

import gc
import time
from datetime import UTC, datetime
from itertools import count

from shardd.core.canonical import Json
from shardd.core.event import Event
from shardd.core.fold import fold

SIZES = (1_000, 10_000, 100_000)
MEASURED = 20_000
_TIME = datetime(2026, 1, 1, tzinfo=UTC)


def _event(seq: int, type: str, data: dict[str, Json]) -> Event:
    return Event(seq=seq, oid=f"{seq:040x}", id=f"e-{seq}", type=type, subject=None, actor="a", time=_TIME, data=data)


def growth(size: int) -> list[Event]:
    """Events that make a state of `size` rows in each part."""
    seqs = count(1)
    found = []
    for number in range(size):
        page = f"page-{number}"
        found += [
            _event(next(seqs), "page.bound", {"page": page, "same_as": f"alias-{number}"}),
            _event(next(seqs), "overlay.drafted", {"overlay": f"o{number}", "page": page, "text": "x"}),
            _event(next(seqs), "conflict.settled", {"page": page, "shard": "garden"}),
            _event(next(seqs), "remark.added", {"remark": f"r{number}", "page": page, "text": "x"}),
        ]
    return found


def traffic(size: int, first: int) -> list[Event]:
    """Events spread over such a state: changes, additions, bindings cut and tied, and one in eight unknown."""
    found = []
    for number in range(MEASURED):
        at = number * 7919 % size
        page, seq = f"page-{at}", first + number
        said: list[tuple[str, dict[str, Json]]] = [
            ("page.unbound", {"page": page, "same_as": f"alias-{at}"}),
            ("page.bound", {"page": page, "same_as": f"alias-{at}"}),
            ("overlay.applied", {"overlay": f"o{at}"}),
            ("overlay.drafted", {"overlay": f"new-{number}", "page": page, "text": "x"}),
            ("conflict.settled", {"page": page, "shard": "desk"}),
            ("conflict.reopened", {"page": page}),
            ("remark.added", {"remark": f"new-{number}", "page": page, "text": "x"}),
            ("acme.seen", {"page": page}),
        ]
        found.append(_event(seq, *said[number % len(said)]))
    return found


def main() -> None:
    base = 0.0
    for size in SIZES:
        built = growth(size)
        state = fold(built)
        events = traffic(size, first=len(built) + 1)
        gc.collect()
        gc.disable()  # its pauses grow with all that is alive, which is not the fold's cost
        began = time.perf_counter()
        fold(events, state)
        cost = (time.perf_counter() - began) / len(events) * 1e6
        gc.enable()
        base = base or cost
        print(f"{size:>7} pages: {cost:6.2f} µs per event, ratio {cost / base:.2f}")


if __name__ == "__main__":
    main()
