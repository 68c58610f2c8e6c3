"""Authorities to test, and the events to feed them: alike for whatever keeps the leases."""

from __future__ import annotations

import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from shardd.authority.authorities import EmbeddedAuthority, embedded_authority
from shardd.authority.authority import Authority
from shardd.authority.embedded_ledger import EmbeddedLedger
from shardd.authority.facts import Pusher, parse_options
from shardd.authority.lease_clock import TimeSource
from shardd.authority.ledger import Incoming, Ledger
from shardd.authority.memory_ledger import MemoryLedger
from shardd.core.append import encode_batch
from shardd.core.event import Draft, Head
from shardd.core.limits import Limits
from shardd.core.objects import EMPTY_TREE
from shardd.core.policy import Accept, Decision
from shardd.core.push_facts import Candidate
from shardd.core.refs import Change
from shardd.core.roles import Access, Grant, Rights
from shardd.git.pushed_objects import PushedObjects
from shardd.git.repository import Repository, create_bare
from tests.drafting import drafts

PEOPLE = ("alice", "bob", "carol", "dave")
ADMIN = "root"
"""In whose name the authorities of tests begin and freeze spaces, and grant and revoke leases."""
RIGHTS = Access(
    frozenset(
        {Grant(name, "append", "garden") for name in PEOPLE}
        | {Grant("mallory", "read", "garden"), Grant(ADMIN, "admin", "garden")}
    )
)


Kept: TypeAlias = Authority[Ledger]


@dataclass(frozen=True, slots=True)
class Backend:
    """One ledger. `handle` gives another authority over it, as another thread or process would have."""

    name: str
    handle: Callable[[Rights], Kept]

    def opened(self, rights: Rights = RIGHTS) -> Kept:
        return self.handle(rights)


LEDGERS = ("memory", "embedded")
"""All that the contract suite runs over."""


def backend_of(name: str, folder: Path, source: TimeSource, stack: ExitStack) -> Backend:
    """The ledger of that name. stack: closes what is opened"""
    if name == "memory":
        ledger = MemoryLedger(source=source)
        return Backend(name, lambda rights: Authority(ledger, label="garden", rights=lambda: rights, by=ADMIN))
    path = make_repo(folder / "garden.git")
    return Backend(name, lambda rights: stack.enter_context(embedded(path, source=source, rights=rights)))


def make_repo(path: Path) -> Path:
    assert create_bare(path, hooks="shardd/hooks", limits=Limits())
    return path


@contextmanager
def embedded(path: Path, *, source: TimeSource | None = None, rights: Rights = RIGHTS) -> Iterator[EmbeddedAuthority]:
    with Repository(path) as repository:
        yield embedded_authority(repository, label="garden", rights=lambda: rights, by=ADMIN, source=source)


def commits(
    head: Head, actor: str, *, epoch: int | None = None, count: int = 1, events: Sequence[Draft] | None = None
) -> list[Candidate]:
    """Events of `actor` chained onto `head`, as a pusher would bring them."""
    batch = encode_batch(events or drafts(actor, count), head, epoch=epoch)
    return [Candidate(oid, raw) for oid, raw in batch]


def bring(authority: Kept, brought: Sequence[Candidate]) -> Incoming:
    """A push of these commits; in git as it leaves them to proc-receive: loose, and no ref names them yet."""
    ledger = authority.ledger
    if isinstance(ledger, MemoryLedger):
        return ledger.incoming(brought)
    assert isinstance(ledger, EmbeddedLedger)
    for oid, stored in [
        (EMPTY_TREE, b"tree 0\0"),
        *((each.oid, b"commit %d\0" % len(each.raw) + each.raw) for each in brought),
    ]:
        loose = ledger.repository.path / "objects" / oid[:2] / oid[2:]
        loose.parent.mkdir(exist_ok=True)
        made = loose.with_name(f"tmp_obj_{threading.get_ident()}")
        made.write_bytes(zlib.compress(stored, 1))
        made.rename(loose)
    return PushedObjects(ledger.repository)


def push(
    authority: Kept, who: str, moves: Sequence[Change], brought: Sequence[Candidate] = (), *words: str
) -> Decision:
    """`git push -o WORD`."""
    return authority.push(moves, parse_options(words), lambda: Pusher(who), bring(authority, brought))


def code(decision: Decision) -> str:
    return "" if isinstance(decision, Accept) else decision.code


def together(jobs: list[Callable[[], None]]) -> None:
    """Run them at once; the first failure of any is ours."""
    failures: list[BaseException] = []
    gate = threading.Barrier(len(jobs))

    def run(job: Callable[[], None]) -> None:
        try:
            gate.wait()
            job()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def loosen(path: Path) -> Path:
    """Unpack all objects of a bare repo, for tests that damage one of them; its path."""
    packs = list((path / "objects" / "pack").glob("pack-*.pack"))
    for pack in packs:
        for part in pack.parent.glob(f"{pack.stem}.*"):
            part.rename(path / part.name)
        with (path / pack.name).open("rb") as file:
            subprocess.run(["git", "-C", str(path), "unpack-objects", "-q"], stdin=file, check=True)
        for part in path.glob(f"{pack.stem}.*"):
            part.unlink()
    return path
