"""The Python targets: each takes any bytes, and is broken when anything but a named refusal escapes, when
what was read is not written back the same, or when a refusal has changed something."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from speedpay import config
from speedpay.errors import InvalidSetting, Malformed, ProofBroken, Refused, SpeedpayError
from speedpay.ledger_api import answers, chain, epochs, owners, refusals, shapes
from speedpay.ledger_api.strict import Fields, dump, parse
from speedpay.peer.conversation import Conversation
from speedpay.peer.messages import decode, encode
from speedpay.proof.balance import BalanceProof
from speedpay.proof.evidence import Evidence
from speedpay.proof.head import EpochHead
from speedpay.swarm import bencoding
from speedpay.swarm.content import MAX_TOTAL_BYTES, check_info, check_torrent_file
from speedpay.wallet import keystore
from tests.fuzz.trade import trade
from tests.simulation import actions
from tests.vectors.generate import DOMAIN
from tests.vectors.session import SECRETS, handshake, met

#: Seconds of this thread for one peer message, whatever it is. An honest one takes a thousandth of it, also
#: under atheris, which makes Python several times slower; what this finds is work that grows with a number
#: in the message.
MAX_CPU_S = 0.5


def timed(body: Callable[[], None]) -> None:
    started = time.thread_time()
    body()
    assert time.thread_time() - started < MAX_CPU_S, "one message took too long"


# ------------------------------------------------------------------------------------------- peers


def messages(data: bytes) -> None:
    """The codec alone."""

    def body() -> None:
        try:
            message = decode(data)
        except Refused:
            return
        assert encode(message) == data, "two spellings of one message"

    timed(body)


def records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, payload) one after the other: a byte, two of length, so many bytes."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 3], "big")
        yield data[at], data[at + 3 : at + 3 + size]
        at += 3 + size


def seen(conversation: Conversation) -> tuple[Any, ...]:
    return conversation._session, conversation.sent_count, conversation.met


def sealed(data: bytes) -> None:
    """Payloads as they come off the wire, before and after the hellos; of two kinds the plaintext inside
    the seal is the stranger's, as that of whoever has met us."""
    seller = Conversation(DOMAIN)
    first = data[:1]
    if first and first[0] & 1:
        seller = met(DOMAIN, "seller")
    elif first and first[0] & 2:
        seller.hello(handshake("seller"), SECRETS["seller"])
    buyer = met(DOMAIN, "buyer")
    assert buyer._session is not None
    for number, (kind, payload) in enumerate(records(data[1:]), start=1):
        if number > 200:
            return
        if kind & 3 == 1:
            payload = buyer._session.seal(number, payload[:3000])
        elif kind & 3 == 2:
            secret: ChaCha20Poly1305 = buyer._session._sending
            payload = secret.encrypt(number.to_bytes(12), payload, buyer._session.transcript)
        before = seen(seller)

        def body(number: int = number, payload: bytes = payload, before: Any = before) -> None:
            try:
                seller.receive(number, payload, float(number))
            except Refused:
                assert seen(seller) == before, "a refusal changed the conversation"

        timed(body)


# ------------------------------------------------------------------------------------------- files


def torrent(data: bytes) -> None:
    """Torrent files and the info dictionaries that peers send."""
    with suppress(Malformed):
        value = bencoding.decode(data, "torrent")
        assert bencoding.decode(bencoding.encode(value), "torrent") == value
    for check in (check_torrent_file, check_info):
        try:
            found = check(data)
        except Malformed:
            continue
        assert len(found.infohash) == 20
        assert 0 < found.total_bytes == sum(file.length for file in found.files) <= MAX_TOTAL_BYTES
        paths = [file.path for file in found.files]
        assert len({path.casefold() for path in paths}) == len(paths)
        for path in paths:
            for element in path.split("/"):
                assert element not in ("", ".", ".."), "a path that leaves its folder"
                assert len(element.encode()) <= 255
                assert element.isprintable() or " " in element or not element.isascii()
                assert "\\" not in element
                assert "\0" not in element


class _File:
    """What config reads: a path that is these bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self, mode: str) -> io.BytesIO:
        assert mode == "rb"
        return io.BytesIO(self._data)

    def __str__(self) -> str:
        return "config.toml"


def settings(data: bytes) -> None:
    """config.toml, and what the environment says."""
    file: Any = _File(data)
    with suppress(InvalidSetting):
        in_file = config._read(file)
        found = config.resolve(Path("home"), file, {}, {}, in_file)
        assert all(value is None or isinstance(value, str) for value in found.shown().values())
    text = data[:4096].decode("utf-8", "surrogateescape")
    for name in config._SETTINGS:
        with suppress(InvalidSetting):
            config.resolve(Path("home"), Path("config.toml"), {}, {config.variable(name): text}, {})


def wallet(data: bytes) -> None:
    """The keystore's file, half of the time with the right checksum, or nothing would come past it."""
    content = data[1:]
    if data[:1] and data[0] & 1:
        body = b"\n".join(content.split(b"\n")[:2]) + b"\n"
        content = body + keystore._checksum_line(body)
    try:
        header, line, secret = keystore._parse(content)
    except ValueError:
        return
    assert line == content.split(b"\n")[0]
    assert len(secret) == 64 + 16
    assert header.scrypt.n <= 2**18, "a planted file that eats the memory"
    header.place()


def proof(data: bytes) -> None:
    """Evidence files, and the proofs and heads in them as bytes."""
    with suppress(Malformed):
        found = Evidence.from_json(data)
        again = Evidence.from_json(found.to_json())
        assert again == found
        with suppress(ProofBroken):
            found.check()
    for kind in (BalanceProof, EpochHead):
        with suppress(Malformed, ProofBroken):
            assert kind.from_bytes(data).to_bytes() == data


# ------------------------------------------------------------------------------------- the ledger's

#: What a hostile ledger answers, read by clients …
ANSWERS: tuple[Any, ...] = (
    answers.LedgerIdentity, answers.OpenedAccount, answers.Balance, answers.History,
    answers.ChannelView, epochs.EpochView, epochs.Inclusion, chain.Ordered, chain.Withdrawals,
    chain.Deposits, chain.ChainHealth,
)  # fmt: skip
#: … and what a hostile client asks, read by the ledger.
REQUESTS: tuple[Any, ...] = (
    shapes.OpenAccount, shapes.Send, shapes.OpenChannel, shapes.TopUp, chain.Withdraw,
    epochs.NamePayout, owners.Publish,
)  # fmt: skip


def ledger(data: bytes) -> None:
    """JSON of either side, by the reader that the first byte chooses."""
    which, body = data[0] if data else 0, data[1:]
    try:
        value = parse(body)
    except Malformed:
        return
    with suppress(SpeedpayError):
        refusals.read_error(Fields(value))
    with suppress(Malformed):
        shapes.redemptions_from_json(value)
    which %= len(ANSWERS) + len(REQUESTS)
    with suppress(Malformed):
        if which < len(ANSWERS):
            kind = ANSWERS[which]
            found = kind.read(Fields(value))
            assert kind.read(Fields(parse(dump(found.to_json())))) == found
        else:
            kind = REQUESTS[which - len(ANSWERS)]
            asked = kind.from_json(value)
            assert kind.from_json(parse(dump(asked.to_json()))) == asked


def course_of_events(data: bytes) -> None:
    """A whole small market: what its peers do and say, cuts, restarts and clocks."""
    actions.run(data)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "messages": messages,
    "sealed": sealed,
    "trade": trade,
    "torrent": torrent,
    "settings": settings,
    "wallet": wallet,
    "proof": proof,
    "ledger": ledger,
    "actions": course_of_events,
}
#: Not among ``everything``: one of its inputs takes as long as a hundred of the others.
SLOW = ("actions",)


def everything(data: bytes) -> None:
    """All of them in one: the first byte chooses."""
    names = [name for name in TARGETS if name not in SLOW]
    TARGETS[names[(data[0] if data else 0) % len(names)]](data[1:])
