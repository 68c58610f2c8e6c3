"""What a command comes to, and what is noted of it: where nobody hears the answer, or it is cut off."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from shardd.authority.authorities import Authorities
from shardd.commands.all_commands import run_on, server_grammar
from shardd.commands.caller import Context
from shardd.commands.run_command import speak
from shardd.core.outcome import Kind, Outcome
from shardd.core.roles import ALL, Grant
from shardd.files.server_dir import ServerDir
from shardd.files.work import Work


class Deaf:
    """Nobody is left to hear what is said."""

    def __init__(self, how: type[BaseException]) -> None:
        self._how = how

    def out(self, line: str) -> None:
        raise self._how

    def err(self, line: str) -> None:
        raise self._how

    def flush(self) -> None:
        pass

    def paged(self, *, long: bool) -> AbstractContextManager[bool]:
        return nullcontext(False)


class Quiet(Deaf):
    def __init__(self) -> None:
        super().__init__(AssertionError)

    def out(self, line: str) -> None:
        pass


@pytest.fixture
def context(tmp_path: Path) -> Context:
    server = ServerDir.create(tmp_path / "server")
    server.access.grant(Grant("alice", "admin", ALL))
    authorities = Authorities.open(server)
    authorities.create("garden")
    with authorities.repo("garden", authorities.operator) as authority:
        authority.create("whynot")
    return Context(authorities, "alice", authorities.granted, opened=lambda file: io.BytesIO(), work=Work(who="alice"))


def ended(context: Context, words: str, how: type[BaseException]) -> Outcome:
    grammar = server_grammar()
    with pytest.raises(how):
        speak(grammar, words.split(), lambda command: run_on(context, command), Deaf(how), work=context.work)
    return context.work.outcome()


@pytest.mark.parametrize("how", (BrokenPipeError, KeyboardInterrupt))
def test_what_is_done_is_done_though_nobody_hears_of_it(context: Context, how: type[BaseException]) -> None:
    found = ended(context, "lease acquire garden/whynot", how)
    assert (found.kind, found.verdict, found.what, found.space) == (Kind.LEASE, "ok", "lease acquire", "whynot")


def test_lines_that_were_appended_as_one_are(context: Context) -> None:
    context = replace(context, opened=lambda file: io.BytesIO(b'{"type": "note"}\n' * 2))
    found = ended(context, "append garden/whynot --lines --atomic --take-lease", BrokenPipeError)
    assert found.verdict == "ok"
    with context.authority("garden") as authority:
        assert authority.existing("whynot").seq == 2


@pytest.mark.parametrize("how", (BrokenPipeError, KeyboardInterrupt))
def test_what_is_told_as_it_comes_and_cut_off_is_not(context: Context, how: type[BaseException]) -> None:
    speak(
        server_grammar(),
        ["append", "garden/whynot", "note", "--force", "--take-lease"],
        lambda command: run_on(context, command),
        Quiet(),
    )
    assert ended(context, "log garden/whynot", how).verdict == "gone"


def test_what_was_waited_for_is_told(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that shows a second more at each look: one before the lock is taken, and one after it."""
    context, now = replace(context, work=Work()), iter(range(1000))
    monkeypatch.setattr("shardd.authority.authority.monotonic", lambda: next(now))
    speak(
        server_grammar(),
        ["lease", "acquire", "garden/whynot"],
        lambda command: run_on(context, command),
        Quiet(),
        work=context.work,
    )
    found = context.work.outcome()
    assert (found.verdict, found.waited) == ("ok", 1000)
