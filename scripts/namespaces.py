"""A network of a test's or benchmark's own: hosts on one bridge, each in a network namespace, with links that
are slow, lose packets or are cut. The kernel takes all of it back when this process ends, however it ends.

Needs root, iproute2 (``ip``, ``tc``), and nftables for losses; ``./scripts/setup`` installs them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from types import TracebackType

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_HERE = "/proc/thread-self/ns/net"
_PREFIX = "10.77.0"


class Namespace:
    """A network namespace, there as long as this object is not closed. Nothing but loopback is in it."""

    def __init__(self) -> None:
        before = os.open(_HERE, os.O_RDONLY)
        try:
            _called(_LIBC.unshare(_CLONE_NEWNET))
            self._fd = os.open(_HERE, os.O_RDONLY)
            _called(_LIBC.setns(before, _CLONE_NEWNET))
        finally:
            os.close(before)
        self.run("ip", "link", "set", "lo", "up")

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The sockets that this thread opens in the block, and the processes that it starts, are in the
        namespace, and stay there."""
        before = os.open(_HERE, os.O_RDONLY)
        try:
            _called(_LIBC.setns(self._fd, _CLONE_NEWNET))
            try:
                yield
            finally:
                _called(_LIBC.setns(before, _CLONE_NEWNET))
        finally:
            os.close(before)

    def run(self, *command: str, stdin: str = "") -> str:
        """What a short command in the namespace prints; RuntimeError with its words when it fails."""
        with self.entered():
            done = subprocess.run(
                command, input=stdin, capture_output=True, text=True, timeout=20, check=False
            )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def close(self) -> None:
        os.close(self._fd)


class Host(Namespace):
    """One machine with an address and one link to the bridge."""

    def __init__(self, bridge: Namespace, number: int) -> None:
        super().__init__()
        self.address = f"{_PREFIX}.{number}"
        self._bridge, self._port = bridge, f"port{number}"
        bridge.run("ip", "link", "add", self._port, "type", "veth", "peer", "name", "wire",
                   "netns", self.path)  # fmt: skip
        bridge.run("ip", "link", "set", self._port, "master", "switch", "up")
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "wire")
        self.run("ip", "link", "set", "wire", "up")
        # Packets as a wire has them: losing one of 64 KiB would be losing forty.
        for side, name in ((self, "wire"), (bridge, self._port)):
            side.run("ip", "link", "set", name, "gso_max_size", "1514", "gso_max_segs", "1")

    def limit_up(self, bytes_s: int, queue_ms: int = 50) -> None:
        """A bottleneck for what it sends, with a queue that takes so long to drain. May be changed."""
        _limit(self, "wire", bytes_s, queue_ms)

    def limit_down(self, bytes_s: int, queue_ms: int = 50) -> None:
        """The same for what it receives."""
        _limit(self._bridge, self._port, bytes_s, queue_ms)

    def lose(self, percent: int) -> None:
        """From now on so many of a hundred packets that come in are lost, at random."""
        self.run("nft", "-f", "-", stdin=f"""
            table inet losses {{}}
            delete table inet losses
            table inet losses {{
              chain in {{
                type filter hook input priority 0
                iifname "wire" numgen random mod 100 < {percent} counter drop
              }}
            }}
        """)  # fmt: skip

    def cut(self) -> None:
        """Unplugs the cable: nothing comes or goes, and nobody is told."""
        self._bridge.run("ip", "link", "set", self._port, "nomaster")

    def mend(self) -> None:
        self._bridge.run("ip", "link", "set", self._port, "master", "switch")


class Network:
    """A bridge and its hosts. As a context manager it is gone at the end of the block."""

    def __init__(self) -> None:
        self._bridge = Namespace()
        self._bridge.run("ip", "link", "add", "switch", "type", "bridge")
        self._bridge.run("ip", "link", "set", "switch", "up")
        self.hosts: list[Host] = []

    def host(self) -> Host:
        self.hosts.append(Host(self._bridge, len(self.hosts) + 1))
        return self.hosts[-1]

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for namespace in (*self.hosts, self._bridge):
            namespace.close()


def _limit(side: Namespace, device: str, bytes_s: int, queue_ms: int) -> None:
    # A bucket of 10 ms, and of two packets at least: smaller ones leave a part of the rate unused.
    burst = max(2 * 1514, bytes_s // 100)
    side.run("tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", f"{bytes_s * 8}bit",
             "burst", str(burst), "latency", f"{queue_ms}ms")  # fmt: skip


def _called(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        hint = "; network namespaces need root" if number == 1 else ""
        raise OSError(number, os.strerror(number) + hint)
