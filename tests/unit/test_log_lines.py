"""How the log is shown: aligned, coloured only where that helps, never a raw control character."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from shardd.authority.authorities import Authorities
from shardd.commands.events import EVENTS, line
from shardd.core.roles import FileAccess
from shardd.files.server_dir import ServerDir
from shardd.logs.memory_log import MemoryLog


def test_one_event_is_one_aligned_line_without_control_characters() -> None:
    log = MemoryLog(actor="alice")
    log.append("whynot", "page.bound", {"k": "a\x1b[31m\u202eb\n"}, subject="evil\u202etxt")
    log.append("whynot", "note", actor="x" * 3)
    first, second = (line(event) for event in log.events("whynot"))
    assert "page.bound: evil?txt  " in first
    assert first.isprintable()
    assert first.index("page.bound") == second.index("note")
    assert second.endswith("note")


def test_programs_read_everything() -> None:
    log = MemoryLog()
    made = log.append("whynot", "note", {"n": 1}, actor="alice", id="x")
    (value,) = EVENTS.values(log.events("whynot"))
    assert isinstance(value, dict)
    assert (value["oid"], value["data"], value["subject"]) == (made.oid, {"n": 1}, None)


def shardd_on_a_terminal(*words: str, env: dict[str, str]) -> str:
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "shardd.cli.main", *words], stdout=theirs, env=os.environ | env, stdin=subprocess.DEVNULL
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            some = os.read(ours, 4096)
        except OSError:  # a terminal whose other side has closed
            break
        if not some:
            break
        said += some
    os.close(ours)
    assert done.wait() == 0
    return said.decode()


def test_a_terminal_shows_colours_through_the_pager_and_a_pipe_does_not(tmp_path: Path) -> None:
    server = ServerDir.create(tmp_path / "srv")
    authorities = Authorities.open(server)
    authorities.create("garden")
    with authorities.repo("garden", FileAccess) as authority:
        authority.create("whynot")
    words = ("--dir", str(server.root), "lease", "history", "garden/whynot")
    assert "never leased" in shardd_on_a_terminal(*words, env={"TERM": "xterm", "GIT_PAGER": "false"})
    (server.root / "access.toml").write_text('[roles]\nalice = ["admin @all"]\n')
    base = [sys.executable, "-m", "shardd.cli.main", "--dir", str(server.root), "--as", "alice"]
    subprocess.run([*base, "lease", "acquire", "garden/whynot"], check=True, capture_output=True)
    subprocess.run([*base, "append", "garden/whynot", "note", "Home", "--force"], check=True, capture_output=True)
    log = ("--dir", str(server.root), "log", "garden/whynot")
    paged = shardd_on_a_terminal(*log, env={"TERM": "xterm", "GIT_PAGER": "sed s/^/paged:/"})
    assert paged.startswith("paged:\x1b[33m     1\x1b[0m")
    assert "\x1b" not in shardd_on_a_terminal(*log, env={"TERM": "xterm", "NO_COLOR": "1", "GIT_PAGER": "cat"})
    subprocess.run([*base, "append", "garden/whynot", "note", "Last", "--force"], check=True, capture_output=True)
    config = tmp_path / "gitconfig"
    config.write_text("[core]\n\tpager = sed s/^/core:/ | cat\n")
    asked = {"TERM": "xterm", "NO_COLOR": "1", "GIT_CONFIG_GLOBAL": str(config), "PAGER": "sed s/^/pager:/"}
    newest, oldest = shardd_on_a_terminal(*log, env=asked).splitlines()
    assert (newest[:11], oldest[:11]) == ("core:     2", "core:     1"), "core.pager comes before PAGER"
    oldest, newest = shardd_on_a_terminal(*log, "--reverse", env=asked | {"GIT_PAGER": "cat"}).splitlines()
    assert (oldest[:6], newest[:6]) == ("     1", "     2")
    config.write_text("")
    assert shardd_on_a_terminal(*log, env=asked).startswith("pager:     2")
    piped = subprocess.run([*base[:3], *log], check=True, capture_output=True, text=True).stdout
    assert piped.startswith("     1  2")
    assert "\x1b" not in piped
