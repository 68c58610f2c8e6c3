"""`shardd COMMAND` as a process of its own that need not import first.

Importing takes a fifth of a second of processor time, in hundreds of commands. So one process imports everything once,
and each command is a fork of it, with the folder, environment, words and open files of a small client that stands for
the command: it may be waited for, cut off by a time limit, and answers with the command's exit status. Servers, hooks
and sshd's commands begin from nothing, as people's do; those of the manual's transcripts do not.

As a program: the client, `preloaded.py SOCKET WORDS`. Needs nothing of the project, and little of Python.
"""

from __future__ import annotations

import array
import os
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_LENGTH = 8


def ask(path: str, words: list[str]) -> int:
    """The exit status of `shardd WORDS`, run here by the process that listens at `path`."""
    told = [os.getcwdb(), *(os.fsencode(word) for word in words)]  # noqa: PTH109 (pathlib is slow to import)
    told += [name + b"=" + value for name, value in os.environb.items()]
    request = str(len(words)).encode() + b"\0" + b"\0".join(told)
    with socket.socket(socket.AF_UNIX) as talk:
        talk.connect(path)
        files = array.array("i", [0, 1, 2])
        talk.sendmsg([len(request).to_bytes(_LENGTH, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        talk.sendall(request)
        answer = talk.recv(_LENGTH)
    return int.from_bytes(answer, "big") if answer else 70


def serve(path: str) -> None:
    """Fork for every client that comes, until standard input ends: `python -c` with this, by the harness."""
    import contextlib
    import selectors

    _import_all()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen(64)
        print("listening", flush=True)
        with selectors.DefaultSelector() as waiting:
            for source in (door, sys.stdin):
                waiting.register(source, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in waiting.select()}
                if sys.stdin in ready:
                    return
                talk, _ = door.accept()
                if os.fork() == 0:
                    door.close()
                    os._exit(_attend(talk))
                talk.close()
                with contextlib.suppress(ChildProcessError):  # waited for, so that what they took is counted
                    while os.waitpid(-1, os.WNOHANG)[0]:
                        pass


def _import_all() -> None:
    import gc
    import importlib
    import pkgutil

    import shardd

    for module in pkgutil.walk_packages(shardd.__path__, "shardd."):
        importlib.import_module(module.name)
    gc.collect()
    gc.freeze()


def _attend(talk: socket.socket) -> int:
    """Run what one client asks for, and tell it the status; killed, where the client goes before."""
    import select
    import signal

    length, found, _, _ = talk.recvmsg(_LENGTH, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    files = array.array("i")
    files.frombytes(found[0][2])
    request = b""
    while len(request) < int.from_bytes(length, "big"):
        request += talk.recv(1 << 20)
    count, cwd, *rest = request.split(b"\0")
    words = [os.fsdecode(word) for word in rest[: int(count)]]
    environment = dict(pair.split(b"=", 1) for pair in rest[int(count) :])
    child = os.fork()
    if child == 0:
        talk.close()
        _become(cwd, words, environment, list(files))
    for file in (0, 1, 2, *files):
        os.close(file)
    ended = os.pidfd_open(child)
    ready, _, _ = select.select([ended, talk.fileno()], [], [])
    if ended not in ready:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if ended in ready:
        talk.sendall((code % 256 if code >= 0 else 128 - code).to_bytes(_LENGTH, "big"))
    return 0


def _become(cwd: bytes, words: list[str], environment: dict[bytes, bytes], files: list[int]) -> NoReturn:
    import time

    for number, file in enumerate(files):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    os.chdir(cwd)
    os.environb.clear()
    os.environb.update(environment)
    time.tzset()
    sys.argv = ["shardd", *words]

    from shardd.cli.main import main

    sys.exit(main())


if __name__ == "__main__":
    sys.exit(ask(sys.argv[1], sys.argv[2:]))
