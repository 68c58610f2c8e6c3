"""The operator's side: what is refused before anything is made, whose files they are, and disks that say no."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shardd.authority.authorities import Authorities
from shardd.cli.main import main
from shardd.core.lease import Acquire
from shardd.core.roles import FileAccess
from shardd.errors import Unavailable
from shardd.files.server_dir import ServerDir
from shardd.logs.git_log import GitLog
from shardd.service import daemon, log_output
from shardd.service.listener import host_keys, listen
from shardd.service.session import Service
from shardd.version import VERSION

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBnu1JDCxFC6Kly1SXPCYB0cuLNLhZMOu6r9+qBeCqpb alice@laptop\n"
NOBODY = pwd.getpwnam("nobody").pw_uid
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
