"""Which server a command goes to from where: somebody else's never, unless one says so."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shardd.cli.main import main

Asked = Callable[..., list[str] | None]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("GIT_", "SHARDD_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin" / "ssh"
    ssh.write_text(f"#!/bin/sh\nfor word; do printf '%s\\n' \"$word\"; done >{tmp_path}/asked\n")
    ssh.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def clone(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of somebody's, in which we stand."""
    path = home / "clone"
    git("init", "--quiet", "--initial-branch=spaces/whynot", str(path))
    monkeypatch.chdir(path)
    git("remote", "add", "origin", "ssh://somebody:2222/garden.git")
    return path


def git(*words: str) -> None:
    subprocess.run(["git", *words], check=True)


def config(home: Path, text: str, folder: str = ".config") -> None:
    path = home / folder / "shardd" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def asked(home: Path, *words: str) -> list[str] | None:
    """The words that ssh is called with, None if it is not."""
    (home / "asked").unlink(missing_ok=True)
    main(words)
    return (home / "asked").read_text().splitlines() if (home / "asked").exists() else None


SHOW = ("lease", "show", "a/b")


@pytest.mark.parametrize("words", [SHOW, ("whoami",), ("lease", "acquire"), ("append", "note"), ("key", "list")])
def test_somebody_elses_clone_is_not_asked(
    home: Path, clone: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert asked(home, *words) is None
    said = capsys.readouterr().err
    assert "is for you to say" in said
    assert "git config remote.origin.shardd true" in said


def test_what_is_printed_mends_it(home: Path, clone: Path) -> None:
    git("config", "remote.origin.shardd", "true")
    assert asked(home, *SHOW) == ["-p", "2222", "somebody", "lease show a/b"]
    assert asked(home, "lease", "show") == ["-p", "2222", "somebody", "lease show garden/whynot"]


@pytest.mark.parametrize(
    ("said", "goes"),
    [
        ({"shardd.remote": "origin"}, "somebody"),
        ({"shardd.remote": "wiki"}, "wiki"),
        ({"remote.wiki.shardd": "true"}, "wiki"),
        ({"remote.wiki.shardd": "yes", "remote.origin.shardd": "on"}, "somebody"),
        ({"remote.origin.shardd": "false"}, None),
        ({"shardd.remote": "gone"}, None),
        ({}, None),
    ],
)
def test_the_remote_that_is_named(home: Path, clone: Path, said: dict[str, str], goes: str | None) -> None:
    git("remote", "add", "wiki", "ssh://wiki/garden.git")
    for name, value in said.items():
        git("config", name, value)
    words = asked(home, *SHOW)
    assert (words and words[-2]) == goes


def test_the_default_server(home: Path, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config(home, 'server = "ssh://wiki"\n')
    assert asked(home, *SHOW) == ["wiki", "lease show a/b"]
    git("config", "remote.origin.shardd", "true")
    assert (asked(home, *SHOW) or [])[-2] == "somebody"
    monkeypatch.chdir(home)
    assert asked(home, *SHOW) == ["wiki", "lease show a/b"]
    assert asked(home, "log", "a/b") == ["wiki", "log a/b"]
    assert (asked(home, "--server", "ssh://other", *SHOW) or [])[-2] == "other"


@pytest.mark.parametrize("server", ["ssh://somebody:2222", "ssh://somebody:2222/garden.git"])
def test_a_clone_of_the_default_server_needs_no_mark(home: Path, clone: Path, server: str) -> None:
    config(home, f'server = "{server}"\n')
    assert asked(home, "lease", "show") == ["-p", "2222", "somebody", "lease show garden/whynot"]


@pytest.mark.parametrize("folder", [".config", "elsewhere"])
def test_the_key_goes_to_that_server_alone(
    home: Path, clone: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    if folder != ".config":
        monkeypatch.setenv("XDG_CONFIG_HOME", str(home / folder))
    (home / "key").touch()
    config(home, 'server = "ssh://wiki"\nidentity = "~/key"\n', folder)
    key = ["-i", str(home / "key"), "-o", "IdentitiesOnly=yes"]
    assert asked(home, *SHOW) == [*key, "wiki", "lease show a/b"]
    git("config", "remote.origin.shardd", "true")
    assert asked(home, *SHOW) == ["-p", "2222", "somebody", "lease show a/b"]
    assert asked(home, "--server", "ssh://wiki", *SHOW) == [*key, "wiki", "lease show a/b"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('sevrer = "ssh://wiki"', "unknown field `sevrer`"),
        ("server = 1", "Expected `str`"),
        ('server = "http://wiki"', "is not the address of a server"),
        ("server", "config.toml:1"),
        ('server = "ssh://wiki"\nidentity = "~/nowhere"', "there is no file"),
    ],
)
def test_a_slip_in_the_configuration_is_named(
    home: Path, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    config(home, text)
    assert main(SHOW) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "config.toml" in said


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "goes"), [("y\n", True), ("yes\n", True), ("\n", False), ("no\n", False), ("", False)]
)
def test_at_a_terminal_it_is_asked_once(
    home: Path, clone: Path, monkeypatch: pytest.MonkeyPatch, answer: str, goes: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", said := Terminal())
    assert (asked(home, *SHOW) is not None) == goes
    assert "is somebody, the remote origin of this clone, a server of shardd?" in said.getvalue()
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert (asked(home, *SHOW) is not None) == goes
