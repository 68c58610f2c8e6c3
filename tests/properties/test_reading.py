"""However an event is written, whoever asks for a head or a stretch of the log gets what decoding it whole gives."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shardd import Event, GitLog, Head
from shardd.core.codec import decode_event, decode_genesis, encode_event, genesis
from shardd.core.event import Draft
from shardd.core.objects import commit_oid, first_parent, parse_commit
from shardd.errors import BadEvent
from shardd.git import log_reader
from shardd.git.kept_packs import KeptPacks
from tests.authorities import make_repo
from tests.properties.strategies import DATA, DRAFTS, LINE, TYPES

SPACE = "whynot"
TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
WHO = "alice <a@x> 5 +0000"


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repo(tmp_path_factory.mktemp("reading") / "log.git")


@pytest.fixture(params=[1, 64], ids=["by git", "here"])
def near(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways to go back to a number: commit by commit in this process, and by asking git."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_reader, "NEAR", request.param)
        yield


def by_hand(parent: str, message: str) -> bytes:
    return f"tree {TREE}\nparent {parent}\nauthor {WHO}\ncommitter {WHO}\n\n{message}\n".encode()


KINDS = st.sampled_from(["Seq", "Actor", "Time", "Event-Id", "Lease-Epoch", "Seq/1", "t"]) | TYPES
ABOUT = st.sampled_from(["1", "-1", "0", "99999", "Seq: 3", "parent 1", "alice"]) | LINE
BODIES = st.sampled_from(["", "{}", '{\n"Seq": 7\n}', '{"a":\n\n"Seq: 9"}', '{"a":\n"Seq: 9"\n\n}']) | DATA.map(
    json.dumps
)
TRAILERS = st.sampled_from(["Seq: %d", "Seq:%d", "Actor: alice", "Signed-off-by: Seq: 12", "Co-authored-by: x\vSeq: 5"])


@st.composite
def messages(draw: st.DrawFn) -> str:
    subject, about, body = draw(KINDS), draw(st.none() | ABOUT), draw(BODIES)
    line = subject if about is None else f"{subject}: {about}"
    return "\n\n".join(
        part for part in (line, body, "\n".join(draw(st.lists(TRAILERS, max_size=2, unique=True)))) if part
    )


def written(first: int, steps: list[str | Draft]) -> list[bytes]:
    """A log's commits: what is a draft canonically, what is text by hand if it is an event at all."""
    raws = [genesis(SPACE, seq=first - 1)]
    seq = first - 1
    for step in steps:
        parent = commit_oid(raws[-1])
        if isinstance(step, Draft):
            raw = encode_event(step, parent=parent, seq=seq + 1)
        else:
            raw = by_hand(parent, step.replace("%d", str(seq + 1)))
        try:
            if decode_event(raw, oid=commit_oid(raw), parent_seq=seq).seq != seq + 1:
                continue  # no push may say so
        except BadEvent:
            continue
        raws.append(raw)
        seq += 1
    return raws


def decoded(raws: list[bytes]) -> tuple[list[Event], Head]:
    at = Head(decode_genesis(raws[0], SPACE), commit_oid(raws[0]))
    found: list[Event] = []
    for raw in raws[1:]:
        found.append(decode_event(raw, oid=commit_oid(raw), parent_seq=at.seq))
        at = Head(found[-1].seq, found[-1].oid)
    return found, at


def agrees(repo: Path, raws: list[bytes]) -> None:
    with KeptPacks(repo, ["@test"]) as kept:
        kept.write(raws)
    subprocess.run(
        ["git", "-C", str(repo), "update-ref", f"refs/heads/spaces/{SPACE}", commit_oid(raws[-1])], check=True
    )
    events, head = decoded(raws)
    log = GitLog(repo)
    assert log.head(SPACE) == head
    assert list(log.events(SPACE)) == events
    first = decode_genesis(raws[0], SPACE)
    for after in {first - 1, first, first + 1, head.seq - 1, head.seq, head.seq + 1, (first + head.seq) // 2}:
        assert list(log.events(SPACE, after=after)) == [event for event in events if event.seq > after]


@pytest.mark.usefixtures("near")
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 3), st.lists(messages() | DRAFTS, max_size=6))
@example(1, ["Seq: 1"])
@example(1, ["t", "Seq: 40\n\nSeq: %d", "Seq: 7"])
@example(1, ["t\n\nSeq:%d", "t"])
@example(1, ["Seq: 5", '{"a":\n"Seq: 9"}'])
def test_a_head_and_what_follows_are_read_as_the_whole_log_is(repo: Path, first: int, steps: list[str | Draft]) -> None:
    agrees(repo, written(first, steps))


def test_many_that_look_numbered_and_are_not_are_passed_over(repo: Path) -> None:
    agrees(repo, written(3, ["t\n\nSeq: %d", *["Seq: 2", "t"] * 90]))


def test_the_gaps_of_an_import_are_kept(repo: Path, tmp_path: Path) -> None:
    raws = [genesis(SPACE, seq=2)]
    for seq in (3, 7, 10**12):
        draft = Draft(type="t", data={}, subject=None, actor="a", id=f"e{seq}", time=WHEN)
        raws.append(encode_event(draft, parent=commit_oid(raws[-1]), seq=seq))
    raws.append(by_hand(commit_oid(raws[-1]), "Seq: 12"))
    agrees(repo, raws)


WHEN = decode_event(by_hand(TREE, "t"), oid=TREE, parent_seq=0).time


# Git looks for parents right after the tree and nowhere else. A rule that finds one further down takes a commit that
# git knows no parent of, and with it drops the log before it.


@pytest.mark.parametrize(
    "headers",
    [
        ["tree {tree}", "author {who}", "committer {who}", "parent {parent}"],
        ["tree {tree}", "author {who}", "parent {parent}", "committer {who}"],
        ["tree {tree}", "parent {parent}", "author {who}", "committer {who}", "parent {parent}"],
        ["parent {parent}", "tree {tree}", "author {who}", "committer {who}"],
        ["tree {tree}", "committer {who}", "parent {parent}", "author {who}"],
        ["tree {tree}", "parent {parent}", "committer {who}", "author {who}"],
        ["tree {tree}", "parent {parent}", "author {who}", "gpgsig x", "committer {who}"],
    ],
)
def test_a_header_that_git_does_not_look_for_there_is_refused(headers: list[str]) -> None:
    lines = [line.format(tree=TREE, who=WHO, parent="1" * 40) for line in headers]
    with pytest.raises(BadEvent, match="stands where git does not look"):
        parse_commit("\n".join([*lines, "", "t\n"]).encode())


@given(st.lists(st.sampled_from([f"tree {TREE}", "parent " + "1" * 40, "parent " + "2" * 40, f"author {WHO}",
                                 f"committer {WHO}", "gpgsig x", ""]), max_size=9), messages())  # fmt: skip
@example([f"tree {TREE}", f"author {WHO}", f"committer {WHO}", ""], "parent of all")
def test_the_first_parent_is_that_of_the_codec(headers: list[str], message: str) -> None:
    raw = "\n".join([*headers, message]).encode()
    try:
        commit = parse_commit(raw)
    except BadEvent:
        return
    assert first_parent(raw) == (commit.parents[0] if commit.parents else None)
