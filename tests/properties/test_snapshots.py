"""However often snapshots are used, and whatever happened to the log, the answer is that of a fold from the start."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from shardd.core.fold import coordination, fold
from shardd.logs.as_of import state_at
from shardd.logs.snapshots import SnapshotStore, catch_up
from tests.backends import SPACE, Backend, appended, on_every_backend
from tests.drafting import CAST, Said, drafts
from tests.properties.sequences import sequences

FOLD = coordination()


@on_every_backend
def test_catching_up_piece_by_piece(backend: Backend) -> None:
    @settings(max_examples=backend.examples)
    @given(pieces=st.lists(sequences, min_size=1, max_size=4), known=st.booleans())
    def holds(pieces: list[list[Said]], known: bool) -> None:
        with tempfile.TemporaryDirectory() as folder:
            log, store, last = backend.new(Path(folder, "log")), SnapshotStore(Path(folder, "snapshots")), None
            for number, piece in enumerate(pieces):
                events = appended(log, piece, prefix=str(number))
                last = catch_up(log, SPACE, FOLD, known=last if known else None, snapshots=store)
                store.save(SPACE, FOLD, last)
                assert last.state == fold(events)
                assert last.state.canonical() == fold(events).canonical()
                assert last.events == len(events)

    holds()


@on_every_backend
def test_a_rewound_log_is_never_answered_from_the_old_one(backend: Backend) -> None:
    @settings(max_examples=backend.examples)
    @given(shared=sequences, one=sequences, other=sequences)
    def holds(shared: list[Said], one: list[Said], other: list[Said]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            store, last = SnapshotStore(Path(folder, "snapshots")), None
            for number, said in enumerate(([*shared, *one], [*shared, *other], shared)):
                log = backend.new(Path(folder, str(number)))
                # The shared part has the same ids in each, so the same oids; what follows has its own.
                batch = (
                    drafts(CAST, said, prefix="e")[: len(shared)]
                    + drafts(CAST, said, prefix=f"of-{number}")[len(shared) :]
                )
                if batch:
                    log.append_many(SPACE, batch)
                expected = fold(log.events(SPACE))
                assert catch_up(log, SPACE, FOLD, snapshots=store).state == expected
                last = catch_up(log, SPACE, FOLD, known=last, snapshots=store)
                assert last.state == expected
                store.save(SPACE, FOLD, last)

    holds()


@on_every_backend
def test_travel_in_time(backend: Backend) -> None:
    @settings(max_examples=backend.examples)
    @given(said=sequences, saved=st.integers(0, 40), data=st.data())
    def holds(said: list[Said], saved: int, data: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as folder:
            log, store = backend.new(Path(folder, "log")), SnapshotStore(Path(folder, "snapshots"))
            events = appended(log, said)
            store.save(SPACE, FOLD, catch_up(log, SPACE, FOLD, up_to=saved))
            seq = data.draw(st.integers(0, len(events)))
            expected = fold(events[:seq])
            assert state_at(log, SPACE, seq, FOLD, snapshots=store).state == expected
            if seq:
                event = events[seq - 1]
                for point in (str(seq), event.oid, event.oid[:20].upper(), event.time, event.time.isoformat()):
                    assert state_at(log, SPACE, point, FOLD, snapshots=store).state == expected

    holds()
