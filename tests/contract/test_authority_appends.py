"""What every authority does beside leases: drafts, leases for one append, freezing, whole logs, several spaces."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from shardd.authority.appending import append_drafts
from shardd.authority.facts import Options, Pusher
from shardd.authority.whole_log import import_events
from shardd.core.codec import genesis_oid
from shardd.core.event import Draft, Event, Head
from shardd.core.jsonl import Numbered
from shardd.core.lease import Acquire, Revoke
from shardd.core.refusals import HeadMoved, NotHolder
from shardd.core.roles import FileAccess
from shardd.errors import Rejected
from tests.authorities import LEDGERS, Backend, Kept, backend_of, commits, together
from tests.clocks import FakeTime
from tests.drafting import drafts

SPACE, OTHER = "whynot", "other"
ALICE, BOB, OWNER = Pusher("alice"), Pusher("bob"), Pusher("alice", unleased=True)


@pytest.fixture(params=LEDGERS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with ExitStack() as stack:
        yield backend_of(request.param, tmp_path, FakeTime(), stack)


@pytest.fixture
def authority(backend: Backend) -> Kept:
    authority = backend.opened()
    authority.create(SPACE)
    return authority


def numbered(events: list[Draft]) -> list[Numbered]:
    return [Numbered(seq, each) for seq, each in enumerate(events, 1)]


def told(authority: Kept, space: str = SPACE) -> list[tuple[int, str | None]]:
    return [(entry.tenure.epoch, entry.tenure.holder) for entry in authority.history(space)]


def test_a_batch_is_appended_whole_and_a_retry_answered(authority: Kept) -> None:
    batch = drafts("alice", 3)
    made = append_drafts(authority, SPACE, batch, OWNER)
    assert [(event.seq, event.id) for event in made] == [(n, each.id) for n, each in enumerate(batch, 1)]
    assert authority.head(SPACE) == Head(3, made[-1].oid)
    assert append_drafts(authority, SPACE, batch, OWNER, expected="absent") == made
    with pytest.raises(Rejected) as caught:
        append_drafts(authority, SPACE, [*batch, *drafts("alice")], OWNER)
    assert (caught.value.code, authority.head(SPACE)) == ("duplicate-event", Head(3, made[-1].oid))


def test_an_unexpected_head_is_told(authority: Kept) -> None:
    begun = authority.existing(SPACE)
    append_drafts(authority, SPACE, drafts("alice"), OWNER, expected=begun)
    with pytest.raises(HeadMoved) as caught:
        append_drafts(authority, SPACE, drafts("alice"), OWNER, expected=begun)
    assert caught.value.head == authority.head(SPACE)


def test_an_append_takes_a_free_lease_for_itself_alone(authority: Kept) -> None:
    (event,) = append_drafts(authority, SPACE, drafts("alice"), ALICE, take_lease=True)
    assert (event.epoch, told(authority), authority.standing(SPACE).tenancy.lease) == (1, [(1, "alice")], None)
    authority.change(SPACE, Acquire("bob"))
    with pytest.raises(NotHolder) as caught:
        append_drafts(authority, SPACE, drafts("alice"), ALICE, take_lease=True)
    assert caught.value.lease is not None
    assert (caught.value.lease.holder, told(authority)) == ("bob", [(1, "alice"), (2, "bob")])


def test_an_append_of_an_admin_may_begin_its_space_and_a_refused_one_begins_none(backend: Backend) -> None:
    authority = backend.opened(FileAccess())
    authority.create(SPACE)
    with pytest.raises(NotHolder) as refused:
        append_drafts(authority, OTHER, drafts("bob"), BOB, create=True)
    assert "`--take-lease`, or run `shardd space create " in refused.value.remedy, "no lease of it can be acquired yet"
    with pytest.raises(Rejected, match="the role admin"):
        append_drafts(backend.opened(), OTHER, drafts("alice"), OWNER, create=True)
    assert (authority.head(OTHER), list(authority.ledger.spaces())) == (None, [SPACE])
    (event,) = append_drafts(authority, OTHER, drafts("alice"), OWNER, create=True)
    assert (event.seq, authority.head(OTHER)) == (1, Head(1, event.oid))
    (taken,) = append_drafts(authority, "third", drafts("bob"), BOB, create=True, take_lease=True)
    assert (taken.seq, taken.epoch, told(authority, "third")) == (1, 1, [(1, "bob")])
    assert list(authority.ledger.spaces()) == [OTHER, "third", SPACE]


def test_a_frozen_space_takes_nothing_and_says_why(authority: Kept) -> None:
    authority.change(SPACE, Acquire("alice"))
    authority.freeze(SPACE, "until monday")
    with pytest.raises(Rejected, match="until monday"):
        append_drafts(authority, SPACE, drafts("alice"), ALICE)
    assert authority.standing(SPACE).frozen == "until monday"
    authority.freeze(SPACE, None)
    assert append_drafts(authority, SPACE, drafts("alice"), ALICE)[0].seq == 1


def test_a_space_may_begin_at_any_number(authority: Kept) -> None:
    assert authority.create(OTHER, seq=41).seq == 41
    assert append_drafts(authority, OTHER, drafts("alice"), OWNER)[0].seq == 42


def test_a_whole_log_is_taken_over_or_nothing(backend: Backend) -> None:
    authority = backend.opened(FileAccess())
    batch = drafts("alice", 3)
    tried = import_events(authority, OTHER, numbered(batch), OWNER, create=True, dry_run=True)
    assert authority.head(OTHER) is None
    done = import_events(authority, OTHER, numbered(batch), OWNER, create=True)
    assert (done, authority.head(OTHER), done.events) == (tried, done.head, 3)
    with authority.hold([OTHER]) as held:
        found = held.find(OTHER, done.head, [batch[1].id])
        assert held.raw(OTHER, found[batch[1].id])
    with pytest.raises(Rejected) as caught:
        import_events(authority, OTHER, numbered(drafts("alice")), OWNER, create=True)
    assert (caught.value.code, authority.head(OTHER)) == ("exists", done.head)
    again = drafts("alice")
    with pytest.raises(Rejected) as twice:
        import_events(authority, "third", numbered([*again, *again]), OWNER, create=True)
    assert (twice.value.code, authority.head("third")) == ("duplicate-event", None)


def test_an_import_may_take_the_lease_for_itself(backend: Backend) -> None:
    authority = backend.opened(FileAccess())
    authority.create(SPACE)
    with pytest.raises(NotHolder):
        import_events(authority, SPACE, numbered(drafts("bob")), BOB)
    import_events(authority, SPACE, numbered(drafts("bob")), BOB, options=Options(take_lease=True))
    assert told(authority) == [(1, "bob")]
    assert next(authority.history(SPACE)).resumed_at == Head(0, genesis_oid(SPACE))


def test_several_spaces_are_held_at_once(authority: Kept) -> None:
    authority.create(OTHER)
    with authority.hold([SPACE, OTHER]) as held:
        for space in (SPACE, OTHER):
            held.change(space, Acquire("alice"))
            head = held.standing(space).head
            assert head is not None
            decision = held.append(space, head, commits(head, "alice"), ALICE, None)
            assert held.standing(space).head == Head(1, decision.events[f"refs/heads/spaces/{space}"][0].oid)  # type: ignore[union-attr]
        assert authority.ledger.leased() == [OTHER, SPACE]
    assert (authority.held_by("alice"), authority.held_by("bob")) == ([OTHER, SPACE], [])
    authority.change(OTHER, Revoke(0))
    assert authority.held_by("alice") == [SPACE]


def test_whoever_waits_is_woken_by_each_commit(authority: Kept) -> None:
    moved = authority.ledger.moved
    count, heard = moved.count(SPACE), list[str]()
    end = moved.listen(heard.append)
    waiter = threading.Thread(target=moved.wait, args=(SPACE, count, 60.0))
    waiter.start()
    append_drafts(authority, SPACE, drafts("alice"), OWNER)
    waiter.join(30.0)
    assert not waiter.is_alive()
    end()
    authority.change(SPACE, Acquire("alice"))
    assert heard == [SPACE]
    assert moved.count(SPACE) == count + 2


def test_drafts_from_many_threads_stand_in_one_order(authority: Kept, backend: Backend) -> None:
    made: list[Event] = []

    def live(name: str, handle: Kept) -> None:
        for _ in range(5):
            made.extend(append_drafts(handle, SPACE, drafts(name), Pusher(name, unleased=True)))

    together([partial(live, name, backend.opened()) for name in ("alice", "bob", "carol")])
    assert sorted(event.seq for event in made) == list(range(1, 16))
    assert authority.head(SPACE) == next(Head(e.seq, e.oid) for e in made if e.seq == 15)


def test_of_many_who_begin_a_space_each_in_another_way_one_does(backend: Backend) -> None:
    """By creating it, by importing a whole log, and by a first append."""
    authority = backend.opened(FileAccess())
    began: list[Head] = []
    refused: list[str] = []

    def begin(how: Callable[[Kept], Head]) -> None:
        handle = backend.opened(FileAccess())
        try:
            began.append(how(handle))
        except Rejected as error:
            refused.append(error.code)

    def append(handle: Kept) -> Head:
        (event,) = append_drafts(handle, OTHER, drafts("alice"), OWNER, expected="absent", create=True)
        return Head(event.seq, event.oid)

    def take_over(handle: Kept) -> Head:
        # Begins where no other does, so that it does not go on from an empty space.
        log = [Numbered(seq, each) for seq, each in enumerate(drafts("alice", 2), 7)]
        return import_events(handle, OTHER, log, OWNER, create=True).head

    together([partial(begin, how) for how in (lambda each: each.create(OTHER, seq=3), take_over, append, append)])
    assert [authority.existing(OTHER)] == began
    assert len(refused) == 3
    assert set(refused) <= {"exists", "non-fast-forward"}
