"""The daemon's log: one line for each thing said, for people or as JSON, by us and by libraries alike."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from shardd.core.outcome import Kind, Outcome
from shardd.files.settings import LogStyle
from shardd.service import log_output
from shardd.service.recorder import say


@pytest.fixture(autouse=True)
def afterwards() -> Iterator[None]:
    """Logging is the process's: put back what was there."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


REFUSED = Outcome(
    kind=Kind.PUSH, at=1, who="alice", origin="ssh 192.0.2.7", repo="garden", space="whynot", verdict="frozen",
    why="read-only: moving\n2026-01-01 forged", took=12,
)  # fmt: skip


def test_an_outcome_is_one_object() -> None:
    stream = io.StringIO()
    log_output.configure("json", stream)
    say(REFUSED)
    logging.getLogger("library").warning("about %s", "this")
    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {name: said[0][name] for name in ("event", "who", "verdict", "took", "level", "logger", "why")} == {
        "event": "push", "who": "alice", "verdict": "frozen", "took": 12, "level": "info", "logger": "shardd.outcome",
        "why": REFUSED.why,
    }  # fmt: skip
    assert "key" not in said[0]
    assert (said[1]["event"], said[1]["logger"], said[1]["level"]) == ("about this", "library", "warning")


def test_a_line_for_people_stays_one() -> None:
    stream = io.StringIO()
    log_output.configure("console", stream)
    say(REFUSED)
    logging.getLogger("shardd.push").error("a ref called %s", "x\x1b[2J\n2026-01-01 forged")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert "push" in lines[0]
    assert "who=alice" in lines[0]
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("style", ("console", "json"))
def test_a_fault_of_ours_shows_where(style: LogStyle) -> None:
    stream = io.StringIO()
    log_output.configure(style, stream)
    try:
        raise ValueError("a fault")
    except ValueError:
        logging.getLogger("shardd").exception("it failed")
    assert "Traceback (most recent call last)" in stream.getvalue()
    assert "test_log_output.py" in stream.getvalue()


def test_how_loud_an_outcome_is() -> None:
    stream = io.StringIO()
    log_output.configure("json", stream)
    for verdict in ("ok", "not-holder", "unavailable", "corrupt", "internal"):
        say(Outcome(kind=Kind.FETCH, at=1, verdict=verdict))
    levels = [json.loads(line)["level"] for line in stream.getvalue().splitlines()]
    assert levels == ["info", "info", "warning", "error", "error"]
