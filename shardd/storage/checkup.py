"""The doctor's look over one authoritative repo: configuration, refs, index, leases, leftovers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from shardd.core.names import LEASES, SPACES, IntentRef, LeaseRef, OtherRef, SpaceRef, classify, lease_ref
from shardd.errors import SharddError
from shardd.storage import reflocks
from shardd.storage.authority import EmbeddedAuthority
from shardd.storage.clock import SystemTime
from shardd.storage.doctor import Finding, leftovers
from shardd.storage.facts import plain_patterns, plainly
from shardd.storage.locks import PACKED_REFS, lock_of, locked
from shardd.storage.repository import Repository, hardened

T = TypeVar("T")

_DRIFT = 60_000  # milliseconds between the lease clock and the wall clock that nobody minds


def examine_repo(authority: EmbeddedAuthority, *, hooks: str, now: float | None = None) -> Iterator[Finding]:
    """Everything about one repo. hooks: what its core.hooksPath must be; now: see examine"""
    repository = authority.place.repository
    now = time.time() if now is None else now
    yield from _configuration(repository, hardened(authority.place.limits, hooks=hooks))
    yield from _refs(authority)
    yield from _leases(authority)
    problem = authority.place.index.problem(repository)
    if problem is not None:
        where = str(repository.state / "index.db")
        yield Finding("warning", where, problem, "remove it: it is made anew", authority.place.index.reset)
    yield from _locks(repository)
    path = repository.path
    for pattern in ("objects/tmp_*", "objects/pack/tmp_*", "objects/??/tmp_obj_*", "objects/pack/.tmp-*"):
        yield from leftovers(path.glob(pattern), now)
    for name in ("info/grafts", "shallow", "objects/info/alternates"):
        if (path / name).exists():
            said = "makes git see another history than what is stored here"
            yield Finding("broken", str(path / name), said, "remove it, after a look at who put it there")


def _configuration(repository: Repository, wanted: dict[str, str]) -> Iterator[Finding]:
    for name, value in wanted.items():
        found = repository.git.values(name)
        if found != [value]:
            is_set = f"is {', '.join(found)}" if found else "is not set"
            yield Finding(
                "broken",
                str(repository.path / "config"),
                f"{name} {is_set}, and must be {value}",
                f"git -C {repository.path} config --replace-all {name} {value}",
                partial(repository.git.run, "config", "--replace-all", name, value),
            )


def _refs(authority: EmbeddedAuthority) -> Iterator[Finding]:
    repository = authority.place.repository
    listed = repository.refs_below("refs/")
    patterns = plain_patterns(authority.place)
    spaces = [ref for ref in listed if isinstance(classify(ref), SpaceRef)]
    for ref in listed:
        where = f"{ref} in {repository.path}"
        remove = f"git -C {repository.path} update-ref -d {ref}"
        found = classify(ref)
        raw = repository.read_ref(ref)
        if raw is not None and raw.startswith("ref: "):
            yield Finding("broken", where, "is a symbolic ref, which no rule looks through", remove)
        elif ref.startswith("refs/replace/"):
            yield Finding("broken", where, "replaces an object for whoever reads with git's defaults", remove)
        elif isinstance(found, OtherRef) and not plainly(ref, patterns):
            yield Finding("warning", where, "is none that this repo takes", remove)
        elif isinstance(found, LeaseRef | IntentRef) and f"{SPACES}{found.space}" not in listed:
            yield Finding("warning", where, f"belongs to no space: {found.space} does not exist", remove)
    head = repository.read_ref("HEAD") or ""
    if spaces and head.removeprefix("ref: ") not in listed:
        where, what = str(repository.path / "HEAD"), "points at nothing: a clone checks nothing out"
        to = spaces[0]
        mend = partial(repository.point_head, to)
        yield Finding("warning", where, what, f"git -C {repository.path} symbolic-ref HEAD {to}", mend)


def _leases(authority: EmbeddedAuthority) -> Iterator[Finding]:
    repository = authority.place.repository
    where = str(repository.state / "authority.db")
    try:
        ahead = authority.clock().time - SystemTime().wall()
        for ref in repository.refs_below(SPACES):
            space = ref.removeprefix(SPACES)
            published = repository.read_ref(lease_ref(space))
            for _ in authority.history(space):
                pass  # Corrupt where an entry does not read
            if authority.agrees(space, published):
                continue
            with locked(repository.locks, [space]):  # a lease call may have been on its way
                agreed = authority.agrees(space, repository.read_ref(lease_ref(space)))
            if not agreed:
                what = f"{LEASES}{space} and the leases do not agree: a crash came between"
                mend = partial(_settle, authority, space)
                yield Finding("warning", where, what, "the next lease call settles it", mend)
    except SharddError as error:
        yield Finding("broken", where, error.message, error.remedy)
        return
    if abs(ahead) > _DRIFT:
        what = f"the lease clock is {abs(ahead) // 1000} s {'ahead of' if ahead > 0 else 'behind'} the wall clock"
        said = "nothing: leases are measured on a clock of their own, which nobody sets; check the time of this machine"
        yield Finding("warning", where, what, said)


def _settle(authority: EmbeddedAuthority, space: str) -> None:
    with authority.hold([space]):
        pass  # brought into order on entry


def _locks(repository: Repository) -> Iterator[Finding]:
    """Git's lock files. Removed is only what belongs to nobody; see storage/reflocks.py."""
    for path in _lock_files(repository):
        lock = _lock_of(repository, path)
        # Of our own git, and not that of a call which is on its way.
        dead = reflocks.is_ours(path) and _under(repository, lock, partial(reflocks.is_ours, path))
        if dead or reflocks.is_abandoned(path, repository.path):
            what, how = "a killed git left its lock behind", "the next push removes it; or mend it here"
            name = str(path.relative_to(repository.path))
            mend = partial(_under, repository, lock, partial(reflocks.clear, repository.path, [name]))
            yield Finding("broken", str(path), what, how, mend)
        elif path.exists():
            what = "another git holds this lock, or was killed"
            how = "look again in ten minutes; remove it once no git runs in this repo"
            yield Finding("warning", str(path), what, how)


def _under(repository: Repository, lock: str, work: Callable[[], T]) -> T:
    with locked(repository.locks, [lock]):
        return work()


def _lock_of(repository: Repository, path: Path) -> str:
    """The lock that our git is under when it makes this file."""
    name = path.relative_to(repository.path).with_suffix("")
    if str(name) == "packed-refs":
        return PACKED_REFS
    if str(name) == "HEAD":
        return lock_of((repository.read_ref("HEAD") or "").removeprefix("ref: "))
    return lock_of(str(name))


def _lock_files(repository: Repository) -> Iterator[Path]:
    path = repository.path
    yield from (path / "refs").rglob("*.lock")
    yield from (
        path / name
        for name in ("HEAD.lock", "packed-refs.lock", "packed-refs.new", "config.lock")
        if (path / name).exists()
    )
