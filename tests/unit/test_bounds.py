"""What is counted before it is held: the words of a command, the patterns of scopes, the guests."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardd.commands.all_commands import server_grammar
from shardd.commands.git_request import check_caller, parse_request
from shardd.core.roles import Access, Grant
from shardd.errors import Misuse, Rejected, Unavailable
from shardd.files.settings import Settings
from shardd.service.admission import Admission

SHORT = st.text("ab.-", max_size=8)


@given(st.text("ab.*-", min_size=1, max_size=8), SHORT)
def test_a_pattern_covers_what_a_shell_pattern_does(pattern: str, name: str) -> None:
    if pattern[0] in ".-":
        pattern = "a" + pattern
    assert Grant("bob", "read", f"garden/{pattern}").covers("garden", name) == fnmatch.fnmatchcase(name, pattern)


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    """By the number of steps: this would not come back in a lifetime."""
    grant = Grant("bob", "read", "garden/" + "a*" * 31 + "b")
    assert not grant.covers("garden", "a" * 63)
    assert grant.covers("garden", "a" * 62 + "b")


def test_words_are_bounded_and_options_stand_once() -> None:
    grammar = server_grammar()
    with pytest.raises(Misuse, match="--json is given twice"):
        grammar.parse(["log", "a/b", "--json", "--json"])
    with pytest.raises(Misuse, match="--after is given twice"):
        grammar.parse(["log", "a/b", "--after", "1", "--after=2"])
    assert not grammar.parse(["space", "freeze", "a/b", "--", "--x --x"]).json
    assert len(parse_request("x " * 100, "bob")) == 100  # type: ignore[arg-type]
    for asked, says in (("x " * 101, "at most 100 words"), ("x" * 8193, "at most 8192 characters")):
        with pytest.raises(Misuse, match=says):
            parse_request(asked, "bob")


def test_who_has_no_role_asks_only_who_that_is() -> None:
    access = Access(frozenset([Grant("bob", "read", "garden/x*")]))
    check_caller(["log", "a/b"], access, "bob")
    check_caller(["whoami"], access, "eve")
    check_caller(["help", "log"], access, "eve")
    for retired in (frozenset[str](), frozenset(["bob"])):
        with pytest.raises(Rejected, match="has no role here"):
            check_caller(["log"], Access(access.grants, retired), "bob" if retired else "eve")


@dataclass(eq=False)
class Somebody:
    address: str
    said: list[str] = field(default_factory=list)

    def turn_out(self, why: str) -> None:
        self.said.append(why)


def test_strangers_make_room_for_each_other_and_for_whoever_logs_in() -> None:
    admission = Admission(lambda: Settings(max_unauthenticated=4, max_connections=4, max_connections_per_address=3))
    crowd = [Somebody("10.0.0.1") for _ in range(3)]
    alone = Somebody("10.0.0.2")
    for each in (alone, *crowd, Somebody("10.0.0.3"), Somebody("10.0.0.4")):
        admission.arrive(each)
    # The oldest of the address that has most: not the oldest of all, and nobody twice.
    assert [len(each.said) for each in (alone, *crowd)] == [0, 1, 1, 0]
    for each in crowd:
        admission.log_in(each, "bob")
    with pytest.raises(Unavailable, match=r"from 10\.0\.0\.1"):
        admission.log_in(Somebody("10.0.0.1"), "bob")
    admission.log_in(alone, "alice")
    with pytest.raises(Unavailable, match="too many connections"):
        admission.log_in(Somebody("10.0.0.9"), "carol")
    for each in crowd:
        admission.depart(each)
        admission.depart(each)
    admission.log_in(Somebody("10.0.0.1"), "bob")


def test_sessions_are_shared_out() -> None:
    admission = Admission(lambda: Settings(max_sessions=3, max_sessions_per_principal=2, max_sessions_per_connection=1))
    one, two, three = (Somebody("10.0.0.1") for _ in range(3))
    with admission.session(one, "bob"):
        with pytest.raises(Unavailable, match="on this connection"), admission.session(one, "bob"):
            pass
        with admission.session(two, "bob"):
            with pytest.raises(Unavailable, match="commands of bob"), admission.session(three, "bob"):
                pass
            with (
                admission.session(three, "alice"),
                pytest.raises(Unavailable, match="commands run here"),
                admission.session(Somebody("10.0.0.2"), "carol"),
            ):
                pass
    with admission.session(one, "bob"), admission.session(two, "bob"):
        pass


def test_the_settings_that_count_are_those_of_the_moment() -> None:
    settings = Settings(max_sessions=2)
    admission = Admission(lambda: settings)
    with admission.session(Somebody("10.0.0.1"), "bob"):
        settings = Settings(max_sessions=1)
        with pytest.raises(Unavailable, match="commands run here"), admission.session(Somebody("10.0.0.2"), "bob"):
            pass
        settings = Settings(max_sessions=9)  # but threads were made for two
        with (
            admission.session(Somebody("10.0.0.2"), "bob"),
            pytest.raises(Unavailable, match="commands run here"),
            admission.session(Somebody("10.0.0.3"), "bob"),
        ):
            pass
