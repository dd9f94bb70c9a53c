"""A swarm of the user's own numbers, read from a file. Everything in it is checked here, and nowhere else.

``docs/market.md`` documents the form.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from speedpay.config import parse_rate
from speedpay.errors import InvalidSetting, Malformed, NotFound, SpeedpayError
from speedpay.ledger_api.strict import Fields, parse
from speedpay.market.allocator import DEFAULT_FREE_POOL, MIN_FREE_POOL
from speedpay.market.bidder import Plan
from speedpay.market.place import place_of
from speedpay.units import GIB, KIB, MIB, Amount, Price, Share

MAX_FILE_BYTES = MIB
MAX_SEEDERS = 100
MAX_PEERS = 2_000
MAX_CONNECTIONS = 10_000
_MAX_TEXT = 64
_MAX_BYTES = 2**50
NO_LIMIT = 2**50


@dataclass(frozen=True, slots=True)
class OwnPeer:
    """``plan``: None in the free lane. ``place``: what counts as one; ``seeders``: their names."""

    name: str
    wanted: int
    downlink: int
    plan: Plan | None
    place: str
    seeders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OwnSwarm:
    """``uplinks``: seeder's name → bytes a second."""

    free_pool: Share
    uplinks: Mapping[str, int]
    peers: Sequence[OwnPeer]


def read_swarm(path: Path) -> OwnSwarm:
    """Raises NotFound, or InvalidSetting that names the field."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}") from error
    try:
        if len(raw) > MAX_FILE_BYTES:
            raise Malformed("is larger than 1 MiB", field="file")
        return parse_swarm(parse(raw))
    except SpeedpayError as error:
        hint = error.hint or "docs/market.md shows what the file holds"
        raise InvalidSetting(error.message, field=f"{path}: {error.field}", hint=hint) from error


def parse_swarm(value: object) -> OwnSwarm:
    """Raises Malformed or InvalidSetting, naming the field."""
    whole = Fields(value)
    free_pool = DEFAULT_FREE_POOL
    if whole.has("free_pool"):
        free_pool = Share.from_text(whole.text("free_pool", _MAX_TEXT), "free_pool")
    if free_pool < MIN_FREE_POOL:
        raise Malformed(f"must be at least {MIN_FREE_POOL}", field="free_pool")
    uplinks: dict[str, int] = {}
    for n, one in enumerate(whole.array("seeders", 1, MAX_SEEDERS)):
        seeder = Fields(one, f"seeders[{n}]")
        uplinks[_name(seeder, uplinks)] = _rate(seeder, "uplink")
        seeder.end()
    peers: dict[str, OwnPeer] = {}
    for n, one in enumerate(whole.array("peers", 1, MAX_PEERS)):
        fields = Fields(one, f"peers[{n}]")
        peer = _peer(fields, _name(fields, peers), uplinks)
        fields.end()
        peers[peer.name] = peer
    whole.end()
    if sum(len(peer.seeders) for peer in peers.values()) > MAX_CONNECTIONS:
        raise Malformed(f"make more than {MAX_CONNECTIONS} connections", field="peers")
    return OwnSwarm(free_pool, uplinks, list(peers.values()))


def _peer(peer: Fields, name: str, uplinks: Mapping[str, int]) -> OwnPeer:
    wanted = _size(peer, "wanted")
    downlink = _rate(peer, "downlink") if peer.has("downlink") else NO_LIMIT
    place = f"peer {name}"
    if peer.has("address"):
        try:
            place = place_of(str(ip_address(peer.text("address", _MAX_TEXT))))
        except ValueError as error:
            raise Malformed("is not an IP address", field=peer.path("address")) from error
    seeders: tuple[str, ...] = tuple(uplinks)
    if peer.has("from"):
        seeders = tuple(str(one) for one in peer.array("from", 1, MAX_SEEDERS))
        if len(set(seeders)) < len(seeders) or not uplinks.keys() >= set(seeders):
            raise Malformed("must name seeders of this file, each once", field=peer.path("from"))
    return OwnPeer(name, wanted, downlink, _plan(peer, wanted), place, seeders)


def _plan(peer: Fields, wanted: int) -> Plan | None:
    bid = peer.text("bid", _MAX_TEXT) if peer.has("bid") else "0"
    if bid != "auto":
        price = Price.from_tokens_per_gib(bid, peer.path("bid"))
        whole = Amount(2**62)
        return Plan(Share(1_000_000), whole, wanted, wanted, fixed=price) if price else None
    balance = Amount.from_tokens(peer.text("balance", _MAX_TEXT), peer.path("balance"))
    share = "0.25"
    if peer.has("consumption"):
        share = peer.text("consumption", _MAX_TEXT)
    consumption = Share.from_text(share, peer.path("consumption"))
    return Plan(consumption, balance, wanted, wanted).start()


def _name(fields: Fields, others: Container[str]) -> str:
    name = fields.text("name", _MAX_TEXT)
    if not name or not name.isprintable():
        raise Malformed("must be printable, and not empty", field=fields.path("name"))
    if name in others:
        raise Malformed("is another's name too", field=fields.path("name"))
    return name


def _rate(fields: Fields, name: str) -> int:
    return parse_rate(fields.text(name, _MAX_TEXT), fields.path(name))


def _size(fields: Fields, name: str) -> int:
    match = re.fullmatch(
        r"([0-9]{1,9})(?:\.([0-9]{1,3}))?\s*([KMG])iB", fields.text(name, _MAX_TEXT)
    )
    if not match:
        raise Malformed("must be a size such as 700MiB or 1.5GiB", field=fields.path(name))
    unit = {"K": KIB, "M": MIB, "G": GIB}[match[3]]
    size = int(match[1]) * unit + (int(match[2]) * unit // 10 ** len(match[2]) if match[2] else 0)
    if not 0 < size <= _MAX_BYTES:
        raise Malformed("must be above zero and at most 1024 TiB", field=fields.path(name))
    return size
