"""What the kernel knows about this process's TCP connections, without libtorrent's help.

Linux only (``TCP_INFO``, ``/proc/self/fd``). Nothing here holds a socket open: libtorrent's threads may close
one at any moment, so each look goes by descriptor, and the socket's inode says whether it is still the same.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from dataclasses import dataclass

_TCP_NOTSENT_LOWAT = 25
#: struct tcp_info of linux/tcp.h up to tcpi_notsent_bytes (Linux 4.6): snd_mss, unacked, sacked, lost,
#: retrans (all four in segments), bytes_acked, notsent_bytes, min_rtt (microseconds).
_INFO = struct.Struct("=16xI4xIIII80xQ16xII")
#: For ``hold_back``: the kernel's own, no bound.
UNBOUNDED = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class TcpState:
    """One connection. ``acked``: bytes that the other end has confirmed since it began; ``in_flight``: sent
    and not confirmed, whole segments; ``unsent``: taken from us and not sent yet; ``rtt_s``: the least round
    trip so far, seconds."""

    acked: int
    in_flight: int
    unsent: int
    rtt_s: float


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """``inode`` is never the same for two sockets; the descriptor may be another's after a close."""

    descriptor: int
    inode: int
    address: str
    port: int


def tcp_sockets() -> list[TcpSocket]:
    """The connected TCP sockets of this process, with their other ends."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISSOCK(status.st_mode):
                continue
            with _Borrowed(descriptor) as borrowed:
                protocol = borrowed.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL)
                family = borrowed.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN)
            if protocol != socket.IPPROTO_TCP:
                continue
            with _Borrowed(descriptor, family) as borrowed:
                peer = borrowed.getpeername()
        except OSError:
            continue  # closed meanwhile, or not connected
        # IPv6: without the interface that follows a link-local address.
        found.append(TcpSocket(descriptor, status.st_ino, peer[0].partition("%")[0], peer[1]))
    return found


def tcp_state(one: TcpSocket) -> TcpState | None:
    """None when it is closed, or the kernel is too old to say."""
    try:
        with _Borrowed(one.descriptor) as borrowed:
            told = borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        if os.fstat(one.descriptor).st_ino != one.inode:
            return None
    except OSError:
        return None
    if len(told) < _INFO.size:
        return None
    segment, unacked, sacked, lost, again, acked, unsent, rtt_us = _INFO.unpack_from(told)
    in_flight = max(0, unacked - sacked - lost + again) * segment
    return TcpState(acked, in_flight, unsent, rtt_us / 1e6)


def hold_back(one: TcpSocket, unsent_bytes: int) -> None:
    """Let the kernel take no more than about so many bytes that it cannot send yet."""
    try:
        with _Borrowed(one.descriptor) as borrowed:
            if os.fstat(one.descriptor).st_ino == one.inode:
                value = struct.pack("=I", unsent_bytes)
                borrowed.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, value)
    except OSError:
        pass  # closed meanwhile


class _Borrowed:
    """A Python socket over a descriptor that stays libtorrent's: it is given back, never closed."""

    def __init__(self, descriptor: int, family: int = socket.AF_INET) -> None:
        # Family and type are named, so that Python asks the kernel for nothing. Only addresses depend on it.
        self._socket = socket.socket(family, socket.SOCK_STREAM, 0, fileno=descriptor)

    def __enter__(self) -> socket.socket:
        return self._socket

    def __exit__(self, *_: object) -> None:
        self._socket.detach()
