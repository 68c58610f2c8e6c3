"""A log that is written where somebody said: into what is there, or in its place, and never over it unasked."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from shardd.cli.main import main
from shardd.core.jsonl import encode_line
from shardd.errors import Misuse, Rejected
from shardd.logs.log_transfer import export_jsonl
from shardd.logs.memory_log import MemoryLog
from tests.drafting import drafts

SPACE = "whynot"


@pytest.fixture(scope="module")
def log() -> MemoryLog:
    log = MemoryLog()
    log.append_many(SPACE, drafts("alice", range(3)))
    return log


@pytest.fixture(scope="module")
def lines(log: MemoryLog) -> bytes:
    return b"".join(encode_line(event, SPACE) for event in log.events(SPACE))


def file(folder: Path) -> tuple[Path, Path]:
    path = folder / "log.jsonl"
    path.write_text("somebody's\n")
    return path, path


def link(folder: Path) -> tuple[Path, Path]:
    path, _ = file(folder)
    (folder / "link").symlink_to("log.jsonl")
    return folder / "link", path


def link_to_link(folder: Path) -> tuple[Path, Path]:
    _, path = link(folder)
    (folder / "sub").mkdir()
    (folder / "sub/far").symlink_to("../link")
    return folder / "sub/far", path


@pytest.mark.parametrize("make", [file, link, link_to_link])
@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_file_is_replaced_only_when_that_is_asked(
    log: MemoryLog, lines: bytes, tmp_path: Path, make: Callable[[Path], tuple[Path, Path]], mode: int
) -> None:
    named, path = make(tmp_path)
    path.chmod(mode)
    with pytest.raises(Rejected, match="exists already") as caught:
        export_jsonl(log, SPACE, named)
    assert caught.value.code == "exists"
    assert path.read_text() == "somebody's\n"
    export_jsonl(log, SPACE, named, force=True)
    assert path.read_bytes() == lines
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert named == path or named.is_symlink()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_is_for_whom_the_umask_says(log: MemoryLog, tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        export_jsonl(log, SPACE, tmp_path / "log.jsonl")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log.jsonl").stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away, which only root may")
@pytest.mark.parametrize("who", [(1234, 1234), (0, 77)])
def test_a_file_that_is_replaced_keeps_its_owner(log: MemoryLog, tmp_path: Path, who: tuple[int, int]) -> None:
    _, path = file(tmp_path)
    os.chown(path, *who)
    export_jsonl(log, SPACE, path, force=True)
    assert (path.stat().st_uid, path.stat().st_gid) == who


@pytest.mark.parametrize("through", ["pipe", "link to a pipe", "descriptor", "link to a descriptor"])
@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_regular_file_is_written_in_place(
    log: MemoryLog, lines: bytes, tmp_path: Path, through: str, force: bool
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR)
    named = Path(f"/proc/self/fd/{held}") if "descriptor" in through else pipe
    if "link" in through:
        (tmp_path / "link").symlink_to(named)
        named = tmp_path / "link"
    said: list[bytes] = []
    try:
        reader = threading.Thread(target=lambda: said.append(os.read(held, 65_536)))
        reader.start()
        export_jsonl(log, SPACE, named, force=force)
        reader.join()
    finally:
        os.close(held)
    assert said == [lines]
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert "link" not in through or named.is_symlink()


def test_a_log_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    """A shell would have emptied it by then."""
    named, path = file(tmp_path)
    with pytest.raises(Rejected, match="no space"):
        export_jsonl(MemoryLog(), SPACE, named, force=True)
    for place in (tmp_path, tmp_path / "no/such/folder"):
        log = MemoryLog()
        log.append(SPACE, "note")
        with pytest.raises(Misuse, match="cannot be written"):
            export_jsonl(log, SPACE, place, force=True)
    assert path.read_text() == "somebody's\n"
    assert sorted(tmp_path.iterdir()) == [path]


def test_on_the_command_line_it_goes_to_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "server").mkdir()
    root = str(tmp_path / "server")
    for words in (["init", root], ["--dir", root, "repo", "create", "garden"]):
        assert main(words) == 0
    assert main(["--dir", root, "space", "create", "garden/whynot"]) == 0
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    assert main(["--dir", root, "export", "garden/whynot"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["--dir", root, "export", "garden/whynot", "-o", "log.jsonl"]) == 0
    assert main(["--dir", root, "export", "garden/whynot", "-o", "log.jsonl"]) == 1
    assert main(["--dir", root, "export", "garden/whynot", "--output", "log.jsonl", "--force"]) == 0
    assert main(["--dir", root, "export", "garden/whynot", "log.jsonl"]) == 2
    assert (tmp_path / "log.jsonl").read_bytes() == b""
