"""What a space takes: the same refusals by every way in, on every ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shardd.authority.appending import append_drafts
from shardd.authority.authorities import embedded_authority
from shardd.authority.facts import Pusher
from shardd.authority.lease_store import LeaseStore
from shardd.authority.whole_log import import_events
from shardd.core.canonical import Json
from shardd.core.jsonl import Numbered
from shardd.core.lease import Acquire
from shardd.core.limits import Limits
from shardd.core.policy import Accept
from shardd.core.refs import Change, space_ref
from shardd.core.roles import FileAccess
from shardd.core.taken_types import Takes, known_types
from shardd.errors import BadEvent, Misuse, Rejected
from shardd.git.repository import Repository
from shardd.logs.git_log import GitLog
from shardd.logs.memory_log import MemoryLog
from tests.authorities import LEDGERS, Backend, Kept, backend_of, commits, push
from tests.clocks import FakeTime
from tests.drafting import Said, drafts

SPACE = "whynot"
OWNER = Pusher("alice", unleased=True)
SEEN: Json = {"required": ["who"], "properties": {"who": {"type": "string", "pattern": "^(a+)+$"}}}
TAKES = Takes.of([*known_types(), "acme.free"], {"acme.seen": SEEN}, strict=True)

TAKEN: list[Said] = [
    ("page.bound", {"page": "Home", "same_as": "Start"}),
    ("acme.free", {"what": ["ever"]}),
    ("acme.seen", {"who": "aaa", "more": 1}),
]
REFUSED: dict[str, tuple[Said, str, str, str]] = {
    "no type of an event": (("wip", {}), "type-not-allowed", "type", "garden/whynot takes no wip"),
    "a slip": (("page.buond", {"page": "Home"}), "type-not-allowed", "type", "did you mean page.bound?"),
    "one of another space": (("acme.sean", {"who": "a"}), "type-not-allowed", "type", "did you mean acme.seen?"),
    "a field's name": (("page.bound", {"pgae": "Home"}), "bad-event", "data.page", "is `pgae` meant for it?"),
    "a field's type": (("page.bound", {"page": 7}), "bad-event", "data.page", "Expected `str`, got `int`"),
    "a field too many": (
        ("page.bound", {"page": "a", "shrad": "b"}),
        "bad-event",
        "data.shrad",
        "did you mean `shard`",
    ),
    "a newer version": (("page.bound", {"page": "a", "v": 9}), "bad-event", "data.v", "1 is the newest known"),
    "a schema's field": (("acme.seen", {}), "bad-event", "data", '"who" is a required property'),
    "a schema's pattern": (("acme.seen", {"who": "a" * 5000 + "b"}), "bad-event", "data.who", "does not match"),
}


@pytest.fixture(params=LEDGERS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with ExitStack() as stack:
        yield backend_of(request.param, tmp_path, FakeTime(), stack)


@pytest.fixture
def authority(backend: Backend) -> Kept:
    authority = backend.opened(FileAccess())
    authority.create(SPACE)
    authority.take(SPACE, lambda now: TAKES)
    return authority


def appended(authority: Kept, said: list[Said]) -> None:
    append_drafts(authority, SPACE, drafts("alice", said, prefix="ways"), OWNER)


def in_a_batch(authority: Kept, said: list[Said]) -> None:
    append_drafts(authority, SPACE, drafts("alice", [TAKEN[0], *said, TAKEN[1]], prefix="ways"), OWNER)


def pushed(authority: Kept, said: list[Said]) -> None:
    head = authority.existing(SPACE)
    brought = commits(head, "alice", events=drafts("alice", said, prefix="ways"))
    move = Change(space_ref(SPACE), head.oid, brought[-1].oid)
    decision = push(authority, "alice", [move], brought, "lease=acquire")
    if not isinstance(decision, Accept):
        raise decision.error()


def imported(authority: Kept, said: list[Said]) -> None:
    log = [Numbered(seq, each, where=f"line {seq}") for seq, each in enumerate(drafts("alice", said, prefix="ways"), 1)]
    import_events(authority, SPACE, log, OWNER)


WAYS: list[Callable[[Kept, list[Said]], None]] = [appended, in_a_batch, pushed, imported]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_nonsense_is_refused_by_every_way_in(authority: Kept, way: Callable[[Kept, list[Said]], None]) -> None:
    head = authority.head(SPACE)
    for said, code, field, says in REFUSED.values():
        with pytest.raises(BadEvent) as caught:
            way(authority, [said])
        assert (caught.value.code, caught.value.field) == (code, field)
        assert says in caught.value.message
        assert caught.value.remedy
        assert authority.head(SPACE) == head
    way(authority, TAKEN)
    assert {"acme.free", "acme.seen"} < {event.type for event in authority.events(SPACE)}


def test_the_remedy_is_for_who_has_the_commit_or_for_who_named_the_type(authority: Kept) -> None:
    with pytest.raises(BadEvent, match=r"commit [0-9a-f]{12}: type: ") as by_git:
        pushed(authority, [("wip", {})])
    assert "`git commit --amend --allow-empty`" in by_git.value.remedy
    with pytest.raises(BadEvent) as below:
        pushed(authority, [("wip", {}), TAKEN[0]])
    assert " rebase -i " in below.value.remedy
    with pytest.raises(BadEvent) as by_name:
        appended(authority, [("wip", {})])
    assert "git" not in by_name.value.remedy.split("`shardd")[0]
    with pytest.raises(BadEvent, match="line 2: type: "):
        imported(authority, [TAKEN[0], ("wip", {})])


def test_it_is_off_by_default_and_can_be_turned_off(backend: Backend) -> None:
    authority = backend.opened(FileAccess())
    authority.create(SPACE)
    nonsense = [said for said, *_ in REFUSED.values()]
    appended(authority, nonsense)
    assert authority.take(SPACE, lambda now: Takes.of(["a"], {}, strict=False)) is not None
    with pytest.raises(BadEvent, match="takes no b"):
        append_drafts(authority, SPACE, drafts("alice", [("b", {})], prefix="now"), OWNER)
    assert authority.take(SPACE, lambda now: None) is None
    append_drafts(authority, SPACE, drafts("alice", [("b", {})], prefix="later"), OWNER)


def test_what_was_appended_before_is_answered_as_ever(authority: Kept) -> None:
    """A retry is no new event, whatever the space takes by now."""
    batch = drafts("alice", TAKEN, prefix="early")
    made = append_drafts(authority, SPACE, batch, OWNER)
    authority.take(SPACE, lambda now: Takes.of(["other"], {}, strict=False))
    assert append_drafts(authority, SPACE, batch, OWNER) == made


def test_only_an_admin_sets_it_and_leases_leave_it_alone(backend: Backend, authority: Kept) -> None:
    with pytest.raises(Rejected, match="the role admin"):
        _as("alice", backend).take(SPACE, lambda now: None)
    authority.change(SPACE, Acquire("alice"))
    authority.freeze(SPACE, "moving")
    authority.freeze(SPACE, None)
    assert authority.standing(SPACE).takes == TAKES
    with backend.opened().hold([SPACE]) as held:
        assert held.standing(SPACE).takes == TAKES


def _as(who: str, backend: Backend) -> Kept:
    authority = backend.opened()
    authority._by = who
    return authority


def test_a_log_that_was_read_under_another_list_is_not_shown(authority: Kept) -> None:
    def changing() -> Iterator[Numbered]:
        yield from [Numbered(seq, each) for seq, each in enumerate(drafts("alice", TAKEN, prefix="x"), 1)]
        authority.take(SPACE, lambda now: Takes.of(["other"], {}, strict=False))

    with pytest.raises(Rejected, match="has changed meanwhile") as caught:
        import_events(authority, SPACE, changing(), OWNER)
    assert (caught.value.code, authority.existing(SPACE).seq) == ("type-not-allowed", 0)


def test_it_outlives_the_process_and_is_copied_with_the_leases(tmp_path: Path) -> None:
    """As a backup and a restore do; and a shardd that knows nothing of it does not read on, which would forget it."""
    with ExitStack() as stack:
        authority = backend_of("embedded", tmp_path, FakeTime(), stack).opened()
        authority.create(SPACE)
        authority.create("free")
        authority.take(SPACE, lambda now: TAKES)
        authority.change("free", Acquire("alice"))
    state = tmp_path / "garden.git" / "shardd"
    store = LeaseStore(state)
    LeaseStore(state).copy_to(LeaseStore(tmp_path))
    for each in (store, LeaseStore(tmp_path)):
        record = each.load(SPACE)
        assert record is not None
        assert record.takes == TAKES
    assert b'"version":2' in store.path(SPACE).read_bytes()
    assert b'"version":1' in store.path("free").read_bytes()


@pytest.mark.parametrize(
    "schema",
    [7, {"type": "nope"}, {"$ref": "file:///etc/passwd"}, {"$ref": "http://localhost:1/x"}, {"pattern": "(?=x)y"}],
    ids=str,
)
def test_a_schema_that_cannot_be_used_is_refused_when_it_is_given(schema: Json) -> None:
    with pytest.raises(Misuse, match="JSON Schema"):
        Takes.of([], {"acme.seen": schema}, strict=False)


def _manifold(deep: int) -> Json:
    """It asks one thing of the data, 8^deep times."""
    parts: dict[str, Json] = {f"d{at}": {"allOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 8} for at in range(deep)}
    return {"$ref": "#/$defs/d0", "$defs": {**parts, f"d{deep}": {"type": "object"}}}


_BELOW: Json = {"properties": {"a": {"$ref": "#"}}}
COSTLY: dict[str, tuple[Json, str]] = {
    "manifold": (_manifold(4), "parts"),
    "within itself": ({"anyOf": [_BELOW, _BELOW]}, "itself"),
    "one within another": (
        {"$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
        "itself",
    ),
    "by a name": ({"$defs": {"a": {"$anchor": "a", "items": {"$ref": "#a"}}}, "$ref": "#a"}, "#a"),
    "by a dynamic name": ({"$dynamicAnchor": "a", "items": {"$dynamicRef": "#a"}}, "dynamicRef"),
    "by an older dynamic name": (
        {"$schema": "https://json-schema.org/draft/2019-09/schema", "items": {"$recursiveRef": "#"}},
        "recursiveRef",
    ),
    "from another root": ({"$defs": {"a": {"$id": "urn:a", "items": {"$ref": "#"}}}, "$ref": "#/$defs/a"}, "id"),
    "on and on": (
        {"$defs": {str(at): {"$ref": f"#/$defs/{at + 1}"} for at in range(1500)}, "$ref": "#/$defs/0"},
        "on and on",
    ),
    "by an escape": ({"$defs": {"a/b": {"items": {"$ref": "#/$defs/a~1b"}}}, "$ref": "#/$defs/a~1b"}, "itself"),
    "by another escape": ({"$defs": {"a": {}}, "$ref": "#/%24defs/a"}, "its own parts|not taken"),
}


@pytest.mark.parametrize(("schema", "says"), COSTLY.values(), ids=list(COSTLY))
def test_what_a_schema_costs_is_bounded_before_it_is_taken(schema: Json, says: str) -> None:
    """It is judged under the space's lock: no event may keep that for as long as it likes."""
    with pytest.raises(Misuse, match=f"JSON Schema.*{says}"):
        Takes.of([], {"acme.seen": schema}, strict=False)


def test_a_schema_may_refer_to_its_own_parts() -> None:
    page: Json = {"type": "string", "maxLength": 9}
    parts: dict[str, Json] = {"$defs": {"page": page, "pages": {"items": {"$ref": "#/$defs/page"}}}}
    either: Json = {
        **parts,
        "$id": "https://acme.example/seen",
        "properties": {"page": {"$ref": "#/$defs/page"}, "pages": {"$ref": "#/$defs/pages"}, "$ref": {"const": 7}},
    }
    takes = Takes.of([], {"acme.seen": either}, strict=False)
    assert takes.refusal("acme.seen", {"page": "Home", "pages": ["Home"], "$ref": 7}, "garden/whynot") is None
    assert takes.refusal("acme.seen", {"pages": ["0123456789"]}, "garden/whynot") is not None


def test_schemas_are_bounded() -> None:
    with pytest.raises(Misuse, match="bytes"):
        Takes.of([], {"acme.seen": {"title": "x" * 70_000}}, strict=False)


def test_logs_of_the_library_refuse_it_too(tmp_path: Path) -> None:
    memory, path = MemoryLog(), tmp_path / "own.git"
    memory._authority.create(SPACE)
    memory._authority.take(SPACE, lambda now: TAKES)
    git = GitLog(path)
    git.append(SPACE, "before")
    with Repository(path) as repository:
        own = embedded_authority(repository, label="own", rights=FileAccess, limits=Limits())
        own.take(SPACE, lambda now: TAKES)
    for log in (memory, git, GitLog(path)):
        head = log.head(SPACE)
        for said, code, field, _ in REFUSED.values():
            with pytest.raises(BadEvent) as caught:
                log.append(SPACE, *said)
            assert (caught.value.code, caught.value.field) == (code, field)
        assert log.head(SPACE) == head
        log.append(SPACE, *TAKEN[0])
