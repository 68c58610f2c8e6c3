"""A signal that asks for the end is raised where it can be dealt with."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from shardd.files.unwinding import undisturbed, unwinding


@pytest.fixture(autouse=True)
def nothing_is_ignored() -> Iterator[None]:
    """As it may be where the tests run in the background."""
    before = {each: signal.signal(each, signal.SIG_DFL) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_is_raised_in_the_block_and_further_ones_wait_for_its_end(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    cleaned = []
    with pytest.raises(SystemExit) as ended, unwinding():
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), number)
            cleaned.append("up")
    assert ended.value.code == 128 + number
    assert cleaned == ["up"]
    assert signal.getsignal(number) is before


def test_it_waits_for_what_must_not_be_disturbed() -> None:
    made = []
    with pytest.raises(SystemExit), unwinding():
        with undisturbed():
            with undisturbed():
                os.kill(os.getpid(), signal.SIGTERM)
            made.append("a child")
        made.append("never")
    assert made == ["a child"]
    with undisturbed():
        made.append("nobody asks any more")


def test_what_was_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with unwinding():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
