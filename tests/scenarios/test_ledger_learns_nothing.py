"""What the ledger can know of a paid download: every byte that reached it, and every byte that it kept.

Both are searched for the torrent, its name, the addresses of the clients and an e-mail address, in all
the ways in which a careless line of code would write them.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import socket
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from speedpay.ledger_api.client import LedgerClient
from speedpay.ledger_api.shapes import MIN_LIFETIME_S, OpenChannel
from speedpay.swarm.create import create_torrent
from speedpay.units import MIB, Amount, MoneyClass
from tests.scenarios.clients import (
    PORT,
    Content,
    Ledger,
    Proxy,
    Town,
    User,
    address,
    auto,
    here,
    ledger_in,
    seeder,
)
from tests.unit.ledger.desk import fresh, new_key

E_MAIL = "alice.liddell@example.org"
NAME = f"Geheime Bücher & {E_MAIL}.iso"
#: Shorter is found in random bytes now and then.
_LEAST_BYTES = 6


class Recorder(Proxy):
    """A proxy that keeps every byte that passes, in both directions."""

    def __init__(self, ledger: Ledger) -> None:
        self.passed = bytearray()
        super().__init__(ledger, heard=self.passed.extend)


def spellings(secret: bytes) -> Iterator[bytes]:
    """``secret`` as it may stand in a message or a file: raw, hex, base32, base64, percent, JSON."""
    assert len(secret) >= _LEAST_BYTES
    yield secret
    for text in (secret.hex(), base64.b32encode(secret).rstrip(b"=").decode()):
        yield text.lower().encode()
        yield text.upper().encode()
    for ahead in range(3):  # as part of something longer it begins at any of three places
        inner = base64.b64encode(bytes(ahead) + secret)[(0, 2, 3)[ahead] :].rstrip(b"=")[:-1]
        yield inner
        yield inner.replace(b"+", b"-").replace(b"/", b"_")
    every = "".join(f"%{byte:02x}" for byte in secret)
    yield every.encode()
    yield every.upper().encode()
    yield urllib.parse.quote_from_bytes(secret).encode()
    yield urllib.parse.quote_plus(secret).encode()
    try:
        yield json.dumps(secret.decode())[1:-1].encode()
    except UnicodeDecodeError:
        return


def secrets_of(content: Content, addresses: list[str]) -> dict[str, bytes]:
    """What must not be there. Halves, too: sixteen bytes of an infohash would make a fine nonce."""
    found = {
        "infohash, first half": content.infohash[:10],
        "infohash, second half": content.infohash[10:],
        "name": NAME.encode(),
        "part of the name": "Bücher".encode(),
        "e-mail": E_MAIL.encode(),
        "torrent": content.torrent.read_bytes()[:64],
        "magnet link": b"magnet:?",
        "torrent link": b"urn:btih",
    }
    for one in addresses:
        found[f"address {one}"] = one.encode()
        found[f"compact {one}"] = socket.inet_aton(one) + PORT.to_bytes(2)
    return found


def leaks(haystack: bytes, secrets: dict[str, bytes]) -> set[str]:
    return {
        name
        for name, secret in secrets.items()
        if any(spelling in haystack for spelling in spellings(secret))
    }


def kept_by(ledger: Ledger) -> dict[str, bytes]:
    """Every file of the ledger, as it lies on the disk while it runs."""
    return {
        str(file.relative_to(ledger.folder)): file.read_bytes()
        for file in ledger.folder.rglob("*")
        if file.is_file()
    }


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with ledger_in(tmp_path / "ledger") as ledger:
        made = Town(tmp_path, ledger)
        yield made
        made.close()


def secret_content(folder: Path) -> Content:
    folder.mkdir()
    path = folder / NAME
    path.write_bytes(random.Random(5).randbytes(4 * MIB))
    made = create_torrent([path], piece_length=256 * 1024)
    torrent = folder / "content.torrent"
    torrent.write_bytes(made.data)
    return Content(made, path, torrent)


def leak_a_torrent(user: User, content: Content) -> None:
    """The planted leak: a channel whose nonce is made of the infohash, as a hasty hand would make it."""
    order = OpenChannel(
        new_key().public, new_key().public, content.infohash[:16], MoneyClass.CREDIT, Amount(1),
        MIN_LIFETIME_S,
    )  # fmt: skip
    with LedgerClient(user.url) as ledger:
        ledger.open_channel(user.wallet.keys.identity, user.account, order, fresh())


def test_a_paid_download_tells_the_ledger_nothing_of_torrent_name_address_or_person(
    town: Town, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder, content = Recorder(town.ledger), secret_content(town.folder / "secret")
    payer, payee = town.user(recorder.url), town.user(recorder.url)
    addresses: list[str] = []

    async def scene() -> int:
        async with (
            seeder(payee, content, up_limit=8 * MIB) as origin,
            here(payer, content, town.place()) as leecher,
        ):
            receipt = await leecher.get(auto(), origin)
            addresses.extend([origin.address, leecher.address])
        return receipt.paid.utok

    paid = asyncio.run(scene())
    assert paid, "nothing was paid, so nothing was said"
    secrets, traffic, files = (
        secrets_of(content, addresses),
        bytes(recorder.passed),
        kept_by(town.ledger),
    )
    for path in (b"POST /v1/channels ", b"POST /v1/redemptions ", b"/balance "):
        assert path in traffic
    assert leaks(traffic, secrets) == set()
    asked_from = {"the address that asks": b"127.0.0.1"}
    for name, kept in files.items():
        assert leaks(kept, secrets | asked_from) == set(), name
    assert any(payer.account in kept for kept in files.values()), "the right files were read"

    leak_a_torrent(payer, content)
    first_half = {"infohash, first half"}
    assert leaks(bytes(recorder.passed), secrets) == first_half
    assert (
        set.union(*(leaks(kept, secrets) for kept in kept_by(town.ledger).values())) == first_half
    )
    recorder.close()
    with capsys.disabled():
        print(
            f" traffic: {len(traffic)} bytes and {len(files)} files of {sum(map(len, files.values()))} bytes"
            f" searched for {len(secrets)} secrets, 0 leaks; a planted one found in both"
        )


@pytest.mark.parametrize("at", range(3))
def test_every_spelling_is_found_wherever_it_stands(tmp_path: Path, at: int) -> None:
    """Each as somebody's code would write it, at three offsets, as base64 has them."""
    content = secret_content(tmp_path / "secret")
    secrets, noise = secrets_of(content, [address()]), random.Random(at).randbytes(60 + at)
    for name, secret in secrets.items():
        whole = noise + secret + noise
        for written in (
            whole, whole.hex().encode(), whole.hex().upper().encode(),
            noise + base64.b32encode(secret), noise + base64.b32encode(secret).lower(),
            base64.b64encode(whole), base64.urlsafe_b64encode(whole),
            urllib.parse.quote_from_bytes(secret).encode(), urllib.parse.quote_plus(secret).encode(),
            "".join(f"%{byte:02X}" for byte in secret).encode(),
        ):  # fmt: skip
            assert name in leaks(written, secrets)
    assert "name" in leaks(json.dumps({"name": NAME}).encode(), secrets)
    assert leaks(random.Random(7).randbytes(1_000_000), secrets) == set()
