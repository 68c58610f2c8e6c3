"""Rights are asked under the lock of what they are about, for every call, on every ledger."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from shardd.authority.appending import append_drafts
from shardd.authority.authorities import Authorities
from shardd.authority.facts import Pusher
from shardd.authority.lease_clock import SystemTime
from shardd.authority.whole_log import import_events
from shardd.commands.caller import Command, Context
from shardd.commands.grants import RoleGrant, RoleRevoke
from shardd.commands.keys import KeyAdd, KeyRemove
from shardd.commands.principals import Retire
from shardd.core.codec import encode_event
from shardd.core.jsonl import Numbered
from shardd.core.lease import Acquire, Grant, Release, Renew, Revoke, Transfer
from shardd.core.objects import commit_oid
from shardd.core.policy import Reject
from shardd.core.push_facts import Candidate
from shardd.core.refs import Change, space_ref
from shardd.core.roles import Access, FileAccess, Rights, Role
from shardd.core.roles import Grant as Given
from shardd.errors import Rejected
from shardd.files.access import AccessFiles, PublicKey
from shardd.files.server_dir import ServerDir
from tests.authorities import LEDGERS, RIGHTS, Kept, backend_of, push
from tests.drafting import drafts

SPACE = "whynot"
NOBODY = Access()
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBnu1JDCxFC6Kly1SXPCYB0cuLNLhZMOu6r9+qBeCqpb alice@laptop"


class Lock:
    """Whether it is held, told by whoever takes it."""

    held = False

    @contextmanager
    def around(self, taken: AbstractContextManager[object]) -> Iterator[object]:
        with taken as inner:
            self.held = True
            try:
                yield inner
            finally:
                self.held = False


@pytest.fixture
def lock() -> Lock:
    return Lock()


Opened = Callable[[Rights, Rights], Kept]
"""An authority that is told of some rights where the lock is not held, and of others where it is."""


@dataclass(frozen=True)
class Shifting:
    """Some rights where the lock is not held, and others where it is."""

    lock: Lock
    outside: Rights
    inside: Rights

    @property
    def _now(self) -> Rights:
        return self.inside if self.lock.held else self.outside

    @property
    def owner(self) -> bool:
        return self._now.owner

    def role(self, principal: str, repo: str, space: str | None = None) -> Role:
        return self._now.role(principal, repo, space)

    def may_import(self, principal: str, repo: str, space: str) -> bool:
        return self._now.may_import(principal, repo, space)

    def is_admin(self, principal: str) -> bool:
        return self._now.is_admin(principal)

    def given(self, principal: str, repo: str, space: str | None = None) -> Role:
        return self._now.given(principal, repo, space)


@pytest.fixture(params=LEDGERS)
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Opened]:
    with ExitStack() as stack:
        backend = backend_of(request.param, tmp_path, SystemTime(), stack)
        first = backend.opened(FileAccess())
        first.create(SPACE)
        first.change(SPACE, Acquire("alice"))

        def authority(outside: Rights, inside: Rights) -> Kept:
            found = backend.opened(Shifting(lock, outside, inside))
            transaction = found.ledger.transaction
            around = lambda *args, **more: lock.around(transaction(*args, **more))  # noqa: E731
            monkeypatch.setattr(found.ledger, "transaction", around)
            return found

        yield authority


CALLS: dict[str, Callable[[Kept], object]] = {
    "create": lambda authority: authority.create("other"),
    "freeze": lambda authority: authority.freeze(SPACE, "moving"),
    "thaw": lambda authority: authority.freeze(SPACE, None),
    "acquire": lambda authority: authority.change(SPACE, Acquire("bob", ticket="bob's")),
    "renew": lambda authority: authority.change(SPACE, Renew("alice")),
    "release": lambda authority: authority.change(SPACE, Release("alice")),
    "transfer": lambda authority: authority.change(SPACE, Transfer("alice", "bob")),
    "grant": lambda authority: authority.change(SPACE, Grant("bob", force=True)),
    "revoke": lambda authority: authority.change(SPACE, Revoke()),
    "append": lambda authority: append_drafts(authority, SPACE, drafts("alice"), Pusher("alice")),
}


IMPORTER = Access(RIGHTS.grants | {Given("alice", "import", "garden")})


def by_push(authority: Kept, space: str, source_epoch: int | None = None) -> object:
    """alice pushes what bob is said to have decided, or what is said to be imported."""
    head = authority.existing(space)
    (one,) = drafts("bob" if source_epoch is None else "alice")
    raw = encode_event(one, parent=head.oid, seq=head.seq + 1, source_epoch=source_epoch)
    brought = [Candidate(commit_oid(raw), raw)]
    decision = push(authority, "alice", [Change(space_ref(space), head.oid, brought[0].oid)], brought)
    if isinstance(decision, Reject):
        raise decision.error()
    return decision


@pytest.mark.parametrize(
    ("way", "code"),
    [
        (lambda authority: by_push(authority, SPACE), "forged-actor"),
        (lambda authority: append_drafts(authority, SPACE, drafts("bob"), Pusher("alice")), "forged-actor"),
        (lambda authority: by_push(authority, SPACE, source_epoch=7), "bad-event"),
    ],
    ids=["a push of another's event", "an append of another's event", "a push of what looks imported"],
)
def test_the_role_import_serves_imports_alone(opened: Opened, way: Callable[[Kept], object], code: str) -> None:
    authority = opened(IMPORTER, IMPORTER)
    with pytest.raises(Rejected) as caught:
        way(authority)
    assert caught.value.code == code
    log = [Numbered(1, drafts("bob")[0], epoch=7)]
    import_events(authority, SPACE, log, Pusher("alice"))
    assert [event.actor for event in authority.events(SPACE)] == ["bob"]


@pytest.mark.parametrize("call", CALLS)
def test_rights_that_go_while_one_waits_for_the_lock_are_gone(opened: Opened, call: str) -> None:
    authority = opened(RIGHTS, NOBODY)
    before = authority.ledger.kept(SPACE)
    with pytest.raises(Rejected) as caught:
        CALLS[call](authority)
    assert caught.value.code == "not-permitted"
    after = authority.ledger.kept(SPACE)
    assert (after.tenancy, after.frozen) == (before.tenancy, before.frozen)
    assert authority.head("other") is None


@pytest.mark.parametrize("call", CALLS)
def test_rights_that_come_while_one_waits_for_the_lock_are_there(opened: Opened, call: str) -> None:
    CALLS[call](opened(NOBODY, RIGHTS))


def test_the_right_to_import_is_asked_again_once_the_log_is_there(opened: Opened) -> None:
    events = [Numbered(1, drafts("alice")[0])]
    with pytest.raises(Rejected) as caught:
        import_events(opened(FileAccess(), NOBODY), "other", events, Pusher("alice", unleased=True), create=True)
    assert caught.value.code == "not-permitted"
    assert opened(RIGHTS, RIGHTS).head("other") is None


@pytest.mark.parametrize("call", [Grant("mallory", force=True), Transfer("alice", "mallory")], ids=repr)
@pytest.mark.parametrize("rights", [RIGHTS, FileAccess(RIGHTS)], ids=["an admin", "the operator"])
def test_nobody_gives_the_lease_to_who_could_not_push(opened: Opened, call: Grant | Transfer, rights: Rights) -> None:
    with pytest.raises(Rejected, match="mallory needs the role append on garden/whynot, and has read"):
        opened(rights, rights).change(SPACE, call)


def test_whoever_may_write_the_files_of_a_repo_of_no_server_may_give_it_to_anybody(opened: Opened) -> None:
    assert opened(FileAccess(), FileAccess()).change(SPACE, Grant("mallory", force=True)).epoch == 2


EDITS: dict[str, Command] = {
    "role grant": RoleGrant("bob", "read", "garden"),
    "role revoke": RoleRevoke("alice", "append", "garden"),
    "key add": KeyAdd("bob", "-"),
    "key remove": KeyRemove("alice", "SHA256:none"),
    "principal retire": Retire("alice", yes=True),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_admin_who_is_one_no_more_when_the_files_are_his_to_edit(
    tmp_path: Path, lock: Lock, monkeypatch: pytest.MonkeyPatch, edit: str
) -> None:
    server = ServerDir.create(tmp_path / "server")
    server.access.grant(Given("alice", "append", "garden"))
    before = server.access.load()
    still = AccessFiles.still
    monkeypatch.setattr(AccessFiles, "still", lambda files: lock.around(still(files)))
    admin = Access(frozenset({Given("carol", "admin", "@all")}))
    context = Context(
        Authorities.open(server),
        "carol",
        lambda: NOBODY if lock.held else admin,
        opened=lambda file: io.BytesIO(f"{PublicKey.parse(KEY)}\n".encode()),
    )
    with pytest.raises(Rejected, match="carol needs the role admin on @all"):
        EDITS[edit].run(context)
    assert server.access.load() == before
