"""How the user's ssh is called: word for word as git calls it with the same settings and the same address."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from shardd.client.address import parse_url
from shardd.client.users_ssh import reached
from shardd.errors import Misuse, Unavailable

RECORDER = """#!/bin/sh
for word; do [ "$word" = -G ] && exit {asked}; done
for word; do printf '%s\\n' "$word"; done >"{here}/called"
printf '%s\\n' "${{0##*/}}" >>"{here}/called"
exit 1
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, a repository, whose programs note how they were called."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    for name, asked in (("ssh", 0), ("plink", 1), ("TortoisePlink.exe", 1), ("other", 1), ("like-openssh", 0)):
        path = tmp_path / "bin" / name
        path.write_text(RECORDER.format(here=tmp_path, asked=asked))
        path.chmod(0o755)
    subprocess.run(["git", "init", "--quiet"], check=True)
    return tmp_path


def by_git(here: Path, url: str) -> list[str] | None:
    """The words that git calls ssh with, the command left out, then the program's name; None if it does not."""
    (here / "called").unlink(missing_ok=True)
    subprocess.run(["git", "ls-remote", url], capture_output=True, check=False)
    return read(here)


def by_us(here: Path, url: str) -> list[str] | None:
    (here / "called").unlink(missing_ok=True)
    subprocess.run(parse_url(url).command(["whoami"]), check=False)
    return read(here)


def read(here: Path) -> list[str] | None:
    path = here / "called"
    if not path.exists():
        return None
    *words, program = path.read_text().splitlines()
    # git asks for a protocol besides, and each has its own command.
    if "SendEnv=GIT_PROTOCOL" in words:
        at = words.index("SendEnv=GIT_PROTOCOL")
        del words[at - 1 : at + 1]
    return [*words[:-1], program]


@pytest.mark.parametrize(
    "url",
    [
        "ssh://wiki/garden.git",
        "ssh://MyWiki/garden.git",
        "ssh://alice@MyWiki:2222/garden.git",
        "ssh://[::1]/garden.git",
        "ssh://alice@[::1]:2222/garden.git",
        "ssh://[alice@::1]:2222/garden.git",
        "ssh://wiki:/garden.git",
        "ssh://my%57iki/garden.git",
        "git+ssh://wiki:22/garden.git",
        "ssh+git://alice@wiki/garden.git",
        "MyWiki:garden.git",
        "alice@wiki:/garden.git",
        "my%57iki:garden.git",
        "[::1]:garden.git",
        "alice@[::1]:garden.git",
        "[alice@::1]:garden.git",
        "[wiki:2222]:garden.git",
        "[alice@wiki:2222]:garden.git",
    ],
)
def test_every_form_of_an_address(here: Path, url: str) -> None:
    assert by_us(here, url) == by_git(here, url)
    assert parse_url(url).repo == "garden"


NO_ADDRESS = """ssh://-oProxyCommand=x/garden -oProxyCommand=x:garden ssh:///x ssh://h:0x/y https://wiki/garden.git
    git://wiki/garden.git file:///garden.git ./wiki:garden.git /garden.git ::1 wiki/garden"""


@pytest.mark.parametrize("url", NO_ADDRESS.split())
def test_what_is_no_address(here: Path, url: str) -> None:
    with pytest.raises(Misuse):
        parse_url(url)


@pytest.mark.parametrize(
    "sign", ["`", "$", "(", ";", "&", "|", "<", ">", "'", '"', "{", "\x1b", "\x7f", "\x9b", "\u202e"]
)
def test_nothing_in_an_address_means_anything_to_a_shell_or_a_terminal(sign: str) -> None:
    """A ProxyCommand gets the name by a shell, and older versions of ssh do not look; and people are asked of it."""
    assert parse_url("ssh://DOM\\alice@wiki_1/garden").destination == "DOM\\alice@wiki_1"
    for url in (
        "ssh://w\\x/garden",
        "ssh://a\\@w/garden",
        f"ssh://w{sign}x/garden",
        f"w{sign}x:garden",
        f"ssh://a{sign}b@wiki/garden",
        f"ssh://w{quote(sign)}x/g",
    ):
        with pytest.raises(Misuse):
            parse_url(url)


AT = "ssh://alice@wiki:2222/garden.git"


@pytest.mark.parametrize(
    ("environment", "configuration"),
    [
        ({}, {}),
        ({}, {"core.sshCommand": "ssh -i ~/.ssh/work"}),
        ({}, {"core.sshCommand": 'ssh -o "ProxyCommand=nc %h %p" -l "$USER"'}),
        ({"GIT_SSH_COMMAND": "ssh -v"}, {"core.sshCommand": "other"}),
        ({"GIT_SSH": "plink"}, {}),
        ({"GIT_SSH": "plink"}, {"core.sshCommand": "ssh -4"}),
        ({"GIT_SSH": "TortoisePlink.exe"}, {}),
        ({"GIT_SSH": "like-openssh"}, {}),
        ({"GIT_SSH": "other", "GIT_SSH_VARIANT": "putty"}, {}),
        ({"GIT_SSH": "other", "GIT_SSH_VARIANT": "ssh"}, {"ssh.variant": "plink"}),
        ({"GIT_SSH_COMMAND": "other -x"}, {"ssh.variant": "tortoiseplink"}),
        ({"GIT_SSH_COMMAND": "plink -agent"}, {"ssh.variant": "auto"}),
        ({"GIT_SSH_COMMAND": "X=1 other"}, {"ssh.variant": "what"}),
    ],
)
def test_each_way_to_choose_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], configuration: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name, value in configuration.items():
        subprocess.run(["git", "config", name, value], check=True)
    called = by_git(here, AT)
    assert called is not None
    assert by_us(here, AT) == called


@pytest.mark.parametrize("environment", [{"GIT_SSH": "other"}, {"GIT_SSH": "ssh", "GIT_SSH_VARIANT": "simple"}])
def test_a_simple_ssh_takes_no_port(here: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert by_git(here, AT) is None
    with pytest.raises(Misuse, match="takes no port"):
        parse_url(AT).command(["whoami"])
    assert by_us(here, "alice@wiki:garden.git") == by_git(here, "alice@wiki:garden.git")


@pytest.mark.parametrize("status", [126, 127, 255])
def test_an_ssh_that_failed(status: int) -> None:
    with pytest.raises(Unavailable):
        reached("wiki", status)
    assert reached("wiki", 4) == 4
