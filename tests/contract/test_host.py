"""The operator's side: what is refused before anything is made, whose files they are, and disks that say no."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import logging
import os
import pwd
import shutil
import stat
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shardd.authority.authorities import Authorities
from shardd.authority.moved import Pause
from shardd.cli.main import main
from shardd.commands import leases
from shardd.commands.caller import Context
from shardd.commands.import_export import import_lines
from shardd.commands.result import AnyAnswer
from shardd.core.jsonl import Numbered, encode_numbered
from shardd.core.lease import Acquire, Release
from shardd.core.names import Address
from shardd.core.roles import ALL, FileAccess, Grant
from shardd.errors import Misuse, Rejected, Unavailable
from shardd.files.access import PublicKey
from shardd.files.server_dir import ServerDir
from shardd.git.program import Git
from shardd.logs.git_log import GitLog
from shardd.logs.memory_log import MemoryLog
from shardd.service import daemon, log_output
from shardd.service.listener import host_keys, listen
from shardd.service.session import Service
from shardd.version import VERSION
from tests.drafting import drafts

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBnu1JDCxFC6Kly1SXPCYB0cuLNLhZMOu6r9+qBeCqpb alice@laptop\n"
NOBODY = pwd.getpwnam("nobody").pw_uid
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB\n"
THIRD_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAC\n"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away, or become somebody else")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "server"
    authorities = Authorities.open(ServerDir.create(root))
    authorities.create("garden")
    with authorities.repo("garden", FileAccess) as authority:
        authority.create("whynot")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "server", symlinks=True)


Said = Callable[..., tuple[int, str]]


@pytest.fixture
def shardd(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Said:
    """One command: its exit status, and what it said."""
    monkeypatch.setattr(log_output, "configure", lambda style: None)
    # `shell` silences it for good: its process is over then, and this one is not.
    monkeypatch.setattr(logging.getLogger("shardd.files"), "disabled", False)

    def run(*words: str | Path) -> tuple[int, str]:
        status = main([str(word) for word in words])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return status, said.out + said.err

    return run


def tree(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


# --- init


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (KEY + "junk\n", "one public key is expected, not 2 lines"),
        (KEY + KEY, "one public key is expected, not 2 lines"),
        (KEY.replace("\n", "\rrm\n"), "control characters"),
        ("", "one public key is expected, not 0 lines"),
        ("\x00\xff junk", "is not an OpenSSH public key"),
    ],
    ids=["junk after it", "two of them", "a comment of two lines", "empty", "no key"],
)
@pytest.mark.parametrize("there", [False, True], ids=["new", "an empty folder"])
def test_init_with_a_wrong_key_makes_nothing(shardd: Said, tmp_path: Path, key: str, says: str, there: bool) -> None:
    (tmp_path / "key.pub").write_text(key, encoding="latin-1", newline="")
    if there:
        (tmp_path / "server").mkdir(mode=0o700)
    before = tree(tmp_path)
    status, said = shardd("init", tmp_path / "server", "--admin", "alice", tmp_path / "key.pub")
    assert (status, says in said) == (2, True), said
    assert tree(tmp_path) == before


def test_what_fails_halfway_leaves_nothing(shardd: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "keys")

    (tmp_path / "key.pub").write_text(KEY)
    (tmp_path / "there").mkdir(mode=0o700)
    before = tree(tmp_path)
    for part in ("write_atomic", "hook_install.install"):
        for root in (tmp_path / "new", tmp_path / "there"):
            with monkeypatch.context() as patch:
                patch.setattr(f"shardd.files.server_dir.{part}", lambda *_, **__: full())
                status, said = shardd("init", root, "--admin", "alice", tmp_path / "key.pub")
            assert (status, "No space left" in said, "make room" in said) == (3, True, True), said
            assert tree(tmp_path) == before
    assert shardd("init", tmp_path / "new", "--admin", "alice", tmp_path / "key.pub")[0] == 0


@pytest.mark.parametrize("place", ["/proc/x", "/proc/1/x", "/dev/null/x", "/sys/x"])
def test_init_where_nothing_can_be_made(shardd: Said, place: str) -> None:
    status, said = shardd("init", place)
    assert (status, f"{place} cannot be made" in said) == (3, True), said


@pytest.mark.parametrize("umask", [0o002, 0o000, 0o077, 0o027])
def test_a_directory_is_sound_whatever_umask_it_was_made_under(shardd: Said, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        for words in (["init", tmp_path / "server"], ["--dir", tmp_path / "server", "repo", "create", "garden"]):
            assert shardd(*words)[0] == 0
        os.umask(umask)
        assert shardd("--dir", tmp_path / "server", "space", "create", "garden/whynot")[0] == 0
        os.umask(umask)
        assert shardd("--dir", tmp_path / "server", "doctor") == (0, "nothing to complain about\n")
    finally:
        os.umask(before)


# --- whose files they are


WRITING = [
    "role grant alice read garden",
    "repo create other",
    "space create garden/other",
    "lease grant garden/whynot alice",
    "space freeze garden/whynot moving",
    "doctor --fix",
]


@as_root
@pytest.mark.parametrize("command", [*WRITING, "role list", "log garden/whynot"])
def test_on_anothers_files_the_command_to_use_is_named(shardd: Said, root: Path, command: str) -> None:
    for path in [root, *root.rglob("*")]:
        os.chown(path, NOBODY, -1)
    before = tree(root)
    status, said = shardd("--dir", root, *command.split())
    assert status == 3
    assert f"{root} belongs to nobody, and you are root" in said
    assert f"run it as nobody: `sudo -u nobody shardd --dir {root} {command}`" in said
    assert tree(root) == before
    assert {path.lstat().st_uid for path in tree(root)} == {NOBODY}


@as_root
def test_no_way_in_leaves_anothers_file(root: Path, tmp_path: Path) -> None:
    """Not by the library either, in a server's repo or any other."""
    with Authorities.open(ServerDir(root)).repo("garden", FileAccess) as authority:
        authority.change("whynot", Acquire("alice"))
    own = tmp_path / "own.git"
    GitLog(own).append("whynot", "note")
    for repo, log in (
        (root / "repos/garden.git", GitLog(root / "repos/garden.git", principal="alice")),
        (own, GitLog(own)),
    ):
        for path in [repo, *repo.rglob("*")]:
            os.chown(path, NOBODY, -1)
        before = tree(repo)
        with pytest.raises(Unavailable, match="belongs to nobody, and you are root"):
            log.append("whynot", "note")
        assert tree(repo) == before
        assert {path.lstat().st_uid for path in before} == {NOBODY}
    os.chown(root, NOBODY, -1)
    with pytest.raises(Unavailable, match="belongs to nobody"):
        ServerDir(root).access.retire("alice")


@as_root
@pytest.mark.parametrize("whose", ["access.toml", "repos/garden.git", "repos/garden.git/objects", "repos"])
def test_a_server_does_not_start_on_anothers_files(shardd: Said, root: Path, whose: str) -> None:
    os.chown(root / whose, NOBODY, -1)
    status, said = shardd("--dir", root, "serve", "--listen", "127.0.0.1:0")
    assert status == 3
    assert f"{root / whose}: belongs to nobody, and the directory to root" in said
    assert f"chown -R root {root / whose}" in said
    status, said = shardd("--dir", root, "doctor")
    assert (status, f"chown -R root {root / whose}" in said) == (4, True)


@as_root
@pytest.mark.parametrize("whose", ["HEAD", "refs/heads/spaces/whynot", "shardd/locks"])
def test_doctor_finds_what_somebody_has_left_in_a_repo(shardd: Said, root: Path, whose: str) -> None:
    os.chown(root / "repos/garden.git" / whose, NOBODY, -1)
    status, said = shardd("--dir", root, "doctor")
    assert status == 4
    assert f"1 file below it, such as {root / 'repos/garden.git' / whose}, are not root's" in said


@as_root
@pytest.mark.parametrize("command", ["role list", "doctor", "serve"])
def test_a_directory_that_one_may_not_look_into(shardd: Said, root: Path, command: str) -> None:
    root.parent.chmod(0o755)
    inside = [path for path in root.parents if path.stat().st_mode & 0o005 != 0o005]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in inside}
    for path in inside:
        path.chmod(0o755)
    os.seteuid(NOBODY)
    try:
        status, said = shardd("--dir", root, *command.split())
    finally:
        os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)
    assert status == 3
    assert f"{root} cannot be looked into: Permission denied" in said
    assert f"run it as the owner of {root}, root" in said


# --- repos on another disk


@pytest.mark.parametrize("what", ["repos/garden.git", "repos"])
def test_a_repo_behind_a_link_is_refused(shardd: Said, root: Path, tmp_path: Path, what: str) -> None:
    (root / what).rename(tmp_path / "moved")
    (root / what).symlink_to(tmp_path / "moved")
    says = f"{root / what}: is a link"
    status, said = shardd("--dir", root, "serve", "--listen", "127.0.0.1:0")
    assert (status, says in said, f"mount that at {root / what}" in said) == (3, True, True), said
    status, said = shardd("--dir", root, "doctor")
    assert (status, says in said) == (4, True), said


def test_a_directory_behind_a_link_is_as_good(shardd: Said, root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert shardd("--dir", tmp_path / "link", "doctor") == (0, "nothing to complain about\n")


# --- disks


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


READING = ["log garden/whynot", "lease show garden/whynot", "fold garden/whynot", "space list", "role list"]


@pytest.mark.parametrize("command", [*WRITING[:1], *WRITING[2:5]])
def test_a_disk_without_locks_is_unavailable(shardd: Said, root: Path, no_locks: None, command: str) -> None:
    status, said = shardd("--dir", root, *command.split())
    assert (status, "unavailable" in said, "cannot be locked: " in said) == (3, True, True), said
    assert "to mend it" in said


@pytest.mark.parametrize("command", READING)
def test_reading_needs_no_lock(shardd: Said, root: Path, no_locks: None, command: str) -> None:
    assert shardd("--dir", root, *command.split())[0] == 0


def test_doctor_says_that_there_are_no_locks(shardd: Said, root: Path, no_locks: None) -> None:
    status, said = shardd("--dir", root, "doctor")
    assert (status, "cannot be locked: " in said) == (4, True), said


@pytest.fixture
def read_only(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever would be written below the directory meets a disk that is mounted read-only."""
    really, listed = os.open, os.mkdir
    changing = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def open_(path: os.PathLike[str] | str | bytes, flags: int, *rest: int, **more: int) -> int:
        if flags & changing and os.fsdecode(path).startswith(str(root)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fsdecode(path))
        return really(path, flags, *rest, **more)

    def mkdir(path: os.PathLike[str] | str | bytes, *rest: int, **more: int) -> None:
        if os.fsdecode(path).startswith(str(root)) and not Path(os.fsdecode(path)).exists():
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fsdecode(path))
        listed(path, *rest, **more)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "mkdir", mkdir)
    yield


@pytest.mark.parametrize("command", [*WRITING[:1], *WRITING[2:5]])
def test_a_read_only_disk_is_unavailable(shardd: Said, root: Path, read_only: None, command: str) -> None:
    status, said = shardd("--dir", root, *command.split())
    assert (status, "Read-only file system" in said, "mount it read-write" in said) == (3, True, True), said


@pytest.mark.parametrize("lease", [False, True], ids=["free", "expired"])
@pytest.mark.parametrize("command", READING)
def test_reading_needs_no_writing(
    shardd: Said, root: Path, command: str, lease: bool, request: pytest.FixtureRequest
) -> None:
    if lease:
        expired(root)
    request.getfixturevalue("read_only")
    status, said = shardd("--dir", root, *command.split())
    assert status == 0, said
    if lease and command.startswith("lease"):
        assert "(in 0 s)" in said, "an end that could not be stored is nobody's to be told of"


def test_doctor_says_that_the_disk_is_read_only(shardd: Said, root: Path, read_only: None) -> None:
    status, said = shardd("--dir", root, "doctor")
    assert (status, "Read-only file system" in said, "mount it read-write" in said) == (4, True, True), said


def expired(root: Path) -> None:
    """Leave a lease that has run out, and that nobody has looked at since."""
    with Authorities.open(ServerDir(root)).repo("garden", FileAccess) as authority:
        authority.change("whynot", Acquire("alice"))
        store = authority.ledger.leases
        record, mark = store.look("whynot")
        assert record is not None and mark is not None and record.tenancy.lease is not None
        lease = replace(record.tenancy.lease, expires=record.tenancy.lease.granted)
        store.save(replace(record, tenancy=replace(record.tenancy, lease=lease)), mark)


# --- surroundings


@pytest.mark.parametrize("home", [None, ""], ids=["no HOME", "an empty HOME"])
def test_a_server_needs_no_home_and_no_entry_of_its_user(
    root: Path, monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    async def serve(authorities: Authorities, address: str | None, ready: Callable[[str], None]) -> None:
        service = Service.over(authorities)
        acceptor = await listen(service, "127.0.0.1", 0)
        acceptor.close()
        await acceptor.wait_closed()
        ready("here")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(daemon, "_run", serve)
    said: list[str] = []
    host_keys(root / "host_keys")
    daemon.run(Authorities.open(ServerDir(root)), address=None, ready=said.append)
    assert said == ["here"]


# --- hooks of another installation


@pytest.fixture
def interpreter(root: Path) -> Path:
    """Which Python decides where no server does: that of an installation of the same version, somewhere else."""
    path = root / "hooks" / VERSION / "interpreter"
    path.write_text("/opt/shardd/bin/python\n")
    return path


@pytest.mark.parametrize(
    "command", ["repo create other", "space create garden/other", "role list", "log garden/whynot", "doctor"]
)
def test_a_command_of_another_installation_leaves_the_hooks(
    shardd: Said, root: Path, interpreter: Path, command: str
) -> None:
    shardd("--dir", root, *command.split())
    assert interpreter.read_text() == "/opt/shardd/bin/python\n"


def test_a_forced_command_of_another_installation_leaves_them_too(
    shardd: Said, root: Path, interpreter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shardd("--dir", root, "role", "grant", "alice", "read", "garden")
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", "git-upload-pack 'garden.git'")
    monkeypatch.setattr(os, "execve", lambda *_: (_ for _ in ()).throw(SystemExit(0)))
    monkeypatch.setattr("shardd.files.bounds.Bounds.apply", lambda *_: None)
    with pytest.raises(SystemExit):
        main(["--dir", str(root), "shell", "alice"])
    assert interpreter.read_text() == "/opt/shardd/bin/python\n"


def test_who_is_told_to_repoints_them(shardd: Said, root: Path, interpreter: Path) -> None:
    said = shardd("--dir", root, "doctor", "--fix")[1]
    assert f"mended: {interpreter}" in said
    assert interpreter.read_text() == f"{sys.executable}\n"
    interpreter.write_text("/opt/shardd/bin/python\n")
    Service.over(Authorities.open(ServerDir(root)))
    assert interpreter.read_text() == f"{sys.executable}\n"


def test_hooks_that_are_gone_come_back_with_the_next_repo(shardd: Said, root: Path, interpreter: Path) -> None:
    shutil.rmtree(interpreter.parent)
    assert shardd("--dir", root, "repo", "create", "other")[0] == 0
    assert interpreter.read_text() == f"{sys.executable}\n"


# --- guards


@pytest.fixture
def people(root: Path) -> Path:
    """alice is the only admin, bob has a key and a role."""
    access = ServerDir(root).access
    for name, key in (("alice", KEY), ("bob", OTHER_KEY)):
        access.add_key(name, PublicKey.parse(key))
    access.grant(Grant("alice", "admin", ALL))
    access.grant(Grant("bob", "append", "garden"))
    return root


@pytest.mark.parametrize(
    "command", ["principal retire alice --yes", "role revoke alice admin @all", "principal retire alice"]
)
@pytest.mark.parametrize("who", [[], ["--as", "alice"]], ids=["operator", "herself"])
def test_the_last_admin_stays(shardd: Said, people: Path, command: str, who: list[str]) -> None:
    before = (people / "access.toml").read_bytes()
    status, said = shardd("--dir", people, *who, *command.split())
    assert status == 1
    assert ("last-admin" in said) or who or "unconfirmed" in said
    assert (people / "access.toml").read_bytes() == before
    shardd("--dir", people, "role", "grant", "bob", "admin", "@all")
    if "retire alice --yes" in command and not who:
        assert shardd("--dir", people, *command.split())[0] == 0
    shardd("--dir", people, "role", "revoke", "alice", "admin", "garden")
    assert ServerDir(people).access.load().access.admins in ({"bob"}, {"alice", "bob"})


def test_a_role_below_the_last_admins_may_go(shardd: Said, people: Path) -> None:
    for words in (["role", "grant", "alice", "admin", "garden"], ["role", "revoke", "alice", "admin", "garden"]):
        assert shardd("--dir", people, *words)[0] == 0


def test_retiring_is_asked_about(shardd: Said, people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--dir", people, "principal", "retire", "bob"]
    status, said = shardd(*words)
    assert status == 1
    assert "retiring bob is for good: 1 key, roles (append garden) and leases go, and the name is never given" in said
    assert "principal retire bob --yes`" in said
    asked: list[str] = []
    for answer, left in (("\n", True), ("no\n", True), ("Y\n", False)):
        monkeypatch.setattr(sys, "stdin", Typed(answer))
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        status, said = shardd(*words)
        asked.append(said)
        assert ("bob" in ServerDir(people).access.load().principals) is left
    assert all("Do you mean it? [y/N]" in said for said in asked)
    assert shardd(*words)[0] == 0, "what is begun is brought to its end unasked"


class Typed(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("words", "warnings"),
    [
        ("bbo read garden", ["nobody is called bbo yet, by key or [local]; did you mean bob?"]),
        ("malory read garden", ["nobody is called malory yet, by key or [local]"]),
        ("bob read gardn", ["there is no repo gardn yet; did you mean garden?"]),
        ("bob read garden/whynto", ["there is no space garden/whynto yet; did you mean whynot?"]),
        ("malory read else/where", ["nobody is called malory yet, by key or [local]", "there is no repo else yet"]),
        ("bob read garden/why*", []),
        ("alice append @all", []),
    ],
)
def test_a_grant_to_nobody_or_on_nothing_says_so(shardd: Said, people: Path, words: str, warnings: list[str]) -> None:
    status, said = shardd("--dir", people, "role", "grant", *words.split())
    assert (status, said.splitlines()[1:]) == (0, [f"warning: {each}" for each in warnings])
    assert shardd("--dir", people, "role", "revoke", *words.split())[0] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("principal show bbo", "there is no principal bbo; did you mean bob?"),
        ("principal retire bbo --yes", "there is no principal bbo; did you mean bob?"),
        ("role revoke bob append gardn", "bob has no role append on gardn; did you mean append garden?"),
    ],
)
def test_a_slip_is_told_what_was_meant(shardd: Said, people: Path, words: str, says: str) -> None:
    status, said = shardd("--dir", people, *words.split())
    assert (status, says in said) == (1, True), said


DEVICES = ["aux", "con", "nul", "prn", "com1", "lpt9", "aux.txt", "nul.tar.gz"]


@pytest.mark.parametrize("name", DEVICES)
def test_what_windows_takes_for_a_device_is_not_made(shardd: Said, people: Path, name: str) -> None:
    for command in (
        f"repo create {name}",
        f"space create garden/{name}",
        f"append garden/{name} note --force --create --take-lease --as alice",
        f"role grant {name} read garden",
        f"key add {name} {people.parent / 'key.pub'}",
    ):
        (people.parent / "key.pub").write_text(THIRD_KEY)
        status, said = shardd("--dir", people, *command.split())
        assert (status, f"on Windows {name.partition('.')[0]} is a device" in said) == (2, True), (command, said)
    assert shardd("--dir", people, "repo", "list")[1] == "REPO\ngarden\n"


@pytest.mark.parametrize("name", ["auxiliary", "console", "com10x", "nullify"])
def test_what_only_begins_like_a_device_is_fine(shardd: Said, people: Path, name: str) -> None:
    assert shardd("--dir", people, "repo", "create", name)[0] == 0


def test_what_has_such_a_name_goes_on(shardd: Said, people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("shardd.core.names._DEVICES", frozenset())
        for command in ("role grant aux append aux", "repo create aux", "space create aux/con"):
            assert shardd("--dir", people, *command.split())[0] == 0
    for command in (
        "role grant aux propose aux",
        "append aux/con note --force --take-lease --as aux",
        "log aux/con",
        "verify aux/con",
        "principal show aux",
        "doctor",
    ):
        assert shardd("--dir", people, *command.split())[0] == 0, command


@pytest.mark.parametrize("way", ["GitLog", "MemoryLog", "an import"])
def test_nor_is_it_made_by_the_library(tmp_path: Path, way: str) -> None:
    log = MemoryLog() if way == "MemoryLog" else GitLog(tmp_path / "log.git")
    with pytest.raises(Misuse, match="on Windows nul is a device"):
        if way == "an import":
            log.import_events("nul", [Numbered(1, drafts("alice")[0])])
        else:
            log.append("nul", "note")
    assert log.head("nul") is None


# --- paths, words and formats


@pytest.mark.parametrize("name", ["a#b", "a?b=c", "a%20b", "a b", "ä&b", "a;b"])
def test_a_path_is_never_a_url(shardd: Said, root: Path, name: str) -> None:
    place = root.rename(root.parent / name)
    for command in ("role grant alice append garden", "append garden/whynot note --force --take-lease --as alice"):
        assert shardd("--dir", place, *command.split())[0] == 0
    index = place / "repos/garden.git/shardd/index/whynot.db"
    assert index.is_file()
    assert shardd("--dir", place, "doctor") == (0, "nothing to complain about\n")
    index.write_bytes(b"SQLite format 3\0" + b"x" * 4096)
    said = shardd("--dir", place, "doctor")[1]
    assert f"{index}: is damaged" in said
    assert sorted(path.name for path in place.parent.iterdir()) == [name]
    log = GitLog(place.parent / f"{name}.git")
    log.append("whynot", "note")
    assert [event.type for event in log.events("whynot")] == ["note"]


@pytest.mark.parametrize(
    ("command", "shows", "says"),
    [
        ("space freeze garden/whynot two words", "space show garden/whynot", "frozen: two words"),
        ("space freeze garden/whynot one", "space show garden/whynot", "frozen: one"),
        ("lease revoke garden/whynot --reason gone on holiday", "lease history garden/whynot", "gone on holiday"),
        ("lease revoke --reason holiday garden/whynot", "lease history garden/whynot", "by the operator: holiday"),
        (
            "lease grant garden/whynot bob --force --reason moved to bob --ttl 5m",
            "lease history garden/whynot",
            "moved to bob",
        ),
    ],
)
def test_free_text_may_be_several_words(shardd: Said, people: Path, command: str, shows: str, says: str) -> None:
    assert shardd("--dir", people, *["lease", "acquire", "garden/whynot", "--as", "alice"])[0] == 0
    status, said = shardd("--dir", people, *command.split())
    assert status == 0, said
    assert says in shardd("--dir", people, *shows.split())[1]


@pytest.mark.parametrize("command", ["lease revoke garden/whynot stray", "lease show garden/whynot two words"])
def test_other_words_that_are_left_over_are_a_slip(shardd: Said, people: Path, command: str) -> None:
    status, said = shardd("--dir", people, *command.split())
    assert (status, "unrecognized arguments" in said) == (2, True)


@pytest.mark.parametrize("way", ["append", "import", "dry run"])
def test_a_repo_of_sha256_is_refused_before_anything_is_written(tmp_path: Path, way: str) -> None:
    repo = tmp_path / "log.git"
    Git(repo).run("init", "--quiet", "--bare", "--object-format=sha256", str(repo))
    before = {path: path.lstat().st_mtime_ns for path in tree(repo)}
    log = GitLog(repo)
    with pytest.raises(Rejected, match="is a repository of sha256") as caught:
        if way == "append":
            log.append("whynot", "note")
        else:
            log.import_events("whynot", [Numbered(1, drafts("alice")[0])], dry_run=way == "dry run")
    assert (caught.value.code, "--object-format=sha1" in caught.value.remedy) == ("not-permitted", True)
    assert {path: path.lstat().st_mtime_ns for path in tree(repo)} == before


@pytest.mark.parametrize("options", [["--atomic"], []], ids=["all or none", "one by one"])
@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b"  \t\n"])
def test_a_blank_line_is_no_event(
    shardd: Said, people: Path, options: list[str], blank: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [b'{"type":"note","data":null,"subject":null,"id":null,"time":null}\n', b'{"type":"other"}\n']
    stdin = io.TextIOWrapper(io.BytesIO(blank + blank.join(lines) + blank))
    monkeypatch.setattr(sys, "stdin", stdin)
    words = ["append", "garden/whynot", "--lines", "--take-lease", "--as", "alice", "--json"]
    status, said = shardd("--dir", people, *words, *options)
    assert status == 0
    assert [json.loads(line)["seq"] for line in said.splitlines()] == [1, 2]


# --- leases


@pytest.mark.parametrize(("ttl", "said"), [("60", "60 s"), ("15m", "15 min"), ("1h30m", "90 min"), ("2d", "2 d")])
def test_a_renewal_counts_from_now(shardd: Said, people: Path, ttl: str, said: str) -> None:
    with Authorities.open(ServerDir(people)).repo("garden", FileAccess) as authority:
        authority.change("whynot", Acquire("alice"))
        store = authority.ledger.leases
        record, mark = store.look("whynot")
        assert record is not None and mark is not None and record.tenancy.lease is not None
        lease = replace(record.tenancy.lease, granted=record.tenancy.lease.granted - 600_000)
        store.save(replace(record, tenancy=replace(record.tenancy, lease=lease)), mark)
    words = ["lease", "renew", "garden/whynot", "--ttl", ttl, "--as", "alice"]
    assert f"alice holds garden/whynot (epoch 1, for {said})" in shardd("--dir", people, *words)[1]


def test_who_waits_is_told_for_whom(people: Path) -> None:
    """And again once that has changed, but not at each look."""
    authorities = Authorities.open(ServerDir(people))
    said: dict[str, list[str]] = {"bob": [], "carol": []}

    def wait(who: str) -> Generator[Pause, None, AnyAnswer]:
        context = Context(authorities, who, FileAccess, opened=lambda _: io.BytesIO(), tell=said[who].append)
        return leases.Acquire(Address("garden", "whynot"), 900_000, 60_000, False).steps(context)

    with authorities.repo("garden", FileAccess) as authority:
        authority.change("whynot", Acquire("alice"))
        bob, carol = wait("bob"), wait("carol")
        for each in (bob, carol, bob, carol):
            next(each)
        assert said["bob"] == ["waiting: alice holds garden/whynot (15 min left), nobody is before you"]
        assert said["carol"] == ["waiting: alice holds garden/whynot (15 min left), 1 before you: bob"]
        authority.change("whynot", Release("alice"))
        next(carol)
        assert said["carol"][1:] == ["waiting: nobody holds garden/whynot, 1 before you: bob"]
        with pytest.raises(StopIteration):
            next(bob)
        next(carol)
        assert said["carol"][2:] == ["waiting: bob holds garden/whynot (15 min left), nobody is before you"]
        authority.change("whynot", Release("bob"))
        with pytest.raises(StopIteration):
            next(carol)
    assert (len(said["bob"]), len(said["carol"])) == (1, 3)


def test_a_long_import_tells_what_the_server_does(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardd.authority.whole_log._LONG", 3)
    said: list[str] = []
    lines = [encode_numbered(Numbered(n, one), "whynot") for n, one in enumerate(drafts("alice", 4), 1)]
    context = Context(
        Authorities.open(ServerDir(root)), None, FileAccess, opened=lambda _: io.BytesIO(), tell=said.append
    )
    import_lines(context, Address("garden", "whynot"), lines, keep_gaps=False, dry_run=False)
    assert said == [
        "all 4 events are here and sound; writing their index",
        "the index is written; putting the log in its place",
    ]
