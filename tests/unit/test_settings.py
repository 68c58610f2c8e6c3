"""What is wrong with a configuration file is said with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shardd.errors import Corrupt, Misuse
from shardd.files.access import AccessFiles
from shardd.files.settings import Settings, SettingsFile


def test_no_file_means_the_defaults(tmp_path: Path) -> None:
    assert Settings.load(tmp_path / "config.toml") == Settings()


@pytest.mark.parametrize("moment", ["", "max-push-events =", "max-push-events = 5\nlisten"])
def test_a_file_that_is_being_written_lifts_no_limit(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text("max-push-events = 5\n")
    settings = SettingsFile(tmp_path).watched()
    assert settings.now().max_push_events == 5
    path.write_text(moment)
    assert settings.now().max_push_events == 5
    assert settings.fault is not None
    path.write_text("max-push-events = 4\n")
    assert settings.now().max_push_events == 4
    path.write_text("# all as it comes\n")
    assert settings.now() == Settings()


def test_every_key_is_kebab_case(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('listen = "[::]:22"\npublic = "git.example.org:22"\nlogin-grace-seconds = 5\nidle-seconds = 0\n')
    found = Settings.load(path)
    assert (found.listen, found.public, found.login_grace_seconds, found.idle_seconds) == (
        "[::]:22",
        "git.example.org:22",
        5,
        0,
    )


WRONG = {
    "a slip of the pen": ('\nlisten = ":1"\nmax-sessions = \n', 3, "Invalid value"),
    "an unknown key": (
        "# first\n\nmax-session = 3\n",
        3,
        "no setting max-session; did you mean max-sessions?",
    ),
    "a wrong type": (
        'idle-seconds = 9\nmax-sessions = "many"\n',
        2,
        "must be a whole number from 1 to 4096",
    ),
    "too small": (
        "max-sessions = 5\n\nlogin-grace-seconds = 0",
        3,
        "must be a whole number from 1 to 86400",
    ),
    "too large": ("drain-seconds = 86401", 1, "drain-seconds must be a whole number from 0 to 86400"),
    "no port": ('\nlisten = "localhost"', 2, "listen must be an address with its port, HOST:PORT"),
    "a style of logs that is none": ('log = "jsn"', 1, 'log must be "console" or "json"'),
    "nothing like a key": ("zzz = 1", 1, "there is no setting zzz; there are drain-seconds, idle-seconds"),
    "not UTF-8": ("# caf\xe9", None, "not UTF-8"),
    "an open table": ("[limits\n", 1, "Expected ']'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_found_by_its_line(tmp_path: Path, case: str) -> None:
    text, line, says = WRONG[case]
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(Misuse) as caught:
        Settings.load(path)
    assert caught.value.message.startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert says in caught.value.message
    assert "regex" not in caught.value.message
    assert caught.value.exit_status == 2
    example = re.fullmatch("write it like `(.+)`", caught.value.remedy)
    assert example is not None
    path.write_text(example[1])
    Settings.load(path)


ACCESS = {
    "an unknown role": (
        '[roles]\nalice = ["read garden"]\nbob = [\n  "write garden",\n]\n',
        4,
        "'write' is not a role",
    ),
    "a bad scope": ('[roles]\nalice = ["read a/b/c"]\n', 2, "is not a scope"),
    "a bad name": ('[roles]\n"Alice" = ["read garden"]\n', 2, "is not a principal name"),
    "a bad retired name": ('retired = ["x", "Y"]\n', 1, "'Y' is not a principal name"),
    "a bad local name": ('[local]\nroot = "alice "\n', 2, "is not a principal name"),
    "an unknown table": ("[roles]\n[groups]\n", 2, "unknown field `groups`"),
    "a wrong type": ('[roles]\nalice = "read garden"\n', 1, "Expected `array`"),
}


@pytest.mark.parametrize("case", ACCESS)
def test_a_mistake_in_access_toml(tmp_path: Path, case: str) -> None:
    text, line, says = ACCESS[case]
    (tmp_path / "keys").mkdir()
    path = tmp_path / "access.toml"
    path.write_text(text)
    with pytest.raises(Corrupt) as caught:
        AccessFiles(tmp_path).load()
    assert caught.value.message.startswith(f"{path}:{line}: ")
    assert says in caught.value.message


@pytest.mark.parametrize("key", ["AAAA", "AAAAC3Nz…"])
@pytest.mark.parametrize("name", ["keys/alice.pub", "user_ca_keys", "revoked_keys"])
def test_a_mistake_in_a_list_of_keys(tmp_path: Path, name: str, key: str) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "access.toml").write_text("")
    (tmp_path / name).write_text(f"# a comment\n\nssh-ed25519 {key} nobody\n", encoding="utf-8")
    with pytest.raises(Corrupt, match=f"{name}:3: "):
        AccessFiles(tmp_path).load()


def test_what_was_good_for_an_earlier_process_is_in_force_for_a_later_one(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("max-sessions = 5\n")
    SettingsFile(tmp_path).watched()
    path.write_text("max-sessions = \n")
    later = SettingsFile(tmp_path).watched()
    assert later.now().max_sessions == 5
    assert isinstance(later.fault, Misuse)
    path.write_text("max-sessions = 6\n")
    assert later.now().max_sessions == 6
    path.write_text("max-sessions = \n")
    assert SettingsFile(tmp_path).watched().now().max_sessions == 6


@pytest.mark.parametrize("copy", [None, b"", b'{"max-sessions": ', b'{"of-another-version": 1}'])
def test_settings_that_never_read_are_an_error(tmp_path: Path, copy: bytes | None) -> None:
    (tmp_path / "config.toml").write_text("max-sessions = \n")
    if copy is not None:
        (tmp_path / ".last-good-config.json").write_bytes(copy)
    with pytest.raises(Misuse, match=r"config\.toml:1"):
        SettingsFile(tmp_path).watched()


def test_a_copy_that_cannot_be_kept_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / ".last-good-config.json").mkdir()
    assert SettingsFile(tmp_path).watched().now() == Settings()
