"""What counts as a broken connection (client/link.py), between two ends of paramiko's own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import paramiko
import pytest
from paramiko.common import AUTH_SUCCESSFUL, OPEN_SUCCEEDED

from shardd.client.link import Broken, Said, _converse


class Server(paramiko.ServerInterface):
    def get_allowed_auths(self, username: str) -> str:
        return "none"

    def check_auth_none(self, username: str) -> int:
        return AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        return True


@contextmanager
def channel(status: int | None) -> Iterator[paramiko.Channel]:
    """Where a command was answered. status: None for a server that died before it sent one"""
    here, there = socket.socketpair()
    with closing(paramiko.Transport(there)) as server, closing(paramiko.Transport(here)) as client:
        server.add_server_key(paramiko.ECDSAKey.generate())
        server.start_server(threading.Event(), Server())
        client.start_client()
        client.auth_none("alice")
        made = client.open_session()
        made.exec_command("head whynot")
        served = server.accept(30)
        assert served is not None
        served.sendall(b"said")
        served.sendall_stderr(b"wrong")
        if status is not None:
            served.send_exit_status(status)
        served.close()
        yield made


def test_an_answer_with_its_status_is_whole() -> None:
    with channel(status=3) as answered:
        assert _converse(answered, b"") == Said(3, b"said", "wrong")


def test_a_channel_that_died_before_its_status_is_broken() -> None:
    """It calls its status ready, and -1: with all that was said before, it could pass for a refusal."""
    with channel(status=None) as dead:
        with pytest.raises(Broken, match="broke off"):
            _converse(dead, b"")
        assert dead.exit_status_ready()
        assert dead.recv_exit_status() == -1
