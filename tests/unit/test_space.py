"""InformationSpace: verbs, pages as a reader sees them, and what led there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from shardd.core.event import Event
from shardd.core.fold import Reducer
from shardd.core.kinds.default import DEFAULT_KINDS
from shardd.core.kinds.kind import Kind, PageKey, Ref
from shardd.core.refusals import HeadMoved
from shardd.errors import Corrupt, Misuse, Rejected
from shardd.logs.memory_log import MemoryLog
from shardd.wiki.shard import DictShard, Source
from shardd.wiki.space import InformationSpace


def wiki() -> InformationSpace:
    """Two shards: Home is in both and differs, Same is in both and does not, Start and Only are in one."""
    space = InformationSpace("wiki", actor="alice")
    space.attach("garden", DictShard({"Home": "garden's", "Same": "same", "Start": "start"}), title="The garden")
    space.attach("desk", DictShard({"Home": "desk's", "Same": "same", "Only": b"\xff"}))
    return space


def test_every_verb_appends_one_event_and_returns_it() -> None:
    space = wiki()
    events = [
        space.bind("Home", "Start", shard="desk"),
        space.unbind("Home", "Start", reason="no"),
        space.draft("Home", "one", overlay="o1"),
        space.draft("Home", "two", overlay="o2", title="Second"),
        space.apply("o1"),
        space.supersede("o1", "o2", reason="better"),
        space.withdraw("o2"),
        space.settle("Home", "garden", key="Home", reason="newer"),
        space.reopen("Home"),
        space.remark("Home", "hm", remark="r1"),
        space.retract("r1"),
        space.detach("desk"),
    ]
    assert list(space.log.events("wiki"))[2:] == events
    assert [event.seq for event in events] == list(range(3, 15))
    assert {event.actor for event in events} == {"alice"}
    assert not space.state.set_aside
    assert [event.type for event in events] == [
        "page.bound",
        "page.unbound",
        "overlay.drafted",
        "overlay.drafted",
        "overlay.applied",
        "overlay.superseded",
        "overlay.withdrawn",
        "conflict.settled",
        "conflict.reopened",
        "remark.added",
        "remark.retracted",
        "shard.detached",
    ]
    assert (events[0].subject, events[0].data) == ("Home", {"page": "Home", "same_as": "Start", "shard": "desk"})
    assert (events[4].subject, events[4].data) == ("o1", {"overlay": "o1"})


def test_an_overlay_and_a_remark_get_an_id_of_their_own() -> None:
    space = wiki()
    for event, field in ((space.draft("Home", "x"), "overlay"), (space.remark("Home", "x"), "remark")):
        assert event.data[field] == event.id
    assert len(space.state.overlays) == len(space.state.remarks) == 1


def test_how_an_event_is_appended_can_be_said() -> None:
    space = wiki()
    time = datetime(2026, 1, 1, tzinfo=UTC)
    event = space.bind("Home", "Start", actor="bob", id="b-1", time=time, expected=space.seen)
    assert (event.actor, event.id, event.time) == ("bob", "b-1", time)
    assert space.bind("Home", "Start", actor="bob", id="b-1") == event
    assert space.draft("Home", "x", id="d-1") == space.draft("Home", "x", id="d-1")


def test_expected_is_what_was_seen_and_not_what_is_there() -> None:
    log = MemoryLog()
    mine, theirs = InformationSpace("wiki", store=log), InformationSpace("wiki", store=log)
    assert mine.seen == "absent"
    theirs.bind("Home")
    with pytest.raises(HeadMoved):
        mine.bind("Start", expected=mine.seen)
    seen = mine.seen
    mine.bind("Start", expected=seen)
    with pytest.raises(HeadMoved):
        theirs.bind("Third", expected=seen)
    assert theirs.refresh().events == 2


def test_the_writes_of_others_come_with_refresh() -> None:
    log = MemoryLog()
    mine, theirs = InformationSpace("wiki", store=log), InformationSpace("wiki", store=log)
    before = mine.state
    theirs.bind("Home", "Start")
    assert mine.state is before
    assert mine.refresh().page("Home") == ("Home", "Start")
    assert mine.state == theirs.state
    assert before.page("Home") == ("Home",)


@pytest.mark.parametrize(
    ("say", "why"),
    [
        (lambda space: space.settle("Home", "nosuch"), "no shard nosuch is attached"),
        (lambda space: space.bind("Home", shard="nosuch"), "no shard nosuch is attached"),
        (lambda space: space.attach("garden", title="The garden"), "the shard garden is attached already"),
        (lambda space: space.bind("Home", "Start"), "Home and Start are one page already"),
        (lambda space: space.bind("Start", "Home"), "Start and Home are one page already"),
        (lambda space: space.bind("Only"), "Only is a page already"),
        (lambda space: space.bind("Only", "Other", shard="garden"), "canonical in garden already"),
        (lambda space: space.settle("Start", "garden", reason="again"), "Start: garden is canonical already"),
        (lambda space: space.draft("Home", "x", overlay="o1"), "has this text already"),
        (lambda space: space.apply("o9"), "there is no overlay o9"),
        (lambda space: space.withdraw("o9"), "there is no overlay o9"),
        (lambda space: space.supersede("o1", "o9"), "there is no other overlay o9"),
        (lambda space: space.detach("nosuch"), "nosuch"),
        (lambda space: space.unbind("Home", "Only"), "no binding joins Home and Only"),
        (lambda space: space.reopen("Only"), "nothing about Only is settled"),
        (lambda space: space.retract("r9"), "r9"),
        (lambda space: space.remark("Home", "again", remark="r1"), "there is a remark r1 already"),
    ],
)
def test_every_verb_refuses_to_say_what_is_so_already(say: Callable[[InformationSpace], Event], why: str) -> None:
    space = InformationSpace("wiki")
    space.attach("garden", title="The garden")
    space.bind("Home", "Start")
    space.bind("Only")
    space.bind("Only", "Other", shard="garden")
    space.settle("Start", "garden")
    space.draft("Home", "x", overlay="o1")
    space.remark("Home", "said", remark="r1")
    before = space.state
    with pytest.raises(Rejected) as refused:
        say(space)
    assert refused.value.code == "no-effect"
    assert why in refused.value.message
    assert space.refresh() == before


def test_what_is_said_again_counts_where_something_else_was_said_meanwhile() -> None:
    space = InformationSpace("wiki")
    keys = ["Home", "Start", "Third"]
    for name in ("garden", "desk"):
        space.attach(name)
    for page, same_as, shard in (("Home", "Start", "garden"), ("Start", "Third", "desk"), ("Home", "Start", "garden")):
        space.bind(page, same_as, shard=shard)
        home = space.state.home(keys)
        assert home is not None
        assert home.shard == shard
    for page, shard in (("Home", "garden"), ("Start", "desk"), ("Home", "garden")):
        space.settle(page, shard)
        settled = space.state.settlement(keys)
        assert settled is not None
        assert settled.shard == shard


def test_a_shard_that_takes_part_already_is_mounted_all_the_same() -> None:
    log = MemoryLog()
    InformationSpace("wiki", store=log).attach("garden", DictShard({"Home": "x"}))
    later, shard = InformationSpace("wiki", store=log), DictShard({"Home": "x"})
    with pytest.raises(Rejected, match="attached already"):
        later.attach("garden", shard)
    assert later.mounted == {"garden": shard}


def test_what_would_change_nothing_is_refused_unless_it_may_be_a_retry() -> None:
    space = wiki()
    with pytest.raises(Rejected, match="there is no overlay o1") as refused:
        space.apply("o1")
    assert refused.value.code == "no-effect"
    assert space.state.events == 2
    space.draft("Home", "x", overlay="o1")
    first = space.apply("o1", id="a-1")
    assert space.apply("o1", id="a-1") == first
    assert space.refresh().events == 4


def test_what_its_type_would_not_read_is_not_written() -> None:
    space = wiki()
    for page in ("", "two\nlines", "x" * 1001):
        with pytest.raises(Misuse, match=r"page\.bound"):
            space.bind(page)
    assert space.refresh().events == 2


def test_a_long_key_is_in_the_data_and_in_no_subject() -> None:
    event = InformationSpace("wiki").bind("x" * 201)
    assert event.subject is None
    assert event.data == {"page": "x" * 201}


def test_a_page_shows_every_version_with_its_provenance() -> None:
    space = wiki()
    page = space.page("Home")
    assert [(version.shard, version.key, version.text()) for version in page.versions] == [
        ("desk", "Home", "desk's"),
        ("garden", "Home", "garden's"),
    ]
    assert [version.attached.by.seq for version in page.versions] == [2, 1]
    assert page.in_conflict()
    assert page.text() is None
    assert space.page("Same").text() == "same"
    assert not space.page("Same").in_conflict()
    assert space.page("Nowhere").versions == ()
    assert space.page("Nowhere").text() is None


def test_a_settled_conflict_marks_and_hides_nothing() -> None:
    space = wiki()
    event = space.settle("Home", "garden")
    page = space.page("Home")
    assert page.canonical is not None
    assert (page.canonical.shard, page.canonical.because, page.canonical.by.seq) == ("garden", "settled", event.seq)
    assert page.text() == "garden's"
    assert len(page.versions) == 2
    assert not page.in_conflict()
    space.reopen("Home")
    assert space.page("Home").in_conflict()


def test_a_settlement_outranks_a_binding_and_the_newer_of_a_class_counts() -> None:
    space = wiki()
    space.bind("Home", "Start", shard="desk")
    assert space.page("Start").text() == "desk's"
    space.settle("Start", "garden")
    assert space.page("Home").text() == "start"  # garden has both keys; the settled one is meant
    space.settle("Home", "garden", key="Home")
    assert space.page("Start").text() == "garden's"
    space.reopen("Start")  # reopens both
    assert space.page("Start").text() == "desk's"


def test_a_mark_on_a_version_that_is_not_there_shows_as_such() -> None:
    space = wiki()
    space.settle("Home", "desk", key="Gone")
    for expected in (2, 1):
        page = space.page("Home")
        assert page.canonical is not None
        assert page.canonical.version is None
        assert len(page.versions) == expected
        if expected == 2:
            space.detach("desk")


def test_overlays_lie_on_top_in_the_order_they_were_applied() -> None:
    space = wiki()
    for name in ("o1", "o2", "o3"):
        space.draft("Home", f"text of {name}", overlay=name)
    space.apply("o2")
    space.apply("o1")
    page = space.page("Home")
    assert [overlay.overlay for overlay in page.overlays] == ["o2", "o1"]
    assert [overlay.overlay for overlay in page.drafts] == ["o3"]
    assert page.text() == "text of o1"
    assert len(page.versions) == 2
    space.withdraw("o1")
    assert space.page("Home").text() == "text of o2"
    space.supersede("o2", "o3")
    assert space.page("Home").overlays == ()


def test_remarks_show_until_retracted() -> None:
    space = wiki()
    space.remark("Home", "hm", remark="r1")
    assert [remark.text for remark in space.page("Home").remarks] == ["hm"]
    space.retract("r1")
    assert space.page("Home").remarks == ()
    assert [remark.text for remark in space.state.remarks.in_order()] == ["hm"]


def test_the_union_has_pages_that_only_events_speak_of() -> None:
    space = wiki()
    space.bind("Planned")
    space.draft("Drafted", "x")
    space.settle("Settled", "garden")
    space.remark("Remarked", "x")
    space.bind("Start", "Other")
    assert [page.key for page in space.union()] == [
        "Drafted", "Home", "Only", "Other", "Planned", "Remarked", "Same", "Settled"
    ]  # fmt: skip


def test_a_shard_that_is_not_mounted_is_named_on_every_page() -> None:
    space = wiki()
    space.attach("library")
    assert {page.absent for page in space.union()} == {("library",)}
    space.mount("library", DictShard({"Book": "x"}))
    assert [page.key for page in space.union()] == ["Book", "Home", "Only", "Same", "Start"]
    assert space.page("Book").absent == ()


def test_a_shard_that_is_mounted_but_not_attached_shows_nothing() -> None:
    space = InformationSpace("wiki")
    space.mount("garden", DictShard({"Home": "x"}))
    assert list(space.union()) == []
    assert space.page("Home").versions == ()


class Grudging:
    """A shard that counts what is asked of it."""

    kind = "grudging"

    def __init__(self) -> None:
        self.listed = 0
        self.read: list[str] = []

    def pages(self) -> Iterator[Source]:
        self.listed += 1
        return (self._source(key) for key in ("a", "b"))

    def find(self, key: str) -> Source | None:
        return self._source(key) if key in ("a", "b") else None

    def _source(self, key: str) -> Source:
        def read() -> bytes:
            self.read.append(key)
            return b"x"

        return Source(key, key, read)


def test_the_union_is_lazy() -> None:
    space, shard = InformationSpace("wiki"), Grudging()
    space.attach("grudging", shard)
    union = space.union()
    assert shard.listed == 0
    first, second = union
    assert (shard.listed, shard.read) == (1, [])
    assert second.versions[0].text() == "x"
    assert shard.read == ["b"]
    space.page("a")
    assert shard.listed == 1
    assert first.key == "a"


def test_bytes_that_are_no_text_are_kept_and_named() -> None:
    (version,) = wiki().page("Only").versions
    assert version.content() == b"\xff"
    assert version.to_json()["base64"] == "/w=="
    with pytest.raises(Corrupt, match=r"Only in the shard desk is not UTF-8 \(byte 0\)"):
        version.text()


def test_a_page_as_json() -> None:
    space = wiki()
    space.settle("Home", "garden", id="s-1", time=datetime(2026, 1, 1, tzinfo=UTC))
    page = space.page("Home").to_json()
    assert page["canonical"] == {
        "shard": "garden",
        "key": "Home",
        "because": "settled",
        "by": {"seq": 3, "id": "s-1", "actor": "alice", "time": "2026-01-01T00:00:00Z"},
    }
    assert [version["text"] for version in page["versions"]] == ["desk's", "garden's"]  # type: ignore[index,union-attr,call-overload]


def test_explain_lists_what_led_there_undone_things_too() -> None:
    space = wiki()
    space.remark("Same", "not about Home")
    told = [
        space.bind("Home", "Start"),
        space.draft("Start", "x", overlay="o1"),
        space.apply("o1"),
        space.withdraw("o1"),
        space.remark("Start", "hm", remark="r1"),
        space.retract("r1"),
        space.settle("Home", "garden"),
        space.reopen("Start"),
        space.log.append("wiki", "acme.seen", subject="Home"),
        space.log.append("wiki", "page.bound", {"page": 1}, subject="Start"),
    ]
    space.refresh()
    attached = list(space.log.events("wiki"))[:2]
    assert space.explain("Home") == space.explain("Start") == attached + told
    assert [event.seq for event in space.explain("Only")] == [2]
    assert space.explain("Nowhere") == []


def test_explain_tells_of_the_state_and_not_of_what_came_since() -> None:
    space = wiki()
    told = space.explain("Only")
    space.log.append("wiki", "page.bound", {"page": "Only"})
    assert space.state.events == 2
    assert space.explain("Only") == told
    space.refresh()
    assert len(space.explain("Only")) == 2


def test_the_state_at_a_point_and_the_difference_between_two() -> None:
    space = wiki()
    space.bind("Home", "Start")
    event = space.unbind("Home", "Start")
    assert space.at(3).page("Home") == ("Home", "Start")
    assert space.at(event.oid) == space.at(4) == space.state
    assert space.at(0).events == 0
    assert [change.part for change in space.diff(3, 4).changes] == ["bindings", "counts"]
    with pytest.raises(Misuse, match="no seq 5"):
        space.at(5)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    page: PageKey


SEEN = Kind(
    name="acme.seen",
    data=Seen,
    effect=lambda state, data, by: state.with_extra(f"seen/{data.page}", by.actor),
    about=lambda data: (Ref("page", data.page),),
    summary=lambda data: f"{data.page} seen",
)


def test_a_type_of_ones_own() -> None:
    space = InformationSpace("wiki", kinds=DEFAULT_KINDS.with_kind(SEEN), actor="bob")
    event = space.record(Seen(page="Home"))
    assert (event.type, event.subject) == ("acme.seen", "Home")
    assert dict(space.state.extra) == {"seen/Home": "bob"}
    assert space.explain("Home") == [event]
    assert space.kinds.summary(event) == "Home seen"
    with pytest.raises(Misuse, match="no event type here has Seen as its data"):
        InformationSpace("wiki").record(Seen(page="Home"))


def test_a_fold_of_ones_own_reads_only_what_is_new() -> None:
    steps: list[int] = []

    def step(state: dict[str, int], event: Event) -> dict[str, int]:
        steps.append(event.seq)
        return {**state, event.actor: state.get(event.actor, 0) + 1}

    nobody: dict[str, int] = {}
    per_actor = Reducer(name="per-actor", version=1, initial=nobody, step=step)
    space = wiki()
    assert space.reduce(per_actor) == {"alice": 2}
    space.bind("Home", actor="bob")
    assert space.reduce(per_actor) == {"alice": 2, "bob": 1}
    assert steps == [1, 2, 3]
    assert nobody == {}


OTHER = """
import sys
from shardd.wiki.space import InformationSpace
space = InformationSpace.git_backed("wiki", sys.argv[1], actor="other")
print(space.state.page("Home"))
space.bind("Home", "Elsewhere")
"""


def test_two_processes_on_one_repo_see_each_others_writes(tmp_path: Path) -> None:
    space = InformationSpace.git_backed("wiki", tmp_path / "wiki.git", actor="me")
    space.bind("Home", "Start")
    assert space.state.page("Home") == ("Home", "Start")
    command = [sys.executable, "-c", OTHER, str(tmp_path / "wiki.git")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "('Home', 'Start')\n"
    assert space.refresh().page("Home") == ("Elsewhere", "Home", "Start")
    assert [event.actor for event in space.log.events("wiki")] == ["me", "other"]
