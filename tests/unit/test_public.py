"""What `import shardd` offers."""

from __future__ import annotations

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
