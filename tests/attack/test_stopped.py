"""A process that stands still at any point holds up its own space: pushes to others go through, and anybody reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shardd.authority.appending import append_drafts
from shardd.authority.facts import Pusher
from shardd.core.lease import Acquire, Grant, Release
from shardd.core.refs import space_ref
from shardd.files.crash_points import Point
from tests.attack.children import Child
from tests.attack.test_crash import SPACE, clone, git, hosted, newest, pushed
from tests.authorities import embedded
from tests.drafting import drafts

__all__ = ["clone", "hosted"]

OTHER = "other"


def changes_a_lease(path: Path) -> Callable[[Callable[[object], None]], None]:
    def job(say: Callable[[object], None]) -> None:
        with embedded(path) as authority:
            say(authority.change(OTHER, Grant("bob", force=True)).epoch)

    return job


def appends(path: Path) -> Callable[[Callable[[object], None]], None]:
    def job(say: Callable[[object], None]) -> None:
        with embedded(path) as authority:
            say(append_drafts(authority, OTHER, drafts("alice"), Pusher("alice"))[0].seq)

    return job


STOPS = [
    (job, point)
    for job in (changes_a_lease, appends)
    for point in (Point.AFTER_LOCK, Point.IN_INDEX, Point.BEFORE_STORE, Point.BEFORE_MOVE, Point.AFTER_MOVE)
    if (job, point) not in ((changes_a_lease, Point.IN_INDEX), (appends, Point.BEFORE_STORE))
]


@pytest.mark.parametrize(("job", "point"), STOPS, ids=lambda each: getattr(each, "__name__", each))
def test_a_process_that_stands_still_holds_up_its_own_space_alone(
    hosted: Path,
    clone: Path,
    job: Callable[[Path], Callable[[Callable[[object], None]], None]],
    point: Point,
) -> None:
    with embedded(hosted) as authority:
        authority.create(OTHER)
        authority.change(OTHER, Acquire("alice"))
    git(clone, "commit", "--quiet", "--allow-empty", "-m", "page.bound: Home")
    child = Child(job(hosted), stop_at=point)
    try:
        child.stops()
        assert pushed(clone)
        assert newest(hosted, space_ref(SPACE)) == newest(clone, "HEAD")
        with embedded(hosted) as authority:
            assert authority.change(SPACE, Grant("bob")).epoch == 2
            assert authority.change(SPACE, Release("bob")).epoch == 2
            authority.create("third")
            # Whoever only looks is not held up even where it stands still.
            standing = authority.standing(OTHER)
            assert standing.head is not None
            assert standing.tenancy.lease is not None
            assert authority.held_by("alice") + authority.held_by("bob") == [OTHER]
    finally:
        child.goes_on()
    assert child.ends().said == [2 if job is changes_a_lease else 1]
