"""A seeder behind a real bottleneck, and leechers beyond it: each a process in a namespace of its own.

The seeder is a ``Swarm`` with real weights, with an upload limit or governed; the leechers are ordinary
libtorrent sessions that know only the seeder. What is measured is measured at their side.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from namespaces import Host, Network

MIB = 1024 * 1024
_PORT = 6881
_SAMPLE_S = 0.25
_START_S = 30.0
Counts = list[tuple[float, float]]


@dataclass(frozen=True)
class Setup:
    """``weights``: one leecher for each. ``changes``: (second, what the bottleneck carries from then on in
    bytes a second), the first at second 0. ``upload_limit`` 0: none. ``competing_s``: for so long the
    governor is told that payers compete. ``utp``: leechers call by uTP."""

    weights: tuple[int, ...]
    seconds: float
    changes: tuple[tuple[float, int], ...]
    upload_limit: int = 0
    competing_s: float = 0.0
    content_bytes: int = 512 * MIB
    utp: bool = False


@dataclass
class Measured:
    """Over seconds since the weights were set: payload that each leecher had, what had left through the
    bottleneck, headers and all, and what ``Swarm.uplink`` said. ``cpu``: of one core, by its thread."""

    received: list[Counts] = field(default_factory=list)
    link: Counts = field(default_factory=list)
    uplink: Counts = field(default_factory=list)
    cpu: float = 0.0

    def rates(self, since: float, until: float) -> list[float]:
        """Bytes a second of each leecher."""
        return [_between(one, since, until) / (until - since) for one in self.received]

    def link_rate(self, since: float, until: float) -> float:
        return _between(self.link, since, until) / (until - since)


def jain(shares: Sequence[float]) -> float:
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


def run(setup: Setup) -> Measured:
    """Takes ``setup.seconds`` and some to start. Raises OSError where no namespace may be made, and
    RuntimeError when a process ends early."""
    with tempfile.TemporaryDirectory(prefix="speedpay-bottleneck-") as name, Network() as network:
        seeder = network.host()
        seeder.limit_up(setup.changes[0][1])
        hosts = [network.host() for _ in setup.weights]
        told = asdict(setup) | {
            "folder": name, "address": seeder.address,
            "weight_of": {
                host.address: weight for host, weight in zip(hosts, setup.weights, strict=True)
            },
        }  # fmt: skip
        with contextlib.ExitStack() as stack:
            seeding = stack.enter_context(_process(seeder, "seeder", told))
            leechers = [
                stack.enter_context(_process(
                    host, "leecher",
                    {"folder": name, "address": host.address, "utp": setup.utp,
                     "seeder": seeder.address},
                ))
                for host in hosts
            ]  # fmt: skip
            for process in (seeding, *leechers):
                _heard(process)  # it is there
            for leecher in leechers:
                _tell(leecher, "connect")
            _heard(seeding)  # all want data, and their weights are set
            measured = _observe(setup, seeder, seeding, leechers)
            _tell(seeding, "end")
            measured.cpu, measured.uplink = json.loads(_heard(seeding))
        return measured


def _observe(
    setup: Setup,
    seeder: Host,
    seeding: subprocess.Popen[str],
    leechers: Sequence[subprocess.Popen[str]],
) -> Measured:
    measured = Measured(received=[[] for _ in leechers])
    changes = list(setup.changes[1:])
    began = time.monotonic()
    while (now := time.monotonic() - began) < setup.seconds:
        if changes and now >= changes[0][0]:
            seeder.limit_up(changes.pop(0)[1])
        for leecher in leechers:
            _tell(leecher, "count")
        for leecher, counts in zip(leechers, measured.received, strict=True):
            counts.append((time.monotonic() - began, float(_heard(leecher))))
        measured.link.append((time.monotonic() - began, float(_sent(seeding.pid))))
        time.sleep(_SAMPLE_S)
    return measured


def _sent(pid: int) -> int:
    """Bytes that left the host of a process."""
    for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "wire":
            return int(counters.split()[8])
    raise RuntimeError("the link is gone")


def _between(counts: Counts, since: float, until: float) -> float:
    return _at(counts, until) - _at(counts, since)


def _at(counts: Counts, when: float) -> float:
    """The count at that second, interpolated."""
    before_s, before = counts[0]
    for at_s, count in counts:
        if at_s >= when and at_s > before_s:
            return before + (count - before) * max(0.0, when - before_s) / (at_s - before_s)
        before_s, before = at_s, count
    return before


# --- processes ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def _process(host: Host, role: str, told: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Ended by its own id at the end of the block, and it leaves when our end of its input is gone."""
    with host.entered():
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), role, json.dumps(told)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a process of the swarm ended early; what it said is above")
    return line


def _tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _seeder(told: dict[str, Any]) -> None:
    from speedpay.market.governor import SAMPLE_S
    from speedpay.swarm import events
    from speedpay.swarm.create import create_torrent
    from speedpay.swarm.settings import SwarmSettings
    from speedpay.swarm.torrents import Swarm

    folder = Path(told["folder"])
    content = folder / "content.bin"
    with content.open("wb") as file:
        file.truncate(told["content_bytes"])
    created = create_torrent([content], piece_length=256 * 1024)
    (folder / "content.torrent").write_bytes(created.data)
    swarm = Swarm(
        SwarmSettings(
            f"{told['address']}:{_PORT}", told["upload_limit"] or None, dht=False, lsd=False
        )
    )
    torrent = swarm.add_torrent_file(created.data, folder)
    while not torrent.status().seeding:
        swarm.wait(0.05)
    print("here", flush=True)

    weight_of: dict[str, int] = told["weight_of"]
    address_of: dict[int, str] = {}
    wanting: set[int] = set()
    deadline = time.monotonic() + _START_S
    while len(wanting) < len(weight_of):
        for event in swarm.wait(0.02):
            if isinstance(event, events.PeerConnected):
                address_of[event.connection] = event.address
            elif isinstance(event, events.InterestChanged) and event.remote:
                wanting.add(event.connection)
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {len(wanting)} leechers came")
    for connection in wanting:
        swarm.extension.set_weight(connection, weight_of[address_of[connection]])
    print("weighted", flush=True)

    began, spent, uplink = time.monotonic(), time.thread_time(), []
    while (now := time.monotonic() - began) < told["seconds"]:
        swarm.govern(now < told["competing_s"], now)
        uplink.append((now, swarm.uplink() or 0))
        for _ in swarm.wait(0):
            pass
        time.sleep(SAMPLE_S)
    spent = (time.thread_time() - spent) / told["seconds"]
    sys.stdin.readline()
    print(json.dumps((spent, uplink)), flush=True)
    sys.stdin.readline()


def _leecher(told: dict[str, Any]) -> None:
    import libtorrent as lt

    session = lt.session({
        "listen_interfaces": f"{told['address']}:{_PORT}", "enable_dht": False, "enable_lsd": False,
        "enable_upnp": False, "enable_natpmp": False, "enable_outgoing_utp": told["utp"],
        "enable_outgoing_tcp": not told["utp"], "alert_mask": 0,
    })  # fmt: skip
    print("here", flush=True)
    handle = None
    for line in sys.stdin:
        if line.startswith("connect"):
            data = (Path(told["folder"]) / "content.torrent").read_bytes()
            parameters = lt.load_torrent_buffer(data)
            parameters.save_path = str(Path(told["folder"]) / told["address"])
            parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
            parameters.flags |= lt.torrent_flags.disable_pex
            handle = session.add_torrent(parameters)
            handle.connect_peer((told["seeder"], _PORT))
        else:
            assert handle is not None
            print(handle.status().total_payload_download, flush=True)


if __name__ == "__main__":
    {"seeder": _seeder, "leecher": _leecher}[sys.argv[1]](json.loads(sys.argv[2]))
