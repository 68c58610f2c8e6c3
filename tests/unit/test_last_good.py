"""Files are read anew when they change, and a slip of the pen leaves the last good ones in force."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardd.errors import Corrupt, Unavailable
from shardd.files.durable import write_atomic
from shardd.files.last_good import LastGood


class Source:
    """One file that holds a number, and how often it was read."""

    def __init__(self, folder: Path, text: str = "1") -> None:
        self.path = folder / "number"
        self.path.write_text(text)
        self.reads = 0
        self.unread = False

    def load(self) -> int:
        self.reads += 1
        if self.unread:
            raise Unavailable("too many open files")
        text = self.path.read_text() if self.path.exists() else "0"
        if not text.isdigit():
            raise Corrupt(f"{text!r} is not a number")
        return int(text)

    def last_good(self) -> LastGood[int]:
        return LastGood("numbers", lambda: [self.path], self.load)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


def test_a_change_is_in_force_at_the_next_question(source: Source) -> None:
    number = source.last_good()
    assert number.now() == 1
    write_atomic(source.path, b"2")
    assert number.now() == 2
    source.path.unlink()
    assert number.now() == 0


def test_what_does_not_change_is_not_read_again(source: Source) -> None:
    number = source.last_good()
    assert [number.now() for _ in range(5)] == [1] * 5
    assert source.reads == 1


def test_a_slip_leaves_the_last_good_one_in_force(source: Source) -> None:
    number = source.last_good()
    write_atomic(source.path, b"two")
    assert number.now() == 1
    assert isinstance(number.fault, Corrupt)
    assert number.now() == 1
    assert source.reads == 2, "a file that does not read is not read at every question"
    write_atomic(source.path, b"3")
    assert number.now() == 3
    assert number.fault is None


def test_what_could_not_be_read_is_tried_at_every_question(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    """The file is in order, and says something else now: perhaps that somebody may do no more what he did."""
    number = source.last_good()
    write_atomic(source.path, b"2")
    source.unread = True
    assert [number.now(), number.now(), number.now()] == [1, 1, 1]
    assert isinstance(number.fault, Unavailable)
    assert caplog.text.count("too many open files") == 1, "and is said once"
    source.unread = False
    assert number.now() == 2
    assert number.fault is None


def test_a_file_that_never_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Corrupt):
        Source(tmp_path, "x").last_good()


def test_a_reload_reads_whatever_the_stamps_say(source: Source) -> None:
    number = source.last_good()
    assert number.reload() is None
    assert source.reads == 2
    write_atomic(source.path, b"x")
    assert isinstance(number.reload(), Corrupt)
