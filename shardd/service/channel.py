"""What a client may do to a channel: name GIT_PROTOCOL, ask for one thing, send data to it. Nothing else is kept.

asyncssh keeps every variable that it is sent, and queues every signal, break and change of a window, for as long as the
channel lasts. So requests are looked at before it sees them: those that we have no use for are answered no at once.
"""

from __future__ import annotations

from collections.abc import Callable

import asyncssh
from asyncssh.packet import SSHPacket

_HEARD = frozenset(("env", "exec", "shell", "subsystem"))
_MOST_REQUESTS = 200
"""Of those, on one channel: variables, mostly. What is answered no at once may come as often as it likes: PuTTY
measures its way with such requests."""

_KEPT = b"GIT_PROTOCOL"
_LONGEST_VALUE = 256

Process = asyncssh.SSHServerProcess[bytes]


class Served(Process):
    """The end of a channel that is ours. gone: called when the channel is closed on both sides"""

    def __init__(self, serve: Callable[[Process], None], gone: Callable[[], None]) -> None:
        super().__init__(serve, None, 0, False)
        self._gone = gone

    def subsystem_requested(self, subsystem: str) -> bool:
        return True  # it is served an explanation

    def session_started(self) -> None:
        # asyncssh would serve files to who asks for `sftp`.
        stdin, stdout, stderr = (
            asyncssh.SSHReader(self, self._chan),
            *(asyncssh.SSHWriter(self, self._chan, kind) for kind in (None, asyncssh.EXTENDED_DATA_STDERR)),
        )
        self._start_process(stdin, stdout, stderr)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._gone()


class Guard:
    """Stands before a channel's requests, and before data that nobody asked to send."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = channel
        self._service_next = channel._service_next_request
        self._accept = channel._accept_data
        self._count = 0
        # The channel looks these up at each call.
        setattr(channel, "_service_next_request", self._next)  # noqa: B010
        setattr(channel, "_process_env_request", self._env)  # noqa: B010
        setattr(channel, "_accept_data", self._data)  # noqa: B010

    def _next(self) -> None:
        request = self._channel._request_queue[0][0]
        if request not in _HEARD:
            self._channel._report_response(False)
            return
        self._count += 1
        if self._count > _MOST_REQUESTS:
            raise asyncssh.ProtocolError("too many requests on one channel")
        self._service_next()

    def _env(self, packet: SSHPacket) -> bool:
        name, value = packet.get_string(), packet.get_string()
        packet.check_end()
        if name != _KEPT or len(value) > _LONGEST_VALUE:
            return False
        self._channel._env[name] = value
        return True

    def _data(self, data: bytes, datatype: int | None = None) -> None:
        if not self._channel._session_started:
            raise asyncssh.ProtocolError("data on a channel that nothing was asked on")
        self._accept(data, datatype)
