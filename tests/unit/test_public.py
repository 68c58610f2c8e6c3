"""What `import shardd` offers."""

from __future__ import annotations

import inspect
import pydoc
import subprocess
import sys

import pytest

import shardd


@pytest.mark.parametrize("name", shardd.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(shardd, name) is not None
    assert name in dir(shardd)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nope"):
        shardd.nope  # noqa: B018


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    code = (
        "import sys; from shardd.cli.main import main; main(['--version']);"
        "print(sorted({'asyncssh', 'cryptography', 'dulwich', 'paramiko', 'tomlkit'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_every_login_through_openssh_waits_for_imports_little() -> None:
    code = (
        "import sys, shardd.cli.authorized_keys;"
        "heavy = {'asyncssh', 'dulwich', 'paramiko', 'structlog', 'tomlkit', 'shardd.authority'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_draft_says_what_it_must_and_no_more() -> None:
    log = shardd.MemoryLog(actor="alice")
    batch = [
        shardd.Draft(type="page.bound", data={"page": "Home"}),
        shardd.Draft(type="note"),
        shardd.Draft(type="note", actor="bob", id="mine", subject="s"),
    ]
    made = log.append_many("wiki", batch)
    assert [event.actor for event in made] == ["alice", "alice", "bob"]
    assert [event.id for event in made] == [each.id for each in batch]
    assert len({event.id for event in made}) == 3
    assert log.append_many("wiki", batch) == made, "the very same drafts are a retry"
    for wrong in ({"type": "!"}, {"type": "note", "actor": " "}, {"type": "note", "data": {"n": float("nan")}}):
        with pytest.raises(shardd.BadEvent):
            shardd.Draft(**wrong)


@pytest.mark.parametrize(
    "shown",
    [shardd.InformationSpace, shardd.GitLog, shardd.MemoryLog, shardd.RemoteLog, shardd.Draft, shardd.DecisionLog],
    ids=lambda shown: shown.__name__,
)
def test_help_is_for_people(shown: type) -> None:
    """What `help(…)` shows: a docstring where one looks for it, and no page of machinery in a signature."""
    text = pydoc.plain(pydoc.render_doc(shown))
    assert max(map(len, text.split("\n"))) < 400
    public = [name for name in vars(shown) if not name.startswith("_") and callable(getattr(shown, name))]
    assert all(inspect.getdoc(getattr(shown, name)) for name in public)


def test_what_a_prompt_shows_is_short() -> None:
    space = shardd.InformationSpace("wiki")
    space.attach("garden")
    values = (space, space.log, space.state, space.kinds, space.kinds.kinds["page.bound"], shardd.GitLog("a.git"))
    assert all(len(repr(each)) < 100 for each in values)
    assert repr(space) == "InformationSpace('wiki', store=MemoryLog())"
    assert repr(space.state) == "<CoordinationState at seq 1, 1 event>"
