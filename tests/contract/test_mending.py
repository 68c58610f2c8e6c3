"""What a refused pusher is told to run mends it: each remedy is run as it was printed, and then the push goes through.

Git runs in clones of one repository; the pushes are judged in this process, over the objects of the clone itself.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shardd.authority.authorities import EmbeddedAuthority
from shardd.core.lease import Acquire
from shardd.core.objects import EMPTY_TREE
from shardd.core.policy import Accept, Decision
from shardd.core.refs import Change, space_ref
from tests.authorities import embedded, make_repo, push

SPACE = "whynot"


@dataclass(slots=True)
class Clone:
    """alice's clone. env: what her shell has besides"""

    path: Path
    authority: EmbeddedAuthority
    home: Path
    env: dict[str, str] = field(default_factory=dict)

    def run(self, command: str, *, editor: str = "false", input: bytes = b"") -> str:
        """What a shell says to it, which must do it. editor: a shell command that is given the file"""
        done = self.tries(command, editor=editor, input=input)
        assert done.returncode == 0, f"{command}\n{done.stdout.decode()}\n{done.stderr.decode(errors='replace')}"
        return done.stdout.decode().strip()

    def tries(self, command: str, *, editor: str = "false", input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        surroundings = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_EDITOR": editor,
            **self.env,
        }
        words = ["sh", "-c", command]
        return subprocess.run(words, cwd=self.path, env=surroundings, input=input, capture_output=True, check=False)

    def event(self, text: str = "note", *options: str) -> str:
        """Commits it, past any hook; the commit's oid."""
        self.run(" ".join(["git commit -q --no-verify --allow-empty -F -", *options]), input=text.encode())
        return self.run("git rev-parse HEAD")

    def raw(self, rest: str) -> None:
        """Commits exactly this, past all that git would tidy. rest: what follows the committer"""
        who = "alice <alice@example.org> 1781517600 +0000"
        head = f"tree {EMPTY_TREE}\nparent {self.run('git rev-parse HEAD')}\nauthor {who}\ncommitter {who}\n"
        written = (head + rest).encode(errors="surrogateescape")
        oid = self.run("git hash-object -t commit -w --stdin --literally", input=written)
        self.run(f"git reset -q --hard {oid}")

    def push(self, *, commit: str = "HEAD", space: str = SPACE) -> Decision:
        """`git push`, but that the objects need not travel."""
        ref = space_ref(space)
        old, new = self.run(f"git rev-parse origin/spaces/{space} {commit}").split()
        decision = push(self.authority, "alice", [Change(ref, old, new)])
        if isinstance(decision, Accept):
            self.run("git fetch -q")
        return decision

    def colleague(self, *lines: str) -> None:
        """Somebody pushes what this clone has not fetched."""
        tip = self.run(f"git --git-dir={self.authority.ledger.repository.path} rev-parse {space_ref(SPACE)}")
        for line in lines or ("note",):
            made = f"git commit-tree -p {tip} {EMPTY_TREE}"
            tip = self.run(f"GIT_DIR={self.authority.ledger.repository.path} {made}", input=line.encode())
        head = self.authority.existing(SPACE)
        assert isinstance(push(self.authority, "alice", [Change(space_ref(SPACE), head.oid, tip)]), Accept)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repo with a space of one event, and a clone of it."""
    folder = tmp_path_factory.mktemp("mending")
    with embedded(make_repo(folder / "garden.git")) as authority:
        for space in (SPACE, "other"):
            authority.create(space)
    words = ["git", "clone", "-q", "--template=", "garden.git", "clone"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    (folder / "garden.git/objects/info").mkdir(exist_ok=True)
    (folder / "garden.git/objects/info/alternates").write_text("../../clone/.git/objects\n")
    return folder


@pytest.fixture
def clone(template: Path, tmp_path: Path) -> Iterator[Clone]:
    shutil.copytree(template, tmp_path / "stage", symlinks=True)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\n\tname = alice\n\temail = alice@example.org\n")
    with embedded(tmp_path / "stage/garden.git") as authority:
        made = Clone(tmp_path / "stage/clone", authority, home)
        made.run(f"git remote set-url origin {tmp_path}/stage/garden.git")
        authority.change(SPACE, Acquire("alice"))
        authority.change("other", Acquire("alice"))
        yield made


def commands(remedy: str) -> list[str]:
    """What stands in backquotes: the whole text names no other commands."""
    return re.findall("`([^`]*)`", remedy)


def amended(good: str) -> str:
    """An editor that writes this and nothing else."""
    return f"printf '{good}' >"


# --- one bad commit, alone or with others around it ------------------------------------------------------------------

GOOD = 'page.bound: Home\\n\\n{"page":"Home"}\\n'


def file(clone: Clone) -> None:
    (clone.path / "Home.md").write_text("hello\n")
    clone.run("git add Home.md")
    clone.event()


def file_changed_later(clone: Clone) -> None:
    file(clone)
    (clone.path / "Home.md").write_text("hello again\n")
    clone.run("git add Home.md")


def in_latin(clone: Clone) -> None:
    (clone.home / ".gitconfig").write_text(
        (clone.home / ".gitconfig").read_text() + "[i18n]\n\tcommitEncoding = ISO-8859-1\n"
    )
    clone.run("git commit -q --allow-empty -F -", input="note: Caf\xe9".encode("latin-1"))


def in_latin_here(clone: Clone) -> None:
    clone.run("git config i18n.commitEncoding latin1")
    clone.run("git commit -q --allow-empty -F -", input="note: Caf\xe9".encode("latin-1"))


def another_systems_lines(clone: Clone) -> None:
    clone.run("git config commit.cleanup verbatim")
    clone.event('note\r\n\r\n{"a":1}\r\n')


def with_a_header(clone: Clone) -> None:
    clone.raw("HG:rename source\n\nnote\n")


def not_utf8(clone: Clone) -> None:
    clone.raw("\nnote: Caf\udce9\n")


def mailed(clone: Clone) -> None:
    clone.event('page.bound: Home\n\n{"page":"Home"}')
    clone.run(
        "git format-patch -q --always -1 -o ../mail && git reset -q --hard HEAD~1 && git am -q --empty=keep ../mail/*"
    )


def mailed_with_trailers(clone: Clone) -> None:
    clone.event('page.bound: Home\n\n{"page":"Home"}\n\nEvent-Id: x1\nActor: alice')
    clone.run("git -c format.signature='of my own' format-patch -q --always -1 -o ../mail")
    clone.run("git reset -q --hard HEAD~1 && git am -q --empty=keep ../mail/*")


def name_in_latin(clone: Clone) -> None:
    clone.env["GIT_AUTHOR_NAME"] = os.fsdecode(b"Andr\xe9")
    clone.event()


def typo(text: str) -> Callable[[Clone], None]:
    def commit(clone: Clone) -> None:
        clone.event(text)

    return commit


def name_from_config(clone: Clone) -> None:
    clone.run("git config user.name eve")
    clone.event()


def name_from_the_global_file(clone: Clone) -> None:
    (clone.home / ".gitconfig").write_text("[user]\n\tname = Eve Adams\n\temail = eve@example.org\n")
    clone.event()


def name_from_the_environment(clone: Clone) -> None:
    clone.env |= {"GIT_AUTHOR_NAME": "eve", "GIT_AUTHOR_EMAIL": "eve $(x) <@example.org"}
    clone.event()


def name_of_the_author_alone(clone: Clone) -> None:
    clone.run("git config --global author.name eve")
    clone.event()


def name_in_a_trailer(clone: Clone) -> None:
    clone.event("note\n\n{}\n\nEvent-Id: x1\nActor: eve\nTime: 2026-06-15T10:00:00Z")


def name_everywhere(clone: Clone) -> None:
    clone.env["GIT_AUTHOR_NAME"] = "eve"
    clone.event("note\n\nEvent-Id: x1\nActor: eve")


def numbered(clone: Clone) -> None:
    clone.event("note\n\nSeq: 7")


def of_another_epoch(clone: Clone) -> None:
    clone.event("note\n\nLease-Epoch: 77")


def imported(clone: Clone) -> None:
    clone.event("note\n\nSource-Epoch: 1")


def repeated(clone: Clone) -> None:
    clone.event("note\n\nEvent-Id: x1")


CASES: Mapping[str, tuple[str, Callable[[Clone], None]]] = {
    "a file": ("bad-event", file),
    "a file that is changed later": ("bad-event", file_changed_later),
    "an encoding, globally": ("bad-event", in_latin),
    "an encoding, here": ("bad-event", in_latin_here),
    "CRLF": ("bad-event", another_systems_lines),
    "a header": ("bad-event", with_a_header),
    "no UTF-8": ("bad-event", not_utf8),
    "a patch by mail": ("bad-event", mailed),
    "a patch by mail, of an event with trailers": ("bad-event", mailed_with_trailers),
    "a name in another encoding": ("forged-actor", name_in_latin),
    "two words": ("bad-event", typo("Hello, world")),
    "no JSON": ("bad-event", typo("note\n\n{")),
    "a trailer of another tool": ("bad-event", typo("note\n\nChange-Id: I1234")),
    "a name from the configuration": ("forged-actor", name_from_config),
    "a name from the global file": ("forged-actor", name_from_the_global_file),
    "a name from the environment": ("forged-actor", name_from_the_environment),
    "a name for authors alone": ("forged-actor", name_of_the_author_alone),
    "a name in a trailer": ("forged-actor", name_in_a_trailer),
    "a name everywhere": ("forged-actor", name_everywhere),
    "a number": ("seq-gap", numbered),
    "another epoch": ("stale-epoch", of_another_epoch),
    "an epoch of elsewhere": ("bad-event", imported),
}


ON_TOP = (
    "a file",
    "an encoding, globally",
    "CRLF",
    "a patch by mail",
    "two words",
    "a name from the environment",
    "a name in a trailer",
)
"""The others are mended on top of the branch as these are."""


@pytest.mark.parametrize(
    ("case", "below"), [(case, below) for case in CASES for below in (False, True) if below or case in ON_TOP]
)
def test_a_bad_commit_is_mended_by_what_is_printed(clone: Clone, case: str, below: bool) -> None:
    clone.run("git config rebase.backend apply")
    expected, make = CASES[case]
    clone.event("first")
    make(clone)
    if below:
        clone.event("last")
    refused = clone.push()
    assert not isinstance(refused, Accept)
    assert refused.code == expected, refused
    mend(clone, refused)
    decision = clone.push()
    assert isinstance(decision, Accept), decision
    (events,) = decision.events.values()
    assert (events[0].type, len(events)) == ("first", 2 + below), "no event is lost on the way"
    assert not below or events[-1].type == "last"


def mend(clone: Clone, refused: Decision, *, editor: str = amended(GOOD)) -> None:
    assert not isinstance(refused, Accept)
    for command in commands(refused.remedy):
        if not command.startswith(("shardd ", "git format-patch")):  # to look at, and for the next time
            clone.run(command, editor=editor)


# --- histories that are no line ---------------------------------------------------------------------------------------


def lost_race(clone: Clone) -> None:
    clone.event("mine")
    clone.colleague()


def lost_race_with_many(clone: Clone) -> None:
    for _ in range(3):
        clone.event("mine")
    clone.colleague("note", "note: again")


def rewritten(clone: Clone) -> None:
    clone.event("mine")
    clone.colleague()
    clone.run("git fetch -q")
    clone.event("mine")


def pulled_without_rebase(clone: Clone) -> None:
    clone.event("mine")
    clone.colleague()
    clone.run("git -c commit.gpgSign=false pull -q --no-rebase --no-edit")


def pulled_without_rebase_and_went_on(clone: Clone) -> None:
    pulled_without_rebase(clone)
    clone.event("mine")
    clone.run("git reset -q --hard HEAD")  # which makes another ORIG_HEAD


def pulled_without_rebase_twice(clone: Clone) -> None:
    pulled_without_rebase(clone)
    pulled_without_rebase(clone)


def merged_a_branch_of_ones_own(clone: Clone) -> None:
    clone.run("git switch -q -c draft")
    clone.event("mine: aside")
    clone.run("git switch -q spaces/whynot")
    clone.event("mine")
    clone.run("git merge -q --no-ff --no-edit draft")  # in git's own words, which are no event


def merged_first_parent_elsewhere(clone: Clone) -> None:
    """As `git pull` on the other side of a fork, or a merge into a branch that was made by hand."""
    clone.event("mine")
    clone.colleague()
    clone.run("git fetch -q && git switch -q -c mine && git switch -q -C spaces/whynot origin/spaces/whynot")
    clone.run("git merge -q --no-ff -m note mine")


FORKS: Mapping[str, tuple[str, Callable[[Clone], None], int]] = {
    "a lost race": ("non-fast-forward", lost_race, 1),
    "a lost race with many": ("non-fast-forward", lost_race_with_many, 3),
    "fetched, and went on": ("non-fast-forward", rewritten, 2),
    "a merge on top": ("not-linear", pulled_without_rebase, 1),
    "a merge below": ("not-linear", pulled_without_rebase_and_went_on, 2),
    "two merges": ("not-linear", pulled_without_rebase_twice, 2),
    "a branch of one's own": ("not-linear", merged_a_branch_of_ones_own, 2),
    "the log merged into": ("not-linear", merged_first_parent_elsewhere, 1),
}


@pytest.mark.parametrize("case", FORKS)
def test_a_history_that_is_no_line_becomes_one(clone: Clone, case: str) -> None:
    expected, make, mine = FORKS[case]
    make(clone)
    for setting in ("rebase.backend apply", "pull.rebase false", "pull.ff only"):
        clone.run(f"git config {setting}")
    refused = clone.push()
    assert not isinstance(refused, Accept)
    assert refused.code == expected, refused
    mend(clone, refused)
    decision = clone.push()
    assert isinstance(decision, Accept), decision
    (events,) = decision.events.values()
    assert [event.type for event in events] == ["mine"] * mine


@pytest.mark.parametrize("below", [False, True])
def test_what_was_appended_before_is_dropped_and_nothing_else(clone: Clone, below: bool) -> None:
    clone.run("git config rebase.backend apply")
    clone.colleague("note\n\nEvent-Id: x1")
    clone.run("git pull -q --rebase")
    clone.event("first")
    clone.event("note\n\nEvent-Id: x1")
    if below:
        clone.event("last")
    refused = clone.push()
    assert not isinstance(refused, Accept)
    assert refused.code == "duplicate-event"
    mend(clone, refused)
    decision = clone.push()
    assert isinstance(decision, Accept), decision
    (events,) = decision.events.values()
    assert [event.type for event in events] == ["first", "last"][: 1 + below]


@pytest.mark.parametrize(
    "beginning", ["git switch -q --orphan mine", "git switch -q spaces/other", "git checkout -q origin/spaces/other"]
)
def test_an_event_on_another_history_is_taken_along(clone: Clone, beginning: str) -> None:
    clone.run(beginning)
    clone.event("mine")
    refused = clone.push()
    assert not isinstance(refused, Accept)
    assert refused.code == "not-linear"
    told = commands(refused.remedy)
    assert told[-1] == "git push origin HEAD:spaces/whynot"
    for command in told[:-1]:
        clone.run(command)
    decision = clone.push()
    assert isinstance(decision, Accept), decision
    assert [event.type for events in decision.events.values() for event in events] == ["mine"]
