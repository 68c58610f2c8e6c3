"""Whatever is asked, by whatever way in, is told once: a line in the audit says who, what, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncssh
import pytest

from shardd.core.outcome import Kind, Outcome
from shardd.files.audit_log import Audit
from tests.e2e.conftest import begin, plant
from tests.e2e.harness import Actor, Garden, Result, Server, make_key, run, wait_until
from tests.e2e.needs import need
from tests.e2e.openssh import OpenSsh, find_sshd, me
from tests.e2e.test_ssh_limits import connected_as

WAYS = ("server", "openssh", "local")
OPENSSH = pytest.param("openssh", marks=pytest.mark.slow)
"""Each login through sshd starts Python three times; what all ways share, one test shows by this one."""


def audited(server: Server) -> list[Outcome]:
    found = list(Audit(server.root).read())
    assert all(isinstance(each, Outcome) for each in found)
    return [each for each in found if isinstance(each, Outcome)]


class Told:
    """What the audit has been told since this was made, logins left out."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = len(self._all())

    def _all(self) -> list[Outcome]:
        return [each for each in audited(self._server) if each.kind is not Kind.LOGIN]

    def once(self, kind: Kind, verdict: str = "ok") -> Outcome:
        """The one of this kind; and there is no other of any kind but fetches, which git itself may begin."""
        new = [each for each in self._all()[self._before :] if each.kind is kind or each.kind is not Kind.FETCH]
        assert [(each.kind, each.verdict) for each in new] == [(kind, verdict)], new
        return new[0]


@pytest.fixture
def told(server: Server, garden: Garden) -> Callable[[], Told]:
    return lambda: Told(server)


@pytest.fixture(scope="module")
def sshd(server: Server) -> Iterator[OpenSsh]:
    need("sshd", find_sshd())
    other = OpenSsh.beside(server)
    other.start()
    yield other
    other.stop()


def by(way: str, who: Actor, garden: Garden, request: pytest.FixtureRequest) -> tuple[Actor, Garden]:
    """The same person and place, by another way in: her clone's remote is set to it."""
    if way == "server":
        return who, garden
    if way == "local":
        who.git("remote", "set-url", "origin", str(garden.path))
        access = garden.server.root / "access.toml"
        text = access.read_text()
        if "[local]" not in text:
            access.write_text(f'{text}\n[local]\n{me()} = "{who.name}"\n')
        return who, garden
    sshd: OpenSsh = request.getfixturevalue("sshd")
    other = Actor(who.name, who.key, who.home, sshd)
    other.cwd = who.cwd
    there = Garden(sshd, garden.repo)
    url = f"ssh://{me()}@127.0.0.1:{sshd.port}/{garden.repo}.git"
    other.git("remote", "set-url", "origin", url)
    return other, there


def origin(way: str) -> str:
    return {"server": "ssh 127.0.0.1", "openssh": "openssh 127.0.0.1", "local": f"local {me()}"}[way]


@pytest.mark.parametrize("way", WAYS)
def test_a_push(
    garden: Garden, alice: Actor, told: Callable[[], Told], way: str, request: pytest.FixtureRequest
) -> None:
    alice.clone(garden)
    alice.event("one")
    before = garden.head()
    pusher, _ = by(way, alice, garden, request)
    now = told()
    assert not pusher.tries_to_push().ok
    refused = now.once(Kind.PUSH, "not-holder")
    assert refused.why.startswith("nobody holds the lease")
    now = told()
    pusher.push("-o", "lease=acquire")
    accepted = now.once(Kind.PUSH)
    assert accepted.what == f"spaces/whynot {before[:12]}..{alice.head()[:12]} -o lease=acquire"
    for each in (refused, accepted):
        assert (each.who, each.origin, each.repo, each.space) == ("alice", origin(way), garden.repo, "whynot")
        assert (each.key is None) == (way == "local")


@pytest.mark.parametrize("way", ("server", OPENSSH, "local"))
def test_a_push_that_is_refused_under_the_locks(
    garden: Garden, alice: Actor, told: Callable[[], Told], way: str, request: pytest.FixtureRequest
) -> None:
    """The first look lets it through: an index that does not hold the id is made good only under the lock."""
    alice.clone(garden)
    alice.event("one", None, "Event-Id: a")
    alice.push("-o", "lease=acquire")
    alice.event("two", None, "Event-Id: a")
    for index in (garden.path / "shardd" / "index").glob("*"):
        index.unlink()
    pusher, _ = by(way, alice, garden, request)
    now = told()
    assert not pusher.tries_to_push("-o", "lease=acquire").ok
    assert now.once(Kind.PUSH, "duplicate-event").space == "whynot"


@pytest.mark.parametrize("way", ("server", OPENSSH, "local"))
def test_a_push_that_the_site_refuses(
    garden: Garden, alice: Actor, told: Callable[[], Told], way: str, request: pytest.FixtureRequest
) -> None:
    alice.clone(garden)
    alice.event("one")
    pusher, _ = by(way, alice, garden, request)
    folder = garden.server.root / "site-hooks"
    folder.mkdir(exist_ok=True)
    hook = folder / "pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    try:
        now = told()
        assert not pusher.tries_to_push("-o", "lease=acquire").ok
    finally:
        hook.unlink()
    declined = now.once(Kind.PUSH, "declined")
    assert (declined.who, declined.space) == ("alice", "whynot")
    assert declined.what.startswith("spaces/whynot ")


@pytest.mark.parametrize("way", ("server", OPENSSH))
def test_a_push_that_is_measured_and_refused(
    garden: Garden, alice: Actor, told: Callable[[], Told], way: str, request: pytest.FixtureRequest
) -> None:
    alice.clone(garden)
    alice.event("one", {"text": "x" * 70_000})
    pusher, _ = by(way, alice, garden, request)
    now = told()
    assert not pusher.tries_to_push("-o", "lease=acquire").ok
    refused = now.once(Kind.PUSH, "too-large")
    assert (refused.who, refused.repo) == ("alice", garden.repo)
    assert refused.what.startswith("spaces/whynot")


@pytest.mark.parametrize("way", ("server", OPENSSH))
def test_a_push_of_nothing_and_one_whose_hooks_are_gone(
    garden: Garden, alice: Actor, told: Callable[[], Told], way: str, request: pytest.FixtureRequest
) -> None:
    alice.clone(garden)
    pusher, _ = by(way, alice, garden, request)
    now = told()
    pusher.push()
    assert now.once(Kind.PUSH).what == ""
    if way == "openssh":
        return  # each session mends the hooks first
    alice.event("one")
    hook = next((garden.server.root / "hooks").glob("*/proc-receive"))
    hook.chmod(0o644)
    try:
        now = told()
        assert not pusher.tries_to_push("-o", "lease=acquire").ok
    finally:
        hook.chmod(0o755)
    assert now.once(Kind.PUSH, "declined").what.startswith("spaces/whynot")


@pytest.mark.parametrize("way", ("server", OPENSSH))
def test_a_fetch(
    garden: Garden, alice: Actor, told: Callable[[], Told], way: str, request: pytest.FixtureRequest
) -> None:
    alice.clone(garden)
    reader, _ = by(way, alice, garden, request)
    now = told()
    reader.git("fetch", "origin")
    fetched = now.once(Kind.FETCH)
    assert (fetched.who, fetched.origin, fetched.repo) == ("alice", origin(way), garden.repo)
    now = told()
    url = alice.git("remote", "get-url", "origin").replace(garden.repo, "elsewhere")
    assert not reader.try_git("ls-remote", url).ok
    refused = now.once(Kind.FETCH, "not-permitted")
    assert refused.who == "alice"


def asked(way: str, who: Actor, request: pytest.FixtureRequest) -> Callable[[str], Result]:
    """How to ask for a command by this way in."""
    if way == "server":
        return who.try_ssh
    if way == "host":
        return lambda command: who.server.host(*command.split(), "--as", who.name)
    sshd: OpenSsh = request.getfixturevalue("sshd")
    (who.home / "known_hosts").write_text(sshd.known_hosts())
    words = [*who.ssh_words, "-p", str(sshd.port), f"{me()}@127.0.0.1"]
    return lambda command: run([*words, command], cwd=who.home, env=who.env())


@pytest.mark.parametrize("way", ("server", OPENSSH, "host"))
def test_a_command_and_a_lease_call(
    garden: Garden, alice: Actor, told: Callable[[], Told], way: str, request: pytest.FixtureRequest
) -> None:
    ask = asked(way, alice, request)
    cases = {
        "whoami": (Kind.COMMAND, "ok", "whoami", None),
        f"space show {garden}": (Kind.COMMAND, "ok", "space show", garden.space),
        f"space freeze {garden} moving": (Kind.COMMAND, "not-permitted", "space freeze message=moving", garden.space),
        "nonsense at all": (Kind.COMMAND, "usage", "nonsense at", None),
        f"append {garden} note --epoch one {{}}": (Kind.COMMAND, "usage", f"append {garden}", None),
        f"lease acquire {garden} --fenced": (Kind.LEASE, "ok", "lease acquire --fenced", garden.space),
        f"lease release {garden}": (Kind.LEASE, "stale-epoch", "lease release", garden.space),
        f"lease release {garden} --epoch 1": (Kind.LEASE, "ok", "lease release epoch=1", garden.space),
        f"lease renew {garden}": (Kind.LEASE, "not-holder", "lease renew", garden.space),
        f"lease show {garden}": (Kind.COMMAND, "ok", "lease show", garden.space),
        "help": (Kind.COMMAND, "ok", "help", None),
    }
    where = f"host {me()}" if way == "host" else origin(way)
    for command, (kind, verdict, what, space) in cases.items():
        now = told()
        assert ask(command).ok == (verdict == "ok"), command
        found = now.once(kind, verdict)
        assert (found.who, found.origin, found.what, found.space) == ("alice", where, what, space)
        assert (found.key is None) == (way == "host")


def test_what_an_event_holds_is_nobodys_affair(garden: Garden, alice: Actor, told: Callable[[], Told]) -> None:
    now = told()
    alice.ssh(f'append {garden} sacred.type hidden --force --body \'{{"a":"secret"}}\' --id private --take-lease')
    assert now.once(Kind.COMMAND).what == "append --force --take-lease"
    now = told()
    alice.denied("usage", f'append {garden} sacred.type hidden \'{{"a":"secret"}}\'')
    assert now.once(Kind.COMMAND, "usage").what == f"append {garden}"
    now = told()
    alice.denied("bad-event", f"append {garden} secret! --take-lease")
    assert now.once(Kind.COMMAND, "bad-event").why == "type"
    now = told()
    alice.try_ssh(f"append {garden} --lines --take-lease", input=b'{"type":"ok","data":{"a":"secret"}}\n{"type":"!"}\n')
    assert now.once(Kind.COMMAND, "bad-event").what == "append --take-lease --lines"
    text = "".join(path.read_text() for path in (garden.server.root / "audit").glob("*.jsonl"))
    assert not any(word in text for word in ("sacred", "hidden", "secret", "private"))
    log = garden.server.log.read_text()
    assert not any(word in log for word in ("sacred", "hidden", "secret", "private"))


def test_who_has_no_role_and_who_asks_for_a_shell(server: Server, keys: dict[str, Path], tmp_path: Path) -> None:
    (server.root / "keys" / "nobody.pub").write_bytes(make_key(tmp_path / "key").with_suffix(".pub").read_bytes())
    nobody = Actor("nobody", tmp_path / "key", tmp_path / "home", server)
    now = Told(server)
    assert not nobody.try_ssh("space list").ok
    assert now.once(Kind.COMMAND, "not-permitted").what == "space list"
    now = Told(server)
    assert not nobody.try_ssh("").ok
    assert now.once(Kind.COMMAND, "usage").who == "nobody"


def test_a_login_accepted_and_refused(server: Server, alice: Actor, tmp_path: Path) -> None:
    def logins() -> list[Outcome]:
        return [each for each in audited(server) if each.kind is Kind.LOGIN]

    before = len(logins())
    alice.ssh("whoami")
    (accepted,) = logins()[before:]
    assert (accepted.who, accepted.verdict, accepted.origin) == ("alice", "ok", "ssh 127.0.0.1")
    key = asyncssh.read_public_key(alice.key.with_suffix(".pub")).get_fingerprint()
    assert accepted.key == key
    stranger = Actor("stranger", make_key(tmp_path / "strange"), tmp_path / "stranger", server)
    assert stranger.try_ssh("whoami").status == 255
    wait_until(lambda: len(logins()) > before + 1, "the refused login is told")
    (refused,) = logins()[before + 1 :]
    offered = asyncssh.read_public_key(tmp_path / "strange.pub").get_fingerprint()
    assert (refused.who, refused.verdict, refused.key) == (None, "no-principal", offered)
    assert "not registered" in refused.why
    assert (server.root / "audit" / "strangers" / "current.jsonl").exists()


def test_who_only_looks_whether_somebody_listens_has_asked_for_nothing(server: Server, alice: Actor) -> None:
    before = audited(server)
    scanned = run(["ssh-keyscan", "-p", str(server.port), "127.0.0.1"], cwd=alice.home, env=alice.env())
    assert "ssh-ed25519" in scanned.stdout
    alice.ssh("whoami")
    new = audited(server)[len(before) :]
    assert [(each.kind, each.who) for each in new if each.at] == [(Kind.LOGIN, "alice"), (Kind.COMMAND, "alice")]


def test_a_client_that_leaves_in_the_middle(server: Server, garden: Garden, alice: Actor, bob: Actor) -> None:
    now = Told(server)

    async def ask(conn: asyncssh.SSHClientConnection) -> None:
        push = await conn.create_process(f"git-receive-pack {garden.repo}.git", encoding=None)
        await push.stdout.readexactly(4)
        push.channel.abort()

    connected_as(alice, ask)
    wait_until(lambda: bool(now._all()[now._before :]), "it is told")
    assert now.once(Kind.PUSH, "gone").who == "alice"


def test_the_command_shows_it_with_filters(server: Server, garden: Garden, alice: Actor, carol: Actor) -> None:
    alice.ssh(f"lease acquire {garden}")
    alice.denied("not-permitted", f"space freeze {garden} why")
    lines = carol.ssh(f"audit --repo {garden.repo} --who alice").splitlines()
    assert len(lines) == 2
    assert f"alice         lease    {garden}  " in lines[0]
    assert "  not-permitted    space freeze message=why  (ssh 127.0.0.1 SHA256:" in lines[1]

    def shown(*filters: str) -> list[tuple[str, str]]:
        values = carol.ssh(" ".join(["audit --json", "--repo", garden.repo, *filters])).splitlines()
        return [(value["kind"], value["verdict"]) for value in map(json.loads, values)]

    both = [("lease", "ok"), ("command", "not-permitted")]
    assert shown("--who alice") == both
    assert shown("--who alice --space whynot --since 1h") == both
    assert shown("--who alice --space other") == shown("--who bob") == shown("--since 2100-01-01T00:00:00Z") == []
    assert shown("--who alice --kind lease") == shown("--who alice --verdict ok") == both[:1]
    assert shown("--verdict refused") == shown("--verdict not-permitted") == both[1:]
    alice.denied("not-permitted", "audit")
    carol.denied("usage", "audit --since yesterday", says=["is no time"])
    carol.denied("usage", "audit --since 20260101", says=["is no time"])
    carol.denied("usage", "audit --kind thing", says=["is no kind"])
    host = server.host("audit", "--json", "--repo", garden.repo, "--who", "alice").must().stdout.splitlines()
    first = json.loads(host[0])
    assert first["who"] == "alice"
    assert first["at"].endswith("Z")
    assert set(first) == set(Outcome.__struct_fields__)


# What follows has a server of its own.


def test_a_log_of_json_and_an_audit_that_cannot_be_written(keys: dict[str, Path], tmp_path: Path) -> None:
    """Nothing is refused for it; the log says so once, and once that it is written again."""
    server = begin(tmp_path, keys, settings='log = "json"\n')
    try:
        alice = Actor("alice", keys["alice"], tmp_path / "alice", server)
        garden = plant(server)
        alice.ssh("whoami")
        (server.root / "audit").rename(server.root / "audit-aside")
        (server.root / "audit").write_text("in the way")
        alice.clone(garden)
        alice.event("one")
        alice.push("-o", "lease=acquire")
        alice.ssh("whoami")
        (server.root / "audit").unlink()
        alice.ssh("whoami")
    finally:
        server.stop()
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert sum("the audit is not written" in line["event"] for line in lines) == 1
    assert sum("the audit is written again, and lacks" in line["event"] for line in lines) == 1
    outcomes = [line for line in lines if line["logger"] == "shardd.outcome"]
    (pushed,) = (line for line in outcomes if line["event"] == "push")
    assert (pushed["who"], pushed["verdict"], pushed["space"], pushed["level"]) == ("alice", "ok", "whynot", "info")
    assert pushed["took"] >= pushed["waited"]
    assert [each.what for each in audited(server)][-1:] == ["whoami"]


def test_a_cut_line_spoils_no_other(keys: dict[str, Path], tmp_path: Path) -> None:
    server = begin(tmp_path, keys)
    try:
        carol = Actor("carol", keys["carol"], tmp_path / "carol", server)
        carol.ssh("whoami")
        with (server.root / "audit" / "current.jsonl").open("ab") as file:
            file.write(b'{"kind":"push","at":1')
        said = carol.ssh("audit").splitlines()
        assert [line.split()[2] for line in said if not line.startswith("(")] == ["login", "command", "login"]
        assert said[2] == "(line 3 of current.jsonl does not read)"
        values = [json.loads(line) for line in carol.ssh("audit --json").splitlines()]
        assert [value["unreadable"] for value in values if "unreadable" in value] == [
            {"file": "current.jsonl", "line": 3}
        ]
    finally:
        server.stop()
