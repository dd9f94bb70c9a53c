"""A listening socket, and one HTTP connection with a deadline for the head of a request.

A bare server holds a client that sends one header every two seconds for as long as it likes: 200
of 200 such connections stayed. Here a request's head must be complete 5 s after its first byte (or
after connecting), and a process holds a bounded number of connections.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from speedpay.errors import InvalidSetting

HEAD_DEADLINE_S = 5.0
MAX_CONNECTIONS = 512
_BACKLOG = 512


def listen(host: str, port: int) -> socket.socket:
    """Raises InvalidSetting when that address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delay off only for sockets that name their protocol: 55 ms, not 5.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise InvalidSetting(
            f"cannot listen on {host}:{port}: {error.strerror or error}", field="--listen",
            hint="is it running there already?",
        ) from error  # fmt: skip
    return listening


class DeadlineProtocol(H11Protocol):
    _deadline: asyncio.TimerHandle | None = None
    head_deadline_s = HEAD_DEADLINE_S

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait_for_head()
        else:
            self._head_is_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_complete()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.head_deadline_s, self.transport.abort)

    def _head_is_complete(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
