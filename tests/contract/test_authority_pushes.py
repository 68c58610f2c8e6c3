"""What every authority does with a push: of one ref, of several, all or none, and beside whatever else goes on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from shardd.authority.facts import Options, Pusher
from shardd.core.codec import genesis
from shardd.core.event import Draft, Head
from shardd.core.lease import Acquire, Release, Revoke, Transition
from shardd.core.limits import Limits
from shardd.core.objects import commit_oid, parents
from shardd.core.policy import Accept, Decision, Reject
from shardd.core.push_facts import Candidate
from shardd.core.refs import Change, NotesRef, space_ref
from shardd.core.refusals import HeadMoved, NotHolder
from shardd.core.roles import Access, Rights
from shardd.errors import Rejected
from tests.authorities import LEDGERS, PEOPLE, RIGHTS, Backend, Kept, backend_of, bring, code, commits, push, together
from tests.clocks import FakeTime
from tests.drafting import drafts

SPACE, OTHER = "whynot", "other"
NOBODY = Access(frozenset())


@pytest.fixture(params=LEDGERS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with ExitStack() as stack:
        yield backend_of(request.param, tmp_path, FakeTime(), stack)


@pytest.fixture
def authority(backend: Backend) -> Kept:
    """Alice holds SPACE, and nobody OTHER."""
    authority = backend.opened()
    for space in (SPACE, OTHER):
        authority.create(space)
    authority.change(SPACE, Acquire("alice"))
    return authority


def onto(head: Head, brought: Sequence[Candidate], space: str = SPACE) -> Change:
    return Change(space_ref(space), head.oid, brought[-1].oid)


def push_on(authority: Kept, who: str, *words: str, space: str = SPACE, events: list[Draft] | None = None) -> Decision:
    """`who` pushes one event, or these, onto the head."""
    head = authority.existing(space)
    brought = commits(head, who, events=events)
    return push(authority, who, [onto(head, brought, space)], brought, *words)


def heads(authority: Kept) -> dict[str, int]:
    return {space: authority.existing(space).seq for space in authority.ledger.spaces()}


def test_a_push_moves_the_head_over_all_that_it_brings(authority: Kept) -> None:
    head = authority.existing(SPACE)
    brought = commits(head, "alice", count=3)
    decision = push(authority, "alice", [onto(head, brought)], brought)
    assert isinstance(decision, Accept)
    assert (decision.principal, decision.momentary) == ("alice", ())
    (events,) = decision.events.values()
    assert [(event.seq, event.oid) for event in events] == [(n, each.oid) for n, each in enumerate(brought, 1)]
    assert authority.head(SPACE) == Head(3, brought[-1].oid)
    with authority.hold([SPACE]) as held:
        assert held.find(SPACE, authority.existing(SPACE), [events[1].id]) == {events[1].id: Head(2, brought[1].oid)}
        assert held.raw(SPACE, Head(2, brought[1].oid)) == brought[1].raw


def test_a_push_of_what_is_there_moves_nothing(authority: Kept) -> None:
    push_on(authority, "alice")
    head = authority.existing(SPACE)
    assert code(push(authority, "alice", [Change(space_ref(SPACE), head.oid, head.oid)])) == ""
    assert authority.head(SPACE) == head


def test_a_look_says_what_a_push_would_and_does_nothing(authority: Kept) -> None:
    head = authority.existing(SPACE)
    brought = commits(head, "alice")
    incoming = bring(authority, brought)
    look = partial(authority.look, [onto(head, brought)], Options(), incoming=incoming)
    assert look(pusher=lambda: Pusher("alice")) is None
    refused = look(pusher=lambda: Pusher("bob"))
    assert refused is not None
    assert isinstance(refused.reason, NotHolder)
    assert authority.head(SPACE) == head
    assert isinstance(authority.push([onto(head, brought)], Options(), lambda: Pusher("alice"), incoming), Accept)
    again = commits(authority.existing(SPACE), "alice")
    behind = authority.look([onto(head, again)], Options(), lambda: Pusher("alice"), bring(authority, again))
    assert behind is not None
    assert isinstance(behind.reason, HeadMoved)
    assert behind.reason.head == authority.head(SPACE)


def test_a_push_to_two_spaces_lands_in_both_or_in_neither(authority: Kept) -> None:
    moves: list[Change] = []
    brought: list[Candidate] = []
    for space in (SPACE, OTHER):
        head = authority.existing(space)
        brought += commits(head, "alice", count=2)
        moves.append(onto(head, brought, space))
    decision = push(authority, "alice", moves, brought)
    assert isinstance(decision, Reject)
    assert (decision.code, decision.ref) == ("not-holder", space_ref(OTHER))
    assert heads(authority) == {OTHER: 0, SPACE: 0}
    decision = push(authority, "alice", moves, brought, "lease=acquire")
    assert isinstance(decision, Accept)
    assert decision.momentary == (OTHER,)
    assert heads(authority) == {OTHER: 2, SPACE: 2}
    assert [entry.tenure.holder for entry in authority.history(OTHER)] == ["alice"]
    assert authority.standing(OTHER).tenancy.lease is None
    assert authority.standing(SPACE).tenancy.lease is not None


def test_a_lease_is_taken_for_one_push_alone_and_for_no_refused_one(authority: Kept) -> None:
    assert code(push_on(authority, "bob", space=OTHER)) == "not-holder"
    assert code(push_on(authority, "bob", "lease=acquire", space=OTHER)) == ""
    assert code(push_on(authority, "mallory", "lease=acquire", space=OTHER)) == "not-permitted"
    assert code(push_on(authority, "carol", "lease=acquire", "epoch=1", space=OTHER)) == "stale-epoch"
    assert code(push_on(authority, "bob", "lease=acquire")) == "not-holder", "somebody else's stays hers"
    assert [entry.tenure.holder for entry in authority.history(OTHER)] == ["bob"]
    assert heads(authority) == {OTHER: 1, SPACE: 0}


def test_the_epoch_that_a_push_names_fences_it(authority: Kept) -> None:
    authority.change(SPACE, Release("alice"))
    epoch = authority.change(SPACE, Acquire("alice", fenced=True)).epoch
    assert code(push_on(authority, "alice")) == "stale-epoch"
    assert code(push_on(authority, "alice", f"epoch={epoch - 1}")) == "stale-epoch"
    assert code(push_on(authority, "alice", "epoch=x")) == "stale-epoch"
    assert code(push_on(authority, "alice", f"epoch={epoch}")) == ""


def test_a_frozen_space_and_one_that_nobody_created_take_nothing(authority: Kept) -> None:
    authority.freeze(SPACE, "until monday")
    decision = push_on(authority, "alice")
    assert isinstance(decision, Reject)
    assert (decision.code, "until monday" in decision.message) == ("frozen", True)
    beginning = Candidate(commit_oid(genesis("third")), genesis("third"))
    brought = [beginning, *commits(Head(0, beginning.oid), "alice")]
    assert code(push(authority, "alice", [Change(space_ref("third"), None, brought[-1].oid)], brought)) == (
        "no-such-space"
    )
    assert authority.head("third") is None
    assert authority.existing(SPACE).seq == 0


def test_history_that_does_not_go_on_from_the_head_is_refused(authority: Kept) -> None:
    begun = authority.existing(SPACE)
    assert code(push_on(authority, "alice")) == ""
    head = authority.existing(SPACE)
    beside = commits(begun, "alice", count=2)
    merge = beside[-1].raw.replace(b"\nauthor ", f"\nparent {head.oid}\nauthor ".encode(), 1)
    assert parents(merge) == [beside[0].oid, head.oid]
    merged = Candidate(commit_oid(merge), merge)
    alone = genesis("elsewhere")
    unrelated = Candidate(commit_oid(alone), alone)
    for brought, expected in (
        (beside, "non-fast-forward"),
        ([*beside, merged], "not-linear"),
        ([unrelated], "not-linear"),
    ):
        assert code(push(authority, "alice", [onto(head, brought)], brought)) == expected
    assert code(push(authority, "alice", [Change(space_ref(SPACE), head.oid, begun.oid)])) == "non-fast-forward"
    assert code(push(authority, "alice", [Change(space_ref(SPACE), head.oid, None)])) == "deletion"
    assert code(push(authority, "alice", [onto(begun, onto_head := commits(head, "alice"))], onto_head)) == (
        "non-fast-forward"
    )
    assert authority.head(SPACE) == head


def test_an_event_is_pushed_once(authority: Kept) -> None:
    one = drafts("alice")
    assert code(push_on(authority, "alice", events=one)) == ""
    decision = push_on(authority, "alice", events=one)
    assert isinstance(decision, Reject)
    assert (decision.code, "at seq 1" in decision.message) == ("duplicate-event", True)
    head = authority.existing(SPACE)
    brought = commits(head, "alice", events=one)
    looked = authority.look([onto(head, brought)], Options(), lambda: Pusher("alice"), bring(authority, brought))
    assert looked is not None
    assert looked.code == "duplicate-event"


def test_what_is_over_a_limit_is_refused(authority: Kept) -> None:
    authority.limits = Limits(events=2, commit_bytes=600)
    head = authority.existing(SPACE)
    many = commits(head, "alice", count=3)
    assert code(push(authority, "alice", [onto(head, many)], many)) == "too-large"
    large = commits(head, "alice", events=[replace(drafts("alice")[0], data={"bulk": "x" * 600})])
    assert code(push(authority, "alice", [onto(head, large)], large)) == "too-large"
    assert code(push(authority, "alice", [onto(head, many[:2])], many)) == ""


def test_refs_that_no_push_moves(authority: Kept) -> None:
    head = authority.existing(SPACE)
    brought = commits(head, "alice")
    tip = brought[-1].oid
    malformed = (
        "refs/heads/spaces/Why",
        f"refs/heads/spaces/{SPACE}.lock",
        "refs/notes/a/b",
        "refs/leases/",
        "refs/x/../y",
    )
    ours = (f"refs/leases/{SPACE}", f"refs/intents/{SPACE}/alice/one", "refs/heads/main", f"refs/replace/{tip}")
    for ref in (*ours, *malformed):
        decision = push(authority, "alice", [onto(head, brought), Change(ref, None, tip)], brought)
        assert isinstance(decision, Reject)
        assert (decision.code, decision.ref) == ("ref-not-allowed", ref)
        assert authority.ledger.ref(ref) is None or ref == f"refs/leases/{SPACE}"
    twice = [onto(head, brought), onto(head, brought)]
    assert code(push(authority, "alice", twice, brought)) == "ref-not-allowed"
    assert authority.head(SPACE) == head


def test_notes_are_their_owners_where_a_ledger_keeps_any(authority: Kept) -> None:
    ref = "refs/notes/alice"
    first, second = commits(authority.existing(SPACE), "alice", count=2)
    both = [first, second]
    keeps = bool(authority.ledger.takes([NotesRef("alice")]))
    assert code(push(authority, "bob", [Change(ref, None, first.oid)], both)) == "not-permitted"
    made = push(authority, "alice", [Change(ref, None, first.oid)], both)
    assert code(made) == ("" if keeps else "ref-not-allowed")
    if keeps:
        assert code(push(authority, "alice", [Change(ref, first.oid, second.oid)], both)) == ""
        assert code(push(authority, "alice", [Change(ref, second.oid, first.oid)], both)) == "non-fast-forward"
        assert code(push(authority, "alice", [Change(ref, second.oid, None)], both)) == "deletion"
    assert authority.ledger.ref(ref) == (second.oid if keeps else None)
    assert heads(authority) == {OTHER: 0, SPACE: 0}


def test_who_pushes_is_asked_under_the_lock(authority: Kept, backend: Backend) -> None:
    """Both who it is and what they may: another call has the lock, and takes the rights away before it lets go."""
    granted: list[Rights] = [RIGHTS]
    other = backend.opened(RIGHTS)
    authority._rights = lambda: granted[-1]
    head = authority.existing(SPACE)
    brought = commits(head, "alice")
    incoming = bring(authority, brought)
    asked: list[int] = []

    def who() -> Pusher:
        asked.append(authority.existing(SPACE).seq)
        return Pusher("alice")

    hold = authority.hold

    def late(*spaces: Sequence[str], **also: bool) -> object:
        assert not asked
        other.append(SPACE, head, commits(head, "alice"), principal="alice", epoch=None)
        granted.append(NOBODY)
        return hold(*spaces, **also)  # type: ignore[arg-type]

    authority.hold = late  # type: ignore[method-assign, assignment]
    decision = authority.push([onto(head, brought)], Options(), who, incoming)
    assert (code(decision), asked) == ("not-permitted", [1])


def test_one_of_many_pushes_onto_one_head_wins(authority: Kept, backend: Backend) -> None:
    head = authority.existing(SPACE)
    decisions: list[Decision] = []

    def race(handle: Kept) -> None:
        brought = commits(head, "alice")
        decisions.append(push(handle, "alice", [onto(head, brought)], brought))

    together([partial(race, backend.opened()) for _ in range(4)])
    assert sorted(map(code, decisions)) == ["", "non-fast-forward", "non-fast-forward", "non-fast-forward"]
    assert authority.existing(SPACE).seq == 1


def test_pushes_to_two_spaces_race_with_lease_changes(authority: Kept, backend: Backend) -> None:
    """Each lands in both or in neither, and nobody's event stands behind the head from which a later epoch resumed."""
    landed: list[tuple[str, int, str]] = []

    def live(name: str, handle: Kept, chance: random.Random) -> None:
        for _ in range(8):
            try:
                if chance.random() < 0.3:
                    asked: list[Transition] = [Acquire(name), Release(name), Revoke(bar=0)]
                    handle.change(chance.choice([SPACE, OTHER]), chance.choice(asked))
                    continue
                spaces = chance.sample([SPACE, OTHER], chance.choice([1, 2]))
                moves: list[Change] = []
                brought: list[Candidate] = []
                for space in spaces:
                    head = handle.existing(space)
                    brought += commits(head, name)
                    moves.append(onto(head, brought, space))
                decision = push(handle, name, moves, brought, "lease=acquire")
                if isinstance(decision, Accept):
                    assert decision.events.keys() == {space_ref(space) for space in spaces}
                    landed.extend((ref, each.seq, name) for ref, events in decision.events.items() for each in events)
                else:
                    assert decision.code in ("not-holder", "non-fast-forward"), decision
            except Rejected as error:
                assert error.code == "not-holder", error

    authority.change(SPACE, Release("alice"))
    together([partial(live, name, backend.opened(), random.Random(f"{name} {backend.name}")) for name in PEOPLE])
    assert len(landed) == sum(heads(authority).values())
    for space in (SPACE, OTHER):
        entries = list(authority.history(space))
        assert [entry.tenure.epoch for entry in entries] == list(range(1, len(entries) + 1))
        for ref, seq, name in landed:
            if ref == space_ref(space):
                under = [entry for entry in entries if entry.resumed_at.seq < seq][-1]
                assert under.tenure.holder == name, f"event {seq} of {space} by {name}"


def test_nothing_lands_once_a_freeze_was_answered(authority: Kept, backend: Backend) -> None:
    authority.change(SPACE, Release("alice"))
    answered: list[int] = []

    def freeze(handle: Kept) -> None:
        handle.freeze(SPACE, "until monday")
        answered.append(handle.existing(SPACE).seq)

    def live(name: str, handle: Kept) -> None:
        for _ in range(4):
            assert code(push_on(handle, name, "lease=acquire")) in ("", "frozen", "non-fast-forward")

    together([partial(freeze, backend.opened()), *(partial(live, name, backend.opened()) for name in PEOPLE[:3])])
    assert [authority.existing(SPACE).seq] == answered
