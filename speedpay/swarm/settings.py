"""How a session is set up, and what that is in libtorrent's own settings."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from speedpay import __version__
from speedpay.errors import InvalidSetting
from speedpay.swarm.content import MAX_TORRENT_FILE_BYTES
from speedpay.units import KIB, MIB

#: From this upload limit on, send buffers are large: on slow uplinks they hold seconds of data that
#: no weight can reorder, on fast ones small buffers run dry between two ticks.
FAST_UPLINK_BYTES_PER_S = 8 * MIB


@dataclass(frozen=True, slots=True)
class SwarmSettings:
    """``listen`` is "address:port", several with commas, IPv6 in brackets; port 0 takes a free one.

    Limits are bytes a second of everything sent or received, None for none: the weights of peers divide
    an upload limit, so without one ``Swarm.govern`` sets it. ``dht`` (BEP 5) and ``lsd`` (BEP 14) look
    for peers beyond trackers, magnet links and other peers.
    """

    listen: str = "0.0.0.0:6881,[::]:6881"
    upload_limit: int | None = None
    download_limit: int | None = None
    dht: bool = True
    lsd: bool = True

    def __post_init__(self) -> None:
        _addresses(self.listen)
        for field in ("upload_limit", "download_limit"):
            limit = getattr(self, field)
            if limit is not None and not KIB <= limit <= 2**31 - 1:
                raise InvalidSetting("must be 1 KiB/s to 2 GiB/s", field=field)


def session_settings(settings: SwarmSettings) -> dict[str, Any]:
    addresses = _addresses(settings.listen)
    # On loopback each client has an address of its own, and must also call from it: libtorrent
    # takes one connection from an address.
    loopback = all(address.is_loopback for address in addresses)
    return {
        "listen_interfaces": settings.listen,
        "outgoing_interfaces": ",".join(map(str, addresses)) if loopback else "",
        # The port that was named or none, and a ListenFailed: another one nobody would find.
        "max_retry_port_bind": 0,
        "listen_system_port_fallback": False,
        "user_agent": f"speedpay/{__version__}",
        "peer_fingerprint": _fingerprint(),
        "enable_dht": settings.dht,
        "enable_lsd": settings.lsd,
        "enable_upnp": not loopback,
        "enable_natpmp": not loopback,
        # We call by TCP and answer both. uTP (BEP 29) gives way to whatever else is in a queue, and
        # closing a session takes two seconds longer. Nor is TCP to be slowed down for the sake of uTP
        # peers, libtorrent's way of mixing them.
        "enable_outgoing_utp": False,
        "mixed_mode_algorithm": 0,
        # The limiter hands out quota once a tick. At libtorrent's 500 ms a small weight's share is
        # less than a block and rounds to nothing (measured: Jain index 0.79, at 25 ms 0.996).
        "tick_interval": 10,
        # Seconds of work that is asked of a peer ahead. libtorrent's 3 leave the last blocks with the
        # slowest peers, and at the end a fast one takes them over only one by one.
        "request_queue_time": 1,
        # Whoever has no slot is sent nothing. libtorrent serves five pieces to every choked peer (BEP 6),
        # with the weight of one that has a slot: many together took more than the free pool.
        "allowed_fast_set_size": 0,
        # A payer gets its slot at the next round; libtorrent's 15 s are longer than some downloads.
        "unchoke_interval": 5,
        # Two finished peers keep their connection for the last payment.
        "close_redundant_connections": False,
        "max_metadata_size": MAX_TORRENT_FILE_BYTES,
        # A tracker that does not answer must not hold up the end of the program.
        "stop_tracker_timeout": 1,
        "alert_mask": 0,
        **slot_settings(free_slots(settings.upload_limit)),
        **limit_settings(settings.upload_limit, settings.download_limit),
    }


def limit_settings(upload_limit: int | None, download_limit: int | None) -> dict[str, int]:
    return upload_settings(upload_limit) | {"download_rate_limit": download_limit or 0}


def upload_settings(limit: int | None) -> dict[str, int]:
    """A limit that a user set, or none."""
    fast = limit is None or limit >= FAST_UPLINK_BYTES_PER_S
    return {
        "upload_rate_limit": limit or 0,
        "send_buffer_watermark": 4 * MIB if fast else 500 * KIB,
        # Percent of a second that is read ahead for a peer. What is in its buffer leaves before our
        # next message, and at once when there is one: half a second of a fast peer would be a burst.
        "send_buffer_watermark_factor": 20 if limit else 50,
        # What a peer may have in its buffer before it has been sent anything: one tick's worth. At
        # libtorrent's 10 KiB peers need two seconds to take up their share (of 6 MiB/s for two they
        # used 1.3 in the first 0.7 s, at 128 KiB 5.1), and until then nothing is weighted.
        "send_buffer_low_watermark": _clamp(
            (limit or FAST_UPLINK_BYTES_PER_S) // 40, 16 * KIB, 128 * KIB
        ),
    }


def governed_settings(limit: int | None, rate: int | None) -> dict[str, int]:
    """A limit that the governor set for now; ``rate`` is about what the network carries, None unknown.

    Less is read ahead than under a limit that stays: it leaves unweighted when a limit comes, and in bursts
    that look like an uplink which is full.
    """
    return {
        "upload_rate_limit": limit or 0,
        "send_buffer_watermark_factor": 10,
        "send_buffer_low_watermark": _clamp((rate or 0) // 100, 16 * KIB, 128 * KIB),
    }


def free_slots(upload_limit: int | None) -> int:
    """How many peers that do not pay are served at a time: one for each 128 KiB/s, at least four."""
    return _clamp((upload_limit or 8 * MIB) // (128 * KIB), 4, 64)


def slot_settings(free: int) -> dict[str, int]:
    # A quarter more, and one: what libtorrent keeps for the optimistic unchoke it leaves unused until then.
    return {
        "unchoke_slots_limit": free + free // 4 + 1,
        "num_optimistic_unchoke_slots": max(1, free // 5),
    }


def _clamp(value: int, least: int, most: int) -> int:
    return max(least, min(most, value))


def _fingerprint() -> str:
    """Azureus-style client id and version: the first 8 bytes of our peer id (BEP 20)."""
    major, minor, patch = (int(part) for part in __version__.split(".")[:3])
    return f"-sp{major:X}{minor:X}{patch:X}0-"


def _addresses(listen: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    addresses = []
    for interface in listen.split(","):
        host, colon, port = interface.rpartition(":")
        try:
            address = ipaddress.ip_address(host[1:-1] if host.startswith("[") else host)
            valid = bool(colon) and 0 <= int(port) <= 65535
        except ValueError:
            valid = False
        if not valid:
            raise InvalidSetting(
                f"{interface!r} is not an address and a port", field="listen", hint="0.0.0.0:6881"
            )
        addresses.append(address)
    return addresses
