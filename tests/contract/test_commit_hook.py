"""The commit-msg hook, run by git as people have set it up: editors, encodings, clean-ups, merges, mail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HOOK = Path(__file__).parents[2] / "hooks" / "commit-msg"
TRAILERS = ["Event-Id", "Actor", "Time"]


@dataclass(slots=True)
class Clone:
    path: Path
    env: dict[str, str] = field(default_factory=dict)

    def tries(
        self, *words: str | bytes, env: Mapping[str, str] | None = None, input: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        surroundings = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.path.parent),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            **self.env,
            **(env or {}),
        }
        return subprocess.run(
            ["git", *words], cwd=self.path, env=surroundings, input=input, capture_output=True, check=False
        )

    def git(self, *words: str | bytes, env: Mapping[str, str] | None = None, input: bytes = b"") -> str:
        done = self.tries(*words, env=env, input=input)
        assert done.returncode == 0, (words, done)
        return done.stdout.decode(errors="surrogateescape").strip("\n")

    def message(self) -> str:
        return self.git("cat-file", "commit", "HEAD").partition("\n\n")[2]

    def refused(self, *words: str | bytes, code: str, env: Mapping[str, str] | None = None, input: bytes = b"") -> str:
        """What the hook says against it."""
        before = self.git("rev-parse", "HEAD")
        done = self.tries(*words, env=env, input=input)
        said = done.stderr.decode(errors="replace")
        assert done.returncode != 0
        assert f"shardd: {code}: " in said, said
        assert "Traceback" not in said
        assert self.git("rev-parse", "HEAD") == before
        return said


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hook")
    (folder / ".gitconfig").write_text("[user]\n\tname = alice\n\temail = alice@example.org\n")
    clone = Clone(folder / "clone")
    clone.path.mkdir()
    clone.git("init", "-q", "--template=", "-b", "spaces/whynot")
    clone.git("commit", "-q", "--allow-empty", "-m", "space.created: whynot", "-m", "Seq: 0")
    clone.git("config", "shardd.type", "note*")
    hooks = clone.path / ".git/hooks"
    hooks.mkdir()
    shutil.copy(HOOK, hooks / "commit-msg")
    return folder


@pytest.fixture
def clone(template: Path, tmp_path: Path) -> Clone:
    shutil.copytree(template, tmp_path / "stage")
    return Clone(tmp_path / "stage/clone")


def completed(message: str, subject: str, body: str) -> None:
    parts = message.removesuffix("\n").split("\n\n")
    assert parts[:-1] == [subject, *([body] if body else [])]
    assert [line.partition(":")[0] for line in parts[-1].split("\n")] == TRAILERS


SCISSORS = b" ------------------------ >8 ------------------------\n"
WRITTEN: Mapping[str, tuple[bytes, Sequence[str]]] = {
    "CRLF, and comments": (b'page.bound: Home\r\n\r\n{"page": "Home"}\r\n# Please enter\r\n#\r\n', []),
    "a byte order mark": (b'\xef\xbb\xbfpage.bound: Home\r\n\r\n{"page": "Home"}\r\n', []),
    "white space": (b'\n\npage.bound: Home \t\n\n\n\n{"page": "Home"}  \n\n\n', []),
    "another comment": (b'page.bound: Home\n; no\n\n{"page": "Home"}\n; Please\n', ["core.commentChar=;"]),
    "any comment": (b'page.bound: Home\n\n{"page": "Home"}\n% Please enter\n%\n', ["core.commentChar=auto"]),
    "a diff below": (
        b'page.bound: Home\n\n{"page": "Home"}\n# Please\n#' + SCISSORS + b"# x\n-a\n",
        ["commit.verbose=true"],
    ),
    "a diff below, any comment": (
        b'page.bound: Home\n\n{"page": "Home"}\n;' + SCISSORS + b"; x\n-a\n",
        ["commit.verbose=true", "core.commentChar=auto"],
    ),
    "nothing cleaned": (b'page.bound: Home\r\n\r\n{"page": "Home"}\r\n', ["commit.cleanup=verbatim"]),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_what_an_editor_writes_is_cleaned_as_git_does(clone: Clone, case: str) -> None:
    raw, settings = WRITTEN[case]
    (clone.path.parent / "written").write_bytes(raw)
    options = [word for setting in settings for word in ("-c", setting)]
    editor = {"GIT_EDITOR": "cp ../written"}
    clone.git(*options, "commit", "-q", "--allow-empty", env=editor)
    completed(clone.message(), "page.bound: Home", '{"page":"Home"}')


def test_what_no_editor_has_seen_keeps_its_comments(clone: Clone) -> None:
    """As git does: so it is refused, and not left out without a word."""
    clone.refused("commit", "--allow-empty", "-m", "note", "-m", "# not data", code="bad-event")


ENCODINGS: Mapping[str, Sequence[str]] = {
    "logged in Latin": ["i18n.logOutputEncoding=ISO-8859-1"],
    "logged in UTF-16": ["i18n.logOutputEncoding=UTF-16"],
    "said to be UTF-8": ["i18n.commitEncoding=UTF8", "i18n.logOutputEncoding=cp1252"],
    "in colour, with signatures": ["color.ui=always", "log.showSignature=true", "format.pretty=fuller"],
}


@pytest.mark.parametrize("case", ENCODINGS)
def test_what_git_says_is_read_whatever_its_configuration(clone: Clone, case: str) -> None:
    for setting in ENCODINGS[case]:
        clone.git("config", *setting.split("="))
    name = {"GIT_AUTHOR_NAME": "J\u00fcrgen"}
    clone.git("commit", "-q", "--allow-empty", "-m", "note: \u00fc", env=name)
    first = clone.message()
    clone.git("commit", "-q", "--amend", "--allow-empty", "--no-edit", env=name)
    assert clone.message() == first
    clone.git("commit", "-q", "--allow-empty", "-m", "note: \u65e5\u672c", env={"LC_ALL": "C", **name})
    completed(clone.message(), "note: \u65e5\u672c", "")


@pytest.mark.parametrize("where", ["--local", "--global"])
def test_another_encoding_is_refused_with_what_mends_it(clone: Clone, where: str) -> None:
    clone.git("config", where, "i18n.commitEncoding", "ISO-8859-1")
    said = clone.refused("commit", "--allow-empty", "-F", "-", input=b"note: Caf\xe9\n", code="bad-event")
    run_remedy(clone, said)
    clone.git("commit", "-q", "--allow-empty", "-m", "note: Caf\u00e9")
    completed(clone.message(), "note: Caf\u00e9", "")


def run_remedy(clone: Clone, said: str) -> None:
    told = said.partition("to mend it: ")[2].partition("\n")[0]
    for command in re.findall("`git ([^`]*)`", told):
        clone.git(*command.split())


@pytest.mark.parametrize("how", [["-a"], []])
def test_files_are_taken_out_and_stay_where_they_are(clone: Clone, how: Sequence[str]) -> None:
    (clone.path / "Home.md").write_text("hello\n")
    clone.git("add", "Home.md")
    said = clone.refused("commit", *how, "-m", "note", code="bad-event")
    run_remedy(clone, said)
    clone.git("commit", "-q", *how, "--allow-empty", "-m", "note")
    completed(clone.message(), "note", "")
    assert (clone.path / "Home.md").read_text() == "hello\n"


@pytest.mark.parametrize("finished", ["by git", "by hand", "by hand, with a message"])
def test_a_merge_is_refused_with_what_ends_it(clone: Clone, finished: str) -> None:
    clone.git("branch", "-q", "origin")
    clone.git("config", "branch.spaces/whynot.remote", ".")
    clone.git("config", "branch.spaces/whynot.merge", "refs/heads/origin")
    clone.git("commit", "-q", "--allow-empty", "-m", "note: mine")
    clone.git("switch", "-q", "origin")
    clone.git("commit", "-q", "--allow-empty", "-m", "note\n\nSeq: 1")
    clone.git("switch", "-q", "spaces/whynot")
    if finished == "by git":
        said = clone.refused("pull", "-q", "--no-rebase", "--no-edit", code="not-linear")
    else:
        clone.git("pull", "-q", "--no-rebase", "--no-commit")
        words = ["-m", "note"] if "message" in finished else ["--no-edit"]
        said = clone.refused("commit", *words, code="not-linear")
    clone.git("config", "rebase.backend", "apply")
    run_remedy(clone, said)
    assert clone.git("log", "--format=%s%n%P").split("\n")[0] == "note: mine"
    assert clone.git("rev-parse", "HEAD~1") == clone.git("rev-parse", "origin")


def test_a_patch_that_came_by_mail_is_called_one(clone: Clone) -> None:
    body = b'page.bound: Home\n\n{"page":"Home"}\n\nEvent-Id: x\n-- \n2.39.5\n'
    said = clone.refused("commit", "--allow-empty", "-F", "-", input=body, code="bad-event")
    assert "--no-signature" in said
    clone.git("commit", "-q", "--allow-empty", "-m", "page.bound: Home", "-m", '{"page":"Home"}')
    first = clone.message()
    clone.git("format-patch", "-q", "--always", "--no-signature", "-1", "-o", "../mail")
    clone.git("reset", "-q", "--hard", "HEAD~1")
    (patch,) = (clone.path.parent / "mail").iterdir()
    clone.git("am", "-q", "--empty=keep", str(patch))
    assert clone.message() == first


BRANCHES: Mapping[str, tuple[list[list[str | bytes]], bool]] = {
    "a draft": ([["switch", "-q", "-c", "draft"]], False),
    "a draft that tracks a space": (
        [["switch", "-q", "-c", "draft"], ["config", "branch.draft.merge", "refs/heads/spaces/whynot"]],
        True,
    ),
    "a name in Latin": (
        [[b"switch", b"-q", b"-c", b"caf\xe9"], [b"config", b"branch.caf\xe9.merge", b"refs/heads/spaces/whynot"]],
        True,
    ),
    "no branch": ([["switch", "-q", "--detach"]], False),
    "a rebase that stands still": (
        [["commit", "-q", "--allow-empty", "-m", "note"], ["rebase", "-q", "-i", "HEAD~1"]],
        True,
    ),
}


@pytest.mark.parametrize("case", BRANCHES)
def test_it_acts_where_a_space_is_written(clone: Clone, case: str) -> None:
    commands, acts = BRANCHES[case]
    for words in commands:
        clone.git(*words, env={"GIT_SEQUENCE_EDITOR": "sed -i.old s/^pick/edit/"})
    if acts:
        clone.refused("commit", "--allow-empty", "-m", "two words", code="bad-event")
    else:
        clone.git("commit", "-q", "--allow-empty", "-m", "two words")


def test_a_name_that_is_no_utf8_is_refused_in_words(clone: Clone) -> None:
    env = {"GIT_AUTHOR_NAME": os.fsdecode(b"Andr\xe9")}
    said = clone.refused("commit", "--allow-empty", "-m", "note", env=env, code="bad-event")
    assert "Actor: " in said
