"""The doctor's look over one authoritative repo: configuration, refs, index, leases, leftovers."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from shardd.authority import move_record
from shardd.authority.authorities import EmbeddedAuthority
from shardd.authority.lease_clock import SystemTime, read
from shardd.core.refs import LEASES, OtherRef, SpaceRef, classify, family_at, lease_ref, lock_of, space_ref
from shardd.errors import SharddError, Unavailable
from shardd.files.space_locks import PACKED_REFS, locked
from shardd.git import aside, kept_packs, ref_locks
from shardd.git.plain_refs import plain_patterns, plainly
from shardd.git.repository import Repository, hardened
from shardd.upkeep.doctor import OLD, Finding, leftovers

_LITTER = (
    *("shardd/index/.*", "shardd/leases/.*"),  # ours, half written
    *("objects/tmp_*", "objects/??/tmp_obj_*"),  # git's
    *("objects/pack/tmp*", "objects/pack/.tmp-*", "objects/pack/pack-*.lock"),  # git's and dulwich's
)
_GITS_KEEP = re.compile(r"(?:receive|fetch)-pack (\d+) on (\S+)\s*\Z")

T = TypeVar("T")

_DRIFT = 60_000  # milliseconds between the lease clock and the wall clock that nobody minds


def examine_repo(authority: EmbeddedAuthority, *, hooks: str, now: float | None = None) -> Iterator[Finding]:
    """Everything about one repo. hooks: what its core.hooksPath must be; now: see examine"""
    repository = authority.ledger.repository
    now = time.time() if now is None else now
    yield from _configuration(repository, hardened(authority.limits, hooks=hooks))
    yield from _refs(authority)
    yield from _leases(authority)
    yield from _indexes(authority)
    yield from _locks(repository)
    path = repository.path
    for pattern in _LITTER:
        yield from leftovers(path.glob(pattern), now)
    yield from _packs(repository, now)
    for name in ("info/grafts", "shallow", "objects/info/alternates"):
        if (path / name).exists():
            said = "makes git see another history than what is stored here"
            yield Finding("broken", str(path / name), said, "remove it, after a look at who put it there")


def _configuration(repository: Repository, wanted: dict[str, str]) -> Iterator[Finding]:
    there = repository.git.settings()
    for name, value in wanted.items():
        found = there.get(name.lower(), [])
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
    repository = authority.ledger.repository
    listed = repository.refs_below("refs/")
    patterns = plain_patterns(repository.git)
    spaces = [ref for ref in listed if isinstance(classify(ref), SpaceRef)]
    for ref in listed:
        where = f"{ref} in {repository.path}"
        remove = f"git -C {repository.path} update-ref --no-deref -d {ref}"
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


def _indexes(authority: EmbeddedAuthority) -> Iterator[Finding]:
    repository = authority.ledger.repository
    index = authority.ledger.index
    for space in repository.spaces():
        problem = index.problem(repository, space)
        if problem is not None:
            with locked(repository.locks, [space]):  # what a killed process left half done is nothing to worry about
                problem = index.problem(repository, space, mending=True)
        if problem is not None:
            mend = partial(_reset_index, authority, space)
            yield Finding("warning", str(index.path(space)), problem, "remove it: it is made anew", mend)
    old = repository.state / "index.db"
    if old.exists():
        said = "is of an earlier shardd, and used no more"
        yield Finding("warning", str(old), said, "remove it", partial(old.unlink, missing_ok=True))


def _reset_index(authority: EmbeddedAuthority, space: str) -> None:
    with locked(authority.ledger.repository.locks, [space]):
        authority.ledger.index.reset(space)


def _leases(authority: EmbeddedAuthority) -> Iterator[Finding]:
    for space in authority.ledger.repository.spaces():
        try:
            yield from _leases_of(authority, space)
        except SharddError as error:
            yield Finding("broken", str(authority.ledger.leases.path(space)), error.message, error.remedy)


def _leases_of(authority: EmbeddedAuthority, space: str) -> Iterator[Finding]:
    repository = authority.ledger.repository
    where = str(authority.ledger.leases.path(space))
    ahead = read(SystemTime(), authority.ledger.leases.mark(space)).time - SystemTime().wall()
    published = repository.read_ref(lease_ref(space))
    for _ in authority.history(space):
        pass  # Corrupt where an entry does not read
    if published != _remembered(authority, space):
        with locked(repository.locks, [space]):  # a lease call may have been on its way
            agreed = repository.read_ref(lease_ref(space)) == _remembered(authority, space)
        if not agreed:
            what = f"{LEASES}{space} and the leases do not agree: a crash came between"
            mend = partial(_settle, authority, space)
            yield Finding("warning", where, what, "the next lease call settles it", mend)
    if abs(ahead) > _DRIFT:
        what = f"the lease clock is {abs(ahead) // 1000} s {'ahead of' if ahead > 0 else 'behind'} the wall clock"
        said = "nothing: leases are measured on a clock of their own, which nobody sets; check the time of this machine"
        yield Finding("warning", where, what, said)


def _remembered(authority: EmbeddedAuthority, space: str) -> str | None:
    """The newest entry of the journal, as the leases know it."""
    record = authority.ledger.leases.load(space)
    return None if record is None else record.journal


def _settle(authority: EmbeddedAuthority, space: str) -> None:
    with authority.hold([space]):
        pass  # brought into order on entry


def _packs(repository: Repository, now: float) -> Iterator[Finding]:
    """What killed processes left of packs that were on their way."""
    path = repository.path
    killed = "was left behind by a process that was killed"
    for folder in aside.folders(repository.state):
        if aside.clear(folder, remove=False):
            yield Finding("warning", str(folder), killed, "remove it", partial(aside.clear, folder))
    for keep, locks in kept_packs.keeps(path):
        if _unlocked(repository, locks, keep.exists):
            mend = partial(_discard, repository, locks, keep)
            yield Finding("warning", str(keep), killed, "the next append removes it; or mend it here", mend)
    for keep in (path / "objects/pack").glob("pack-*.keep"):
        with contextlib.suppress(OSError):
            said = _GITS_KEEP.match(keep.read_text(errors="replace"))
            here = said is not None and said[2] == socket.gethostname() and not Path(f"/proc/{said[1]}").exists()
            if here and now - keep.stat().st_mtime > OLD:
                yield Finding("warning", str(keep), killed, "remove it", partial(keep.unlink, missing_ok=True))
    for pack in (path / "objects/pack").glob("pack-*.pack"):
        if not pack.with_suffix(".idx").exists() and not pack.with_suffix(".keep").exists():
            with contextlib.suppress(FileNotFoundError):
                if now - pack.stat().st_mtime > OLD:
                    what = "has no index: it was never complete, or its index was lost"
                    yield Finding("warning", str(pack), what, f"git index-pack {pack}; remove it if that fails")


def _discard(repository: Repository, locks: frozenset[str], keep: Path) -> None:
    """What is in the pack may be what a killed push has yet to show: that is brought to its end first."""
    with move_record.settled(repository, {min(locks)}):
        kept_packs.discard(keep)


def _unlocked(repository: Repository, locks: frozenset[str], act: Callable[[], object]) -> bool:
    """Act under one of these locks, which prove that whoever held them all is gone; whether that came to anything."""
    try:
        with locked(repository.locks, sorted(locks)[:1], patience=0):
            return act() is not False
    except Unavailable:
        return False


def _locks(repository: Repository) -> Iterator[Finding]:
    """Git's lock files. Removed is only what belongs to nobody; see git/ref_locks.py."""
    for path in _lock_files(repository):
        lock = _lock_of(repository, path)
        # Of our own git, and not that of a call which is on its way.
        dead = ref_locks.is_ours(path) and _under(repository, lock, partial(ref_locks.is_ours, path))
        if dead or ref_locks.is_abandoned(path, repository.path):
            what, how = "a killed git left its lock behind", "the next push removes it; or mend it here"
            name = str(path.relative_to(repository.path))
            mend = partial(_under, repository, lock, partial(ref_locks.clear, repository.path, [name]))
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
        return lock_of(classify((repository.read_ref("HEAD") or "").removeprefix("ref: ")))
    return lock_of(classify(str(name)))


def _lock_files(repository: Repository) -> Iterator[Path]:
    path = repository.path
    yield from (path / "refs").rglob("*.lock")
    yield from (
        path / name
        for name in ("HEAD.lock", "packed-refs.lock", "packed-refs.new", "config.lock")
        if (path / name).exists()
    )
