"""Remedies name commands that work for whoever reads them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shardd.commands.all_commands import server_grammar
from shardd.commands.grammar import HelpAsked
from shardd.errors import CLIENT_COMMANDS, HOST_COMMANDS, Misuse, Unavailable

SOURCES = Path(__file__).parents[2] / "shardd"
NAMED = sorted({name for path in SOURCES.rglob("*.py") for name in re.findall("`shardd ([a-z-]+)", path.read_text())})


@pytest.mark.parametrize(
    ("remedy", "over_ssh"),
    [
        ("run `shardd doctor --fix`", "run `shardd doctor --fix` on the server's host"),
        ("`shardd backup DIR`, then `shardd log x`", "`shardd backup DIR` on the server's host, then `ssh host log x`"),
        ("run `shardd setup`", "run `shardd setup`"),
        ("run `git fetch`", "run `git fetch`"),
    ],
)
def test_over_ssh_a_command_of_the_host_is_named_with_its_place(remedy: str, over_ssh: str) -> None:
    error = Unavailable("no", remedy)
    assert error.seen_from("ssh host") == over_ssh
    assert error.seen_from("shardd") == remedy


@pytest.mark.parametrize("name", NAMED)
def test_a_command_that_a_remedy_may_name_over_ssh_is_one_there(name: str) -> None:
    try:
        server_grammar().parse([name, "--help"])
    except HelpAsked:
        assert name not in HOST_COMMANDS | CLIENT_COMMANDS
    except Misuse:
        assert name in HOST_COMMANDS | CLIENT_COMMANDS
