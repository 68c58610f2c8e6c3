"""The doctor's look over one authoritative repo: configuration, refs, index, leases, leftovers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from shardd.core.refs import LEASES, SPACES, OtherRef, SpaceRef, classify, family_at, lease_ref, lock_of, space_ref
from shardd.errors import SharddError
from shardd.storage.authority import EmbeddedAuthority
from shardd.storage.clock import SystemTime
from shardd.storage.doctor import Finding, leftovers
from shardd.storage.facts import plain_patterns, plainly
from shardd.storage.locks import locked
from shardd.storage.repository import Repository, hardened

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
        elif (family := family_at(ref)) is not None and family.harm is not None:
            yield Finding("broken", where, family.harm, remove)
        elif isinstance(found, OtherRef) and not plainly(ref, patterns):
            yield Finding("warning", where, "is none that this repo takes", remove)
        elif found.space is not None and space_ref(found.space) not in listed:
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
    """Git's lock files. What stands there under the ref's own lock is nobody's."""
    for path in _lock_files(repository):
        ref = str(path.relative_to(repository.path)).removesuffix(".lock")
        found = classify(ref)
        if not isinstance(found, OtherRef):
            with locked(repository.locks, [lock_of(found)]):
                left = path.exists()
            if left:
                what, how = "a killed git left its lock behind", "the next push removes it; or mend it here"
                yield Finding("broken", str(path), what, how, partial(_unlock, repository, lock_of(found), path))
        else:
            what, how = "a killed git may have left its lock behind", "remove it if no git runs in this repo"
            yield Finding("warning", str(path), what, how)


def _lock_files(repository: Repository) -> Iterator[Path]:
    path = repository.path
    yield from (path / "refs").rglob("*.lock")
    yield from (path / name for name in ("HEAD.lock", "packed-refs.lock", "config.lock") if (path / name).exists())


def _unlock(repository: Repository, lock: str, path: Path) -> None:
    with locked(repository.locks, [lock]), contextlib.suppress(FileNotFoundError):
        path.unlink()
