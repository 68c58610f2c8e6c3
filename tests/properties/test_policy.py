"""The rules of a push: total over any facts, a no as soon as any one required fact is denied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardd.core.append import encode_batch
from shardd.core.codec import genesis
from shardd.core.event import Draft, Head
from shardd.core.limits import Limits, TooLarge
from shardd.core.notes import NotesFacts
from shardd.core.objects import commit_oid
from shardd.core.policy import Accept, Decision, Reject, decide
from shardd.core.push_facts import Candidate, ChangeFacts, PushFacts, Relation, SpaceFacts
from shardd.core.refs import Change, NotesRef, OtherRef, SpaceRef, space_ref
from shardd.core.roles import Role
from shardd.core.tenancy import Ended, Lease, Tenancy, Waiter
from tests.clocks import NOON
from tests.properties.strategies import DRAFTS

GENESIS = Head(0, commit_oid(genesis("whynot")))
EPOCH = 7
MINE = Tenancy("whynot", EPOCH, Lease("whynot", "alice", EPOCH, NOON - 1000, NOON + 60_000))
FREE = Tenancy("whynot", EPOCH, None, Ended.RELEASED)
CODES = {
    "no-principal", "ref-not-allowed", "no-such-space", "frozen", "deletion", "non-fast-forward", "not-holder",
    "stale-epoch", "not-linear", "bad-event", "seq-gap", "duplicate-event", "forged-actor", "too-large",
    "not-permitted",
}  # fmt: skip


def own(draft: Draft, number: int) -> Draft:
    """The same event by alice, with an id of its own."""
    return replace(draft, actor="alice", id=f"e{number}")


BATCHES = st.lists(DRAFTS, min_size=1, max_size=3).map(lambda found: [own(d, i) for i, d in enumerate(found)])


def a_push(batch: list[Draft], *, tenancy: Tenancy = MINE, said: int | None = EPOCH) -> PushFacts:
    """A push by alice that breaks no rule, in facts."""
    commits = [Candidate(oid, raw) for oid, raw in encode_batch(batch, GENESIS, epoch=said)]
    ref = space_ref("whynot")
    change = ChangeFacts(
        change=Change(ref, GENESIS.oid, commits[-1].oid),
        role=Role.APPEND,
        current=GENESIS.oid,
        space=SpaceFacts(GENESIS, tenancy, NOON, commits=commits),
    )
    return PushFacts(repo="garden", principal="alice", changes=[change])


def with_change(facts: PushFacts, **changes: object) -> PushFacts:
    return replace(facts, changes=[replace(facts.changes[0], **changes)])  # type: ignore[arg-type]


def with_space(facts: PushFacts, **changes: object) -> PushFacts:
    space = facts.changes[0].space
    assert space is not None
    return with_change(facts, space=replace(space, **changes))  # type: ignore[arg-type]


def with_lease(facts: PushFacts, **changes: object) -> PushFacts:
    assert MINE.lease is not None
    return with_space(facts, tenancy=replace(MINE, lease=replace(MINE.lease, **changes)))  # type: ignore[arg-type]


def moved(facts: PushFacts, **changes: object) -> PushFacts:
    return with_change(facts, change=replace(facts.changes[0].change, **changes))  # type: ignore[arg-type]


def last(facts: PushFacts) -> Candidate:
    space = facts.changes[0].space
    assert space is not None
    return space.commits[-1]


def on_another_head(facts: PushFacts) -> PushFacts:
    return with_change(with_space(facts, head=Head(0, "2" * 40)), current="2" * 40)


# Each takes away one thing that the push needs, and names the codes that may answer it.
DENIALS: dict[str, tuple[Callable[[PushFacts], PushFacts], str]] = {
    "nobody": (lambda f: replace(f, principal=None), "no-principal"),
    "unknown space": (lambda f: with_space(f, head=None), "no-such-space"),
    "nothing known": (lambda f: with_change(f, space=None), "no-such-space"),
    "role": (lambda f: with_change(f, role=Role.PROPOSE), "not-permitted"),
    "no role": (lambda f: with_change(f, role=Role.NONE), "not-permitted"),
    "begins a space": (lambda f: with_space(f, begins=True), "not-permitted"),
    "deletion": (lambda f: moved(f, new=None), "deletion"),
    "frozen": (lambda f: with_space(f, frozen="for the audit"), "frozen"),
    "frozen, silently": (lambda f: with_space(f, frozen=""), "frozen"),
    "symbolic": (lambda f: with_change(f, symbolic=True), "ref-not-allowed"),
    "free": (lambda f: with_space(f, tenancy=FREE), "not-holder"),
    "another's": (lambda f: with_lease(f, holder="bob"), "not-holder"),
    "later epoch": (lambda f: with_lease(f, epoch=EPOCH + 1), "stale-epoch"),
    "option": (lambda f: replace(f, epoch=EPOCH - 1), "stale-epoch"),
    "behind": (lambda f: with_space(f, relation=Relation.BEHIND), "non-fast-forward"),
    "forks": (lambda f: with_space(f, relation=Relation.FORKS), "non-fast-forward"),
    "merges": (lambda f: with_space(f, relation=Relation.MERGES), "not-linear"),
    "unrelated": (lambda f: with_space(f, relation=Relation.UNRELATED), "not-linear"),
    "no commit": (lambda f: with_space(f, relation=Relation.NO_COMMIT), "bad-event"),
    "too long": (lambda f: with_space(f, relation=Relation.TOO_LONG), "too-large"),
    "elsewhere": (lambda f: with_change(f, current="2" * 40), "non-fast-forward"),
    "gone": (lambda f: with_change(f, current=None), "non-fast-forward"),
    "old value": (lambda f: moved(f, old="2" * 40), "non-fast-forward"),
    "created": (lambda f: moved(f, old=None), "non-fast-forward"),
    "other parent": (lambda f: moved(on_another_head(f), old="2" * 40), "not-linear"),
    "other number": (lambda f: with_space(f, head=Head(5, GENESIS.oid)), "seq-gap"),
    "known id": (lambda f: with_space(f, known_ids={"e0": Head(1, "3" * 40)}), "duplicate-event"),
    "big": (lambda f: replace(f, limits=Limits(commit_bytes=100)), "too-large"),
    "not hers": (lambda f: with_lease(replace(f, principal="carol"), holder="carol"), "forged-actor"),
    "a lease ref": (lambda f: moved(f, ref="refs/leases/whynot"), "ref-not-allowed"),
    "an intent": (lambda f: moved(f, ref="refs/intents/whynot/alice/a"), "ref-not-allowed"),
    "any ref": (lambda f: with_change(moved(f, ref="refs/heads/main"), kept=False), "ref-not-allowed"),
    "a replacement": (lambda f: moved(f, ref=f"refs/replace/{GENESIS.oid}"), "ref-not-allowed"),
    "a lease ref, left to git": (lambda f: with_change(moved(f, ref="refs/leases/s"), kept=True), "ref-not-allowed"),
    "a malformed name of ours": (
        lambda f: with_change(moved(f, ref="refs/heads/spaces/No"), kept=True),
        "ref-not-allowed",
    ),
    "another's notes": (lambda f: moved(f, ref="refs/notes/bob"), "not-permitted"),
    "notes, where none are kept": (
        lambda f: with_change(moved(f, ref="refs/notes/alice"), kept=False),
        "ref-not-allowed",
    ),
    "notes that are no commits": (lambda f: with_change(moved(f, ref="refs/notes/alice"), kept=True), "bad-event"),
    "twice": (lambda f: replace(f, changes=[*f.changes, *f.changes]), "ref-not-allowed"),
    "an option": (lambda f: replace(f, malformed="epoch=x"), "stale-epoch"),
    "another option": (lambda f: replace(f, malformed="lease=x"), "not-holder"),
    "unread": (
        lambda f: with_space(f, relation=Relation.TOO_LARGE, oversized=TooLarge("5" * 40, 70_000, 65_536)),
        "too-large",
    ),
}


def of_notes(**notes: object) -> PushFacts:
    facts = NotesFacts(objects=3, size=300, largest_commit=("1" * 40, 100), largest_other=("2" * 40, 100))
    change = Change("refs/notes/alice", None, "3" * 40)
    known = ChangeFacts(change, Role.READ, kept=True, commit=True, notes=replace(facts, **notes))  # type: ignore[arg-type]
    return PushFacts(repo="garden", principal="alice", changes=[known])


LARGE = Limits()


@pytest.mark.parametrize(
    ("notes", "says"),
    [
        ({"objects": LARGE.notes_objects + 1}, "refs/notes/alice would hold more than 50000 objects"),
        ({"size": LARGE.notes_bytes + 1}, "objects or 67108864 bytes"),
        ({"largest_commit": ("1" * 40, LARGE.commit_bytes + 1)}, "commit 111111111111 has 65537 bytes"),
        ({"largest_other": ("2" * 40, LARGE.note_bytes + 1)}, "object 222222222222 of refs/notes/alice has 1048577"),
        ({"strays": 1}, "the pack holds 1 objects that refs/notes/alice does not need"),
    ],
)
def test_notes_have_a_quota(notes: dict[str, object], says: str) -> None:
    decision = decide(of_notes(**notes))
    assert isinstance(decision, Reject)
    assert (decision.code, says in decision.message) == ("too-large", True)
    full = of_notes(objects=LARGE.notes_objects, size=LARGE.notes_bytes)
    assert isinstance(decide(full), Accept)


def test_notes_of_which_nothing_is_known_are_refused() -> None:
    facts = with_change(of_notes(), notes=None)
    assert isinstance(decide(facts), Reject)


@given(BATCHES)
def test_a_push_that_breaks_no_rule_is_accepted_as_it_reads(batch: list[Draft]) -> None:
    facts = a_push(batch)
    decision = decide(facts)
    assert isinstance(decision, Accept)
    assert decision.momentary == ()
    assert [event.draft() for event in decision.events[space_ref("whynot")]] == batch


@pytest.mark.parametrize("name", DENIALS)
@settings(max_examples=10)
@given(batch=BATCHES)
def test_each_fact_that_is_denied_refuses_by_its_code(name: str, batch: list[Draft]) -> None:
    deny, code = DENIALS[name]
    decision = decide(deny(a_push(batch)))
    assert isinstance(decision, Reject)
    assert decision.code == code
    assert decision.ref == deny(a_push(batch)).changes[0].change.ref
    assert decision.message


@settings(max_examples=100)
@given(BATCHES, st.sets(st.sampled_from(sorted(DENIALS)), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_however_many_are_denied_it_is_a_no(
    batch: list[Draft], names: set[str], unleased: bool, take_lease: bool
) -> None:
    facts = a_push(batch)
    for name in sorted(names):
        try:
            facts = DENIALS[name][0](facts)
        except AssertionError:  # nothing is left of the space to be changed
            continue
    only_the_lease = names <= {"free"}
    facts = replace(facts, unleased=unleased and not only_the_lease, take_lease=take_lease and not only_the_lease)
    decision = decide(facts)
    if names == {"free", "option"} and unleased and not take_lease:
        return  # file access is the right while nobody holds the lease, whatever epoch is named
    assert isinstance(decision, Reject)
    assert decision.code in CODES


@given(BATCHES, BATCHES, st.sampled_from(sorted(DENIALS)), st.booleans())
def test_one_bad_ref_refuses_the_whole_push(good: list[Draft], bad: list[Draft], name: str, first: bool) -> None:
    fine, denied = a_push(good), DENIALS[name][0](a_push(bad))
    pair = [*fine.changes, *denied.changes]
    decision = decide(replace(denied, changes=pair if first else pair[::-1]))
    assert isinstance(decision, Reject)


FENCED = replace(MINE, lease=replace(MINE.lease, fenced=True)) if MINE.lease else MINE


@given(BATCHES, st.sampled_from([None, EPOCH - 1, EPOCH]), st.sampled_from([None, EPOCH - 1, EPOCH]))
def test_a_fenced_lease_takes_only_what_names_its_epoch(
    batch: list[Draft], option: int | None, said: int | None
) -> None:
    decision = decide(replace(a_push(batch, tenancy=FENCED, said=said), epoch=option))
    right = EPOCH in (option, said) and EPOCH - 1 not in (option, said)
    assert isinstance(decision, Accept) == right
    if isinstance(decision, Reject):
        assert decision.code == "stale-epoch"


@given(BATCHES)
def test_a_lease_for_this_push_alone_is_refused_to_whom_the_lease_would_be(batch: list[Draft]) -> None:
    taken = decide(replace(a_push(batch, tenancy=FREE, said=EPOCH + 1), take_lease=True))
    assert isinstance(taken, Accept)
    assert taken.momentary == ("whynot",)
    queue = replace(FREE, waiters=(Waiter("t", "bob", NOON),))
    barred = replace(FREE, bars=(("alice", NOON + 1),))
    for tenancy in (queue, barred):
        decision = decide(replace(a_push(batch, tenancy=tenancy, said=None), take_lease=True))
        assert isinstance(decision, Reject)
        assert decision.code == "not-holder"


RAW = st.binary(max_size=300) | st.builds(
    lambda drafts, at, junk, cut: (
        (raw := encode_batch([own(drafts, 0)], GENESIS, epoch=EPOCH)[0][1])[: at % len(raw)]
        + junk
        + raw[at % len(raw) + cut :]
    ),
    DRAFTS,
    st.integers(0, 5000),
    st.binary(max_size=4),
    st.integers(0, 4),
)
HEADS = st.none() | st.just(GENESIS) | st.builds(Head, st.integers(0, 2**53 - 1), st.sampled_from(["2" * 40, "f" * 64]))
OIDS = st.none() | st.sampled_from([GENESIS.oid, "2" * 40])
SPACES = st.none() | st.builds(
    SpaceFacts,
    HEADS,
    st.sampled_from([MINE, FREE, FENCED, replace(FREE, bars=(("alice", NOON + 1),))]),
    st.just(NOON),
    st.none() | st.text(max_size=5),
    st.sampled_from(Relation),
    st.lists(RAW, max_size=3).map(lambda raws: [Candidate(commit_oid(raw), raw) for raw in raws]),
    st.just({}),
)
REFS = st.sampled_from(
    [
        *(space_ref("whynot"), "refs/leases/s", "refs/intents/s/alice/a", "refs/notes/alice", "refs/notes/bob"),
        *(f"refs/replace/{GENESIS.oid}", "refs/heads/spaces/No", "x"),
    ]
)
CHANGES = st.builds(
    ChangeFacts,
    st.builds(Change, REFS, OIDS, OIDS),
    st.sampled_from(Role),
    st.booleans(),
    OIDS,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    SPACES,
)
PUSHES = st.builds(
    PushFacts,
    st.just("garden"),
    st.none() | st.sampled_from(["alice", "bob"]),
    st.lists(CHANGES, max_size=3),
    st.none() | st.integers(0, 9),
    st.booleans(),
    st.none() | st.sampled_from(["epoch=", "lease=x"]),
    st.booleans(),
)


@settings(max_examples=150)
@given(PUSHES)
def test_any_facts_get_a_decision(facts: PushFacts) -> None:
    decision: Decision = decide(facts)
    if isinstance(decision, Reject):
        assert decision.code in CODES
        return
    assert facts.principal is not None or not facts.changes
    for each in facts.changes:
        assert each.role >= Role.READ
        if isinstance(each.change.parsed, SpaceRef):
            assert each.role >= Role.APPEND
            assert each.space is not None
            assert each.space.frozen is None
            lease = each.space.tenancy.lease
            assert lease.holder == facts.principal if lease else facts.take_lease or facts.unleased
        else:
            assert isinstance(each.change.parsed, NotesRef) or each.kept
            assert isinstance(each.change.parsed, NotesRef | OtherRef)
