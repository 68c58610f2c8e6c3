"""How much at once, and the way out: counted on the server's own event loop, with nobody on the line."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from shardd.errors import Unavailable
from shardd.files.settings import Settings
from shardd.service.admission import Admission

SETTINGS = Settings(
    max_unauthenticated=3,
    max_connections=4,
    max_connections_per_address=3,
    max_connections_per_principal=2,
    max_sessions=4,
    max_sessions_per_principal=3,
    max_sessions_per_connection=2,
)


class Caller:
    def __init__(self, address: str) -> None:
        self.address = address
        self.told: list[str] = []

    def turn_out(self, why: str) -> None:
        self.told.append(why)


@pytest.fixture
async def admission() -> Admission:
    return Admission(lambda: SETTINGS)


def arrived(admission: Admission, *addresses: str) -> list[Caller]:
    callers = [Caller(address) for address in addresses]
    for caller in callers:
        admission.arrive(caller)
    return callers


async def test_strangers_make_room_for_whoever_comes_the_most_numerous_first(admission: Admission) -> None:
    one, first, second = arrived(admission, "one", "many", "many")
    (new,) = arrived(admission, "new")
    assert [len(each.told) for each in (one, first, second, new)] == [0, 1, 0, 0]
    assert "have not logged in" in first.told[0]
    admission.log_in(one, "alice")
    arrived(admission, "more")
    assert not second.told, "who has logged in has left room"


async def test_each_has_a_share_of_the_connections(admission: Admission) -> None:
    callers = arrived(admission, "here", "here", "here")
    for caller, name in zip(callers[:2], ("alice", "alice"), strict=True):
        admission.log_in(caller, name)
    callers += arrived(admission, "there", "there")
    with pytest.raises(Unavailable, match="too many connections of alice"):
        admission.log_in(callers[3], "alice")
    admission.log_in(callers[2], "bob")
    (another,) = arrived(admission, "here")
    with pytest.raises(Unavailable, match="too many connections from here"):
        admission.log_in(another, "carol")
    admission.depart(another)
    admission.log_in(callers[3], "carol")
    with pytest.raises(Unavailable, match=r"too many connections( \(|$)"):
        admission.log_in(callers[4], "dave")
    admission.depart(callers[0])
    admission.log_in(callers[4], "alice")


async def test_each_has_a_share_of_the_sessions(admission: Admission) -> None:
    one, two, other = arrived(admission, "here", "here", "there")
    with ExitStack() as open_now:
        for _ in range(2):
            open_now.enter_context(admission.session(one, "alice"))
        with pytest.raises(Unavailable, match="on this connection"), admission.session(one, "alice"):
            pass
        open_now.enter_context(admission.session(two, "alice"))
        with pytest.raises(Unavailable, match="of alice"), admission.session(two, "alice"):
            pass
        open_now.enter_context(admission.session(other, "bob"))
        with pytest.raises(Unavailable, match="too many commands run here"), admission.session(other, "carol"):
            pass
    with admission.session(one, "alice"):
        pass


async def test_a_server_that_leaves_waits_for_what_is_unheard_and_for_whoever_is_there(admission: Admission) -> None:
    (caller,) = arrived(admission, "here")
    empty, deserted = (asyncio.create_task(each) for each in (admission.empty(), admission.deserted()))
    with admission.unheard():
        empty = asyncio.create_task(admission.empty())
        admission.leave()
        assert admission.leaving
        with pytest.raises(Unavailable, match="leaving"), admission.session(caller, "alice"):
            pass
        await asyncio.sleep(0)
        assert (admission.sessions, empty.done(), deserted.done()) == (1, False, False)
    await empty
    assert not deserted.done()
    admission.depart(caller)
    await deserted
