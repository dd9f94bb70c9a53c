"""Where a peer is, as far as an address tells: what one party gets many of at no cost is one place."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

#: The smallest network a provider gives to one line (RFC 6177); many give a /56 or more.
_V6_PREFIX = 64


def place_of(address: str) -> str:
    """An IPv4 address, or an IPv6 address's /64. IPv6 that only wraps an IPv4 address (mapped, 6to4,
    Teredo) is that address; what is no IP address is a place of its own."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return str(found)
    wrapped = found.ipv4_mapped or found.sixtofour or (found.teredo and found.teredo[1])
    if wrapped:
        return str(wrapped)
    network = int(found) >> (128 - _V6_PREFIX) << (128 - _V6_PREFIX)
    return f"{IPv6Address(network)}/{_V6_PREFIX}"
