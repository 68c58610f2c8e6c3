"""The bar that a person at a terminal sees while a log is read."""

from __future__ import annotations

import io

from shardd.cli.progress import Bar, Metered


class Ticking:
    """A clock that goes on by a step at each look."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_a_long_read_shows_how_far_and_how_fast() -> None:
    terminal = io.StringIO()
    data = b"x" * 99 + b"\n"
    bar = Bar(terminal, size=1000, clock=Ticking(0.5))
    for _ in range(10):
        bar.advance(data)
    bar.end()
    drawn = terminal.getvalue().split("\r")
    assert drawn[0] == ""
    assert drawn[1].startswith("##                        10%  1 events, ")
    assert drawn[-1].startswith("######################## 100%  10 events, ")
    assert drawn[-1].endswith("/s\x1b[K\n")


def test_a_short_read_shows_nothing() -> None:
    terminal = io.StringIO()
    with io.BufferedReader(Metered(io.BytesIO(b"a\nb\n"), Bar(terminal, 4, Ticking(0.01)))) as stream:
        assert stream.readlines() == [b"a\n", b"b\n"]
    assert terminal.getvalue() == ""


def test_reading_through_the_meter_changes_nothing_and_closes_what_it_reads() -> None:
    terminal, source = io.StringIO(), io.BytesIO(b"line\n" * 1000)
    with io.BufferedReader(Metered(source, Bar(terminal, None, Ticking(1)))) as stream:
        assert stream.read() == b"line\n" * 1000
    assert source.closed
    assert "1,000 events, " in terminal.getvalue()
    assert "%" not in terminal.getvalue()
