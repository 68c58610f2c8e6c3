"""The lease clock on a machine whose clocks jump, by itself and through an authority that lives through restarts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardd.authority.authorities import EmbeddedAuthority, embedded_authority
from shardd.authority.facts import Changed, Standing
from shardd.authority.lease_clock import Mark, SystemTime, read
from shardd.authority.lease_store import LeaseStore
from shardd.core.lease import Acquire, OneShot, Release, Renew
from shardd.errors import Rejected
from shardd.git.repository import Repository
from tests.authorities import ADMIN, RIGHTS, make_repo
from tests.clocks import DAY, HOUR, NOON, SECOND, FakeTime

SPACE = "whynot"
TTL = 60 * SECOND
YEAR = 365 * DAY


class Machine:
    """A repo on a machine. Every question is put to a new process' authority: nothing is kept but files."""

    def __init__(self, folder: Path, clock: FakeTime) -> None:
        self.clock = clock
        self._path = make_repo(folder / "garden.git")
        with Repository(self._path) as repository:
            self._authority(repository).create(SPACE)

    def change(self, transition: Acquire | Renew | Release | OneShot) -> Changed:
        with Repository(self._path) as repository:
            return self._authority(repository).change(SPACE, transition)

    def standing(self) -> Standing:
        with Repository(self._path) as repository:
            return self._authority(repository).standing(SPACE)

    def holder(self) -> str | None:
        lease = self.standing().tenancy.lease
        return lease.holder if lease else None

    def mark(self) -> Mark:
        found = LeaseStore(self._path / "shardd").mark(SPACE)
        assert found is not None
        return found

    def _authority(self, repository: Repository) -> EmbeddedAuthority:
        return embedded_authority(repository, label="garden", rights=lambda: RIGHTS, by=ADMIN, source=self.clock)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, FakeTime())


@pytest.mark.parametrize("skew", [-YEAR, -HOUR, HOUR, YEAR])
def test_setting_the_wall_clock_while_up_changes_nothing(machine: Machine, skew: int) -> None:
    machine.change(Acquire("alice", TTL))
    machine.clock.skew = skew
    machine.clock.passes(TTL - 1)
    assert machine.holder() == "alice"
    machine.change(Renew("alice", TTL))
    machine.clock.skew = -skew
    machine.clock.passes(TTL - 1)
    assert machine.holder() == "alice"
    machine.clock.passes(1)
    assert machine.holder() is None


def test_a_restart_of_the_program_changes_nothing(machine: Machine) -> None:
    lease = machine.change(Acquire("alice", TTL)).lease
    machine.clock.passes(20 * SECOND)
    standing = machine.standing()
    assert standing.tenancy.lease == lease
    assert lease
    assert lease.left(standing.now) == TTL - 20 * SECOND


def test_a_reboot_counts_the_time_that_the_machine_was_off(machine: Machine) -> None:
    machine.change(Acquire("alice", TTL))
    machine.clock.reboot(down=20 * SECOND)
    assert machine.holder() == "alice"
    machine.clock.passes(40 * SECOND)
    assert machine.holder() is None


def test_after_a_reboot_with_the_clock_set_back_time_goes_on_from_the_mark(machine: Machine) -> None:
    machine.change(Acquire("alice", TTL))
    machine.clock.reboot(down=20 * SECOND, skew=-YEAR)
    assert machine.holder() == "alice", "how long it was off, nobody knows"
    machine.change(Renew("alice", TTL))
    machine.clock.passes(TTL - 1)
    assert machine.holder() == "alice"
    machine.clock.passes(1)
    assert machine.holder() is None, "the lease clock does not wait for the wall clock to catch up"
    assert machine.change(Acquire("bob", TTL)).epoch == 2


@pytest.mark.parametrize("told", ["bob is granted it", "alice is refused", "somebody looks"])
def test_nothing_revives_what_somebody_saw_expired(machine: Machine, told: str) -> None:
    machine.change(Acquire("alice", TTL))
    machine.clock.passes(TTL)
    if told == "bob is granted it":
        machine.change(Acquire("bob", TTL))
        machine.change(Release("bob"))
    elif told == "alice is refused":
        with pytest.raises(Rejected):
            machine.change(Renew("alice"))
    else:
        assert machine.holder() is None
    machine.clock.reboot(skew=-YEAR)
    assert machine.holder() is None
    with pytest.raises(Rejected) as refused:
        machine.change(Renew("alice"))
    assert refused.value.code == "not-holder"


def test_a_clock_that_once_ran_ahead_blocks_nobody_for_long(machine: Machine) -> None:
    machine.clock.reboot(skew=YEAR)
    machine.change(Acquire("alice", TTL))
    machine.clock.reboot(skew=0)
    assert machine.holder() == "alice"
    machine.change(Renew("alice", TTL))
    machine.clock.passes(TTL)
    assert machine.holder() is None
    assert machine.change(Acquire("bob", TTL)).epoch == 2
    machine.clock.passes(TTL)
    assert machine.change(Acquire("carol", TTL)).epoch == 3


def test_a_lease_that_ran_while_the_clock_jumped_ahead_over_a_reboot_is_over(machine: Machine) -> None:
    machine.change(Acquire("alice", TTL))
    machine.clock.reboot(skew=YEAR)
    assert machine.holder() is None
    machine.clock.reboot(skew=0)
    assert machine.holder() is None


def test_without_a_boot_id_the_wall_clock_counts_and_never_backwards(tmp_path: Path) -> None:
    machine = Machine(tmp_path, FakeTime(named=False))
    machine.change(Acquire("alice", TTL))
    machine.clock.passes(TTL)
    assert machine.holder() is None
    seen = machine.mark().time
    machine.clock.skew = -YEAR
    assert machine.standing().now >= seen
    assert machine.change(Acquire("bob", TTL)).lease is not None


def test_each_space_has_a_clock_of_its_own(machine: Machine, tmp_path: Path) -> None:
    """What one space's clock went through, the leases of another are not measured by."""
    with Repository(tmp_path / "garden.git") as repository:
        authority = embedded_authority(
            repository, label="garden", rights=lambda: RIGHTS, by=ADMIN, source=machine.clock
        )
        machine.change(Acquire("alice", TTL))
        machine.clock.reboot(down=0, skew=YEAR)
        authority.create("other")
        authority.change("other", Acquire("bob", TTL))
        machine.clock.reboot(down=0, skew=0)
        assert authority.standing("other").now - machine.standing().now >= YEAR
        assert machine.holder() == "alice", "of the year that the other one's clock was ahead, hers saw nothing"
        lease = authority.standing("other").tenancy.lease
        assert lease is not None
        assert lease.left(authority.standing("other").now) == TTL
        machine.clock.passes(TTL)
        assert machine.holder() is None


def test_a_clock_that_was_set_back_goes_on_for_a_space_once_something_happens_there(machine: Machine) -> None:
    machine.change(Acquire("alice", TTL))
    machine.clock.reboot(down=0, skew=-YEAR)
    with pytest.raises(Rejected):
        machine.change(Acquire("bob", TTL))
    machine.clock.passes(TTL)
    assert machine.holder() is None


@given(
    st.lists(
        st.tuples(st.integers(0, DAY), st.integers(-YEAR, YEAR), st.booleans(), st.booleans()), min_size=1, max_size=12
    )
)
def test_time_never_goes_back(steps: list[tuple[int, int, bool, bool]]) -> None:
    clock = FakeTime()
    mark: Mark | None = None
    seen = 0
    for passed, skew, rebooted, stored in steps:
        clock.passes(passed)
        clock.skew = skew
        if rebooted:
            clock.reboot()
        now = read(clock, mark)
        assert now.time >= (mark.time if mark else 0)
        if mark is not None and mark.boot == now.boot:
            assert now.time - mark.time == now.uptime - mark.uptime, "while it is up, only uptime counts"
        if stored or mark is None:
            assert now.time >= seen
            mark, seen = now, now.time


def test_the_real_clocks_tell_milliseconds() -> None:
    source = SystemTime()
    first, second = read(source, None), read(source, None)
    assert first.boot == second.boot != ""
    assert 0 < first.uptime <= second.uptime
    assert NOON - 2 * YEAR < first.time <= second.time
