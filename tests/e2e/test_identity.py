"""Who one is: what the completed authentication proved, and nothing else that a client says."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.harness import DEADLINE, Actor, Garden, Server, make_key, wait_until
from tests.e2e.impostor import FAILURE, KEY_OK, SUCCESS, Impostor, impostor


def acts_as(connection: Impostor) -> str:
    return connection.run("whoami").split()[1]


def test_offering_a_key_proves_nothing(server: Server, keys: dict[str, Path]) -> None:
    with impostor(server) as mallory:
        mallory.offer(keys["alice"])
        assert mallory.answer() == KEY_OK
        mallory.sign(keys["mallory"])
        assert mallory.answer() == SUCCESS
        assert acts_as(mallory) == "mallory"


def test_nor_between_offering_and_signing(server: Server, keys: dict[str, Path]) -> None:
    with impostor(server) as mallory:
        for name in ("mallory", "alice", "carol"):
            mallory.offer(keys[name])
            assert mallory.answer() == KEY_OK
        mallory.sign(keys["mallory"])
        assert mallory.answer() == SUCCESS
        assert acts_as(mallory) == "mallory"


def test_the_signature_must_be_that_of_the_key(server: Server, keys: dict[str, Path]) -> None:
    with impostor(server) as mallory:
        mallory.sign(keys["mallory"], claiming=keys["alice"])
        assert mallory.answer() == FAILURE
        mallory.offer(keys["alice"])
        assert mallory.answer() == KEY_OK
        mallory.sign(keys["mallory"], claiming=keys["alice"])
        assert mallory.answer() == FAILURE
        mallory.sign(keys["mallory"])
        assert mallory.answer() == SUCCESS
        assert acts_as(mallory) == "mallory"


def test_not_even_all_at_once(server: Server, keys: dict[str, Path]) -> None:
    """Requests that do not wait for an answer, so that the server may still be busy with the one before."""
    own, other = keys["mallory"], keys["alice"]
    for _ in range(5):
        with impostor(server) as mallory:
            mallory.offer(other)
            mallory.sign(own)
            mallory.offer(other)
            mallory.sign(own, claiming=other)
            mallory.sign(own)
            mallory.offer(other)
            assert mallory.settled()
            assert acts_as(mallory) == "mallory"


def test_the_user_name_means_nothing(server: Server, keys: dict[str, Path], mallory: Actor) -> None:
    for user in ("alice", "root", "carol", "mallory", "nobody-at-all"):
        assert mallory.try_ssh("whoami", f"-oUser={user}").must().stdout.split()[1] == "mallory"
    with impostor(server) as connection:
        connection.offer(keys["alice"], user="alice")
        assert connection.answer() == KEY_OK
        connection.sign(keys["mallory"], user="alice")
        assert connection.answer() == SUCCESS
        assert acts_as(connection) == "mallory"


def test_stock_ssh_with_somebody_elses_public_key_first(
    garden: Garden, mallory: Actor, keys: dict[str, Path], tmp_path: Path
) -> None:
    """OpenSSH offers what it has only the public half of, and goes on to the next."""
    stolen = tmp_path / "stolen"
    stolen.with_suffix(".pub").write_bytes(keys["alice"].with_suffix(".pub").read_bytes())
    options = ["-i", str(stolen.with_suffix(".pub")), "-i", str(keys["mallory"])]
    words = [word for word in mallory.ssh_words if word not in ("-i", str(keys["mallory"]))]
    command = [*words, *options, "-v", "-p", str(garden.server.port), "127.0.0.1", "whoami"]
    command[command.index("LogLevel=ERROR")] = "LogLevel=DEBUG"
    done = subprocess.run(command, env=mallory.env(), capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert "Server accepts key: " in done.stderr.split("Offering public key", 2)[1]
    assert done.stdout.split()[1] == "mallory"


def test_an_unknown_key_is_let_in_nowhere(garden: Garden, mallory: Actor, tmp_path: Path) -> None:
    mallory.key = make_key(tmp_path / "fresh")
    answer = mallory.try_ssh("whoami")
    assert answer.status == 255
    assert not answer.stdout
    assert "Permission denied (publickey,keyboard-interactive)" in answer.stderr


def test_there_is_no_other_way_to_authenticate(server: Server, mallory: Actor) -> None:
    for method in ("none", "password", "keyboard-interactive", "hostbased", "gssapi-with-mic"):
        answer = mallory.try_ssh("whoami", f"-oPreferredAuthentications={method}", "-oNumberOfPasswordPrompts=1")
        assert answer.status == 255, method
        assert not answer.stdout


CLIENT_ENVIRONMENT = {
    "SHARDD_PRINCIPAL": "alice",
    "SHARDD_RELAY": "0",
    "SHARDD_DIR": "/nonexistent",
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "core.hooksPath",
    "GIT_CONFIG_VALUE_0": "/nonexistent",
    "GIT_CONFIG_KEY_1": "receive.procReceiveRefs",
    "GIT_CONFIG_VALUE_1": "refs/none/",
    "GIT_CONFIG_PARAMETERS": "'core.hooksPath'='/nonexistent'",
    "GIT_PUSH_OPTION_COUNT": "1",
    "GIT_PUSH_OPTION_0": "lease=acquire",
    "GIT_DIR": "/nonexistent",
    "GIT_QUARANTINE_PATH": "/nonexistent",
    "HOME": "/nonexistent",
    "PATH": "/nonexistent",
    "LD_PRELOAD": "/nonexistent.so",
    "PYTHONPATH": "/nonexistent",
}


def with_environment(who: Actor, environment: dict[str, str]) -> dict[str, str]:
    """The surroundings of a git whose ssh sends these variables."""
    sent = " ".join(f'"{name}={value}"' for name, value in environment.items())
    return {"GIT_SSH_COMMAND": f"{' '.join(who.ssh_words)} -o 'SetEnv={sent}'"}


def test_the_environment_of_a_client_stays_outside(
    garden: Garden, alice: Actor, mallory: Actor, carol: Actor, tmp_path: Path
) -> None:
    alice.acquire(garden)
    carol.ssh(f"role grant mallory append {garden.repo}")
    mallory.clone(garden)
    mallory.event("mine")
    canary = tmp_path / "canary"
    environment = {**CLIENT_ENVIRONMENT, "GIT_TRACE": str(canary), "GIT_TRACE2": str(canary)}
    env = with_environment(mallory, environment)
    garden.refuses("not-holder", mallory, env=env, says=["alice holds the lease"])
    garden.refuses("ref-not-allowed", mallory, "origin", "HEAD:refs/heads/main", env=env)
    mallory.git("fetch", env=env)
    alice.clone(garden)
    alice.event("two")
    alice.push(env=with_environment(alice, environment))
    assert not canary.exists()


def test_the_one_variable_that_is_taken_is_looked_at(garden: Garden, alice: Actor) -> None:
    for value in ("version=2", "version=1", "version=2:x=y", "version=9", "version=2;id", "nonsense", "x" * 10_000):
        words = f"git-upload-pack '/{garden.repo}.git'"
        answer = alice.try_ssh(words, "-o", f'SetEnv="GIT_PROTOCOL={value}"', input=b"0000")
        assert answer.ok, (value, answer)
        second = "version 2" in answer.stdout
        assert second == value.startswith("version=2") if ";" not in value else not second


def hostile_paths(garden: Garden) -> list[str]:
    repo = garden.repo
    return [
        f"/../repos/{repo}.git",
        f"/x/../{repo}.git",
        f"../{repo}.git",
        f"//{repo}.git",
        f"/./{repo}.git",
        f"/{repo}.git/../{repo}.git",
        f"/{repo}.git/objects",
        f"/{repo}.GIT",
        f"/{repo.upper()}.git",
        f"/{repo}.git.git",
        f"~/{repo}.git",
        str(garden.path),
        "/",
        ".",
        "..",
        "",
        "/etc",
        "/../access.toml",
        "/.git",
        "/.new-x",
        f"/{repo}\x00.git",
        f"/{repo}.git\n",
        "/-c",
        "--help",
        "--upload-pack=id",
        "/" + "a" * 5000,
        "/gärden.git",
        "*",
        "garden-?",
    ]


def test_only_a_repo_of_this_server_is_served(garden: Garden, alice: Actor) -> None:
    # One connection for all of them, as this is about what is asked, not about who asks.
    with open_connection(alice) as socket:
        for service in ("git-upload-pack", "git-receive-pack", "git-upload-archive", "git upload-pack"):
            for path in hostile_paths(garden):
                if "\x00" in path:
                    continue
                quoted = "'" + path + "'"
                answer = alice.try_ssh(f"{service} {quoted}", "-S", str(socket), input=b"0000")
                assert answer.status not in (0, 255), (service, path, answer)
                assert not answer.stdout, (service, path)
                assert "shardd: " in answer.stderr, (service, path, answer)
                assert str(garden.server.root) not in answer.stderr.replace(path, ""), (service, path)


def test_nothing_but_what_is_offered_is_run(garden: Garden, alice: Actor, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    repo = f"/{garden.repo}.git"
    asked = [
        f"touch {canary}",
        f"sh -c 'touch {canary}'",
        f"whoami; touch {canary}",
        f"whoami && touch {canary}",
        f"whoami | tee {canary}",
        f"whoami > {canary}",
        f"whoami\ntouch {canary}",
        f"whoami `touch {canary}`",
        f"whoami $(touch {canary})",
        f"git-upload-pack '{repo}'; touch {canary}",
        f"git-upload-pack '{repo}' | tee {canary}",
        f"git-upload-pack $(touch {canary})'{repo}'",
        f"git-upload-pack '{repo}`touch {canary}`'",
        f"git-upload-pack --strict '{repo}'",
        f"git-upload-pack '{repo}' --timeout=1",
        f"git-receive-pack --advertise-refs '{repo}'",
        f'git-shell -c "touch {canary}"',
        f"git -c core.sshCommand='touch {canary}' upload-pack '{repo}'",
        f"git init {canary}",
        f"git-upload-pack '{repo}",
        "scp -t /tmp",
        "internal-sftp",
        "/bin/sh",
        "\\",
        "'",
        f"init {canary}",
        "serve --listen 127.0.0.1:0",
        f" --dir {garden.server.root} whoami",
        "whoami --as carol",
        "\x1b]0;title\x07",
    ]
    with open_connection(alice) as socket:
        for command in asked:
            answer = alice.try_ssh(command, "-S", str(socket))
            assert answer.status not in (0, 255), (command, answer)
            assert "shardd: " in answer.stderr, (command, answer)
            assert "Traceback" not in answer.stderr
            assert "\x1b" not in answer.stderr
            assert not canary.exists(), command


def test_a_command_reads_no_file_of_the_server(
    garden: Garden, carol: Actor, tmp_path: Path, keys: dict[str, Path]
) -> None:
    """Over ssh a FILE is standard input, whatever its name."""
    make_key(tmp_path / "on-the-host")
    fresh = make_key(tmp_path / "sent")
    sent = fresh.with_suffix(".pub").read_bytes()
    carol.ssh(f"key add dave {tmp_path}/on-the-host.pub", input=sent)
    listed = carol.ssh("key list dave")
    assert "sent" in listed
    assert "on-the-host" not in listed
    dave = Actor("dave", fresh, tmp_path / "dave", garden.server)
    assert dave.ssh("whoami").split()[1] == "dave"


def test_no_shell_no_forwarding_no_files(server: Server, alice: Actor) -> None:
    shell = alice.try_ssh("")
    assert shell.status != 0
    assert "there is no shell" in shell.stderr
    assert alice.try_ssh("sftp", "-s").status != 0
    assert alice.try_ssh("", "-W", f"127.0.0.1:{server.port}").status != 0
    # ssh is told to leave if the forwarding is not granted; otherwise it would run the command.
    remote = alice.try_ssh("whoami", "-oExitOnForwardFailure=yes", "-R", "0:127.0.0.1:9")
    assert remote.status == 255
    assert not remote.stdout


@contextmanager
def open_connection(who: Actor) -> Iterator[Path]:
    """A connection that stays open, and the socket by which `ssh -S` uses it."""
    socket = who.home / "mux"
    options = ["-M", "-S", str(socket), "-N", "-p", str(who.server.port), "127.0.0.1"]
    master = subprocess.Popen([*who.ssh_words, *options], env=who.env(), stdin=subprocess.DEVNULL)
    try:
        wait_until(socket.exists, "the connection was made")
        yield socket
    finally:
        master.kill()
        master.wait(DEADLINE)


@pytest.fixture
def dave(server: Server, carol: Actor, tmp_path: Path) -> Iterator[Actor]:
    """Somebody whose key may go."""
    key = make_key(tmp_path / "dave-key")
    carol.ssh("key add dave", input=key.with_suffix(".pub").read_bytes())
    yield Actor("dave", key, tmp_path / "dave", server)
    (server.root / "keys" / "dave.pub").unlink(missing_ok=True)


def fingerprint(who: Actor) -> str:
    said = subprocess.run(["ssh-keygen", "-l", "-f", str(who.key)], capture_output=True, text=True, check=True)
    return said.stdout.split()[1]


def test_a_removed_key_loses_its_open_connections(garden: Garden, dave: Actor, carol: Actor) -> None:
    carol.ssh(f"role grant dave append {garden.repo}")
    dave.clone(garden)
    dave.acquire(garden)
    dave.event("one")
    with open_connection(dave) as socket:
        through = {"GIT_SSH_COMMAND": f"{' '.join(dave.ssh_words)} -S {socket}"}
        dave.push(env=through)
        carol.ssh(f"key remove dave {fingerprint(dave)}")
        dave.event("two")
        answer = dave.try_ssh("whoami", "-S", str(socket))
        assert "shardd: no-principal: " in answer.stderr
        garden.refuses("no-principal", dave, env=through, says=["no longer registered"])
        assert not dave.try_git("fetch", env=through).ok
    assert dave.try_ssh("whoami").status == 255


def test_a_key_removed_amid_a_push(garden: Garden, dave: Actor, carol: Actor) -> None:
    carol.ssh(f"role grant dave append {garden.repo}")
    dave.clone(garden)
    dave.acquire(garden)
    dave.event("one")
    before = garden.refs()
    with garden.locked():
        pushing = dave.starts_to_push(garden)
        carol.ssh(f"key remove dave {fingerprint(dave)}")
    answer = pushing.end()
    assert not answer.ok
    assert "(no-principal: " in answer.stderr
    assert garden.refs() == before


def test_a_key_that_changes_hands_does_not_take_its_connections_along(
    garden: Garden, dave: Actor, carol: Actor
) -> None:
    with open_connection(dave) as socket:
        carol.ssh(f"key remove dave {fingerprint(dave)}")
        carol.ssh("key add erin", input=dave.key.with_suffix(".pub").read_bytes())
        assert "shardd: no-principal: " in dave.try_ssh("whoami", "-S", str(socket)).stderr
    assert dave.ssh("whoami").split()[1] == "erin"


def test_a_revoked_role_is_gone_at_once(garden: Garden, alice: Actor, carol: Actor) -> None:
    alice.clone(garden)
    alice.acquire(garden)
    alice.event("one")
    with open_connection(alice) as socket:
        through = {"GIT_SSH_COMMAND": f"{' '.join(alice.ssh_words)} -S {socket}"}
        carol.ssh(f"role revoke alice append {garden.repo}")
        answer = alice.tries_to_push(env=through)
        assert not answer.ok
        assert "shardd: not-permitted: alice needs the role read" in answer.stderr
