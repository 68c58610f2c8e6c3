"""The scripts that complete words in a shell."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from shardd.cli.completion import SHELLS, Completion
from shardd.cli.host import _grammar
from shardd.errors import Misuse


def script(shell: str) -> str:
    return "\n".join(Completion(shell).of(_grammar()).lines())


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_knows_every_command_and_parses(shell: str) -> None:
    text = script(shell)
    assert all(
        word in text for word in ("lease", "acquire", "explain", "status", "completion", "setup", "demo", "--since")
    )
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n"], input=text, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["shardd", "exp"], {"explain", "export"}),
        (["shardd", "lease", "re"], {"release", "renew", "revoke"}),
        (["shardd", "space", "types", "--st"], {"--strict"}),
    ],
)
def test_bash_completes_words(words: list[str], completed: set[str]) -> None:
    asked = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _shtab_shardd; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash"], input=f"{script('bash')}\n{asked}\n", capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == completed


def test_another_shell_is_told_which_there_are() -> None:
    with pytest.raises(Misuse, match="no completion for tcsh"):
        script("tcsh")
