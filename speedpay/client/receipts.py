"""What was paid for each download, by the signed objects that say so. No network is needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from speedpay.channel.payer import PayerChannel
from speedpay.channel.voucher import SignedStatement, Voucher
from speedpay.client.account import Keys
from speedpay.client.proving import Proved, Prover
from speedpay.client.records import Bought, Ended
from speedpay.ledger_api.shapes import ChannelState
from speedpay.signing import Domain
from speedpay.units import ZERO, Amount, MoneyClass


@dataclass(slots=True)
class Purchase:
    """One download that was paid for. ``ended`` is None when no run of it came to an end: the program was
    killed. ``broken`` and ``missing``: sentences about the whole; each channel has its own."""

    number: int
    infohash: bytes
    name: str
    money_class: MoneyClass
    done: bool
    ended: Ended | None
    channels: list[Proved]
    broken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def paid(self) -> Amount:
        return _total(channel.paid for channel in self.channels)

    @property
    def proved(self) -> Amount:
        """Of ``paid``: what the ledger signed as paid."""
        return _total(one.said.paid for one in self.channels if one.said)

    @property
    def refunded(self) -> Amount:
        return _total(one.said.refunded for one in self.channels if one.said)

    @property
    def promised(self) -> Amount:
        """The sum of the highest vouchers."""
        return _total(channel.promised for channel in self.channels)

    def problems(self) -> list[str]:
        return [*self.broken, *(said for one in self.channels for said in one.broken)]


def judged(bought: Bought, name: str, prover: Prover) -> Purchase:
    """``name``: what the torrent is called, where no run of it ended."""
    ended = bought.ended
    channels = []
    for row in bought.channels:
        found = Proved(row.channel, None, row.signed, row.paid)
        prover.statement(found, row.statement, row.signature)
        prover.bought(found)
        prover.receipt(found, bought.infohash)
        if found.statement is not None and found.promised > _escrow(found):
            found.broken.append(
                f"vouchers over {found.promised} tok, more than its escrow of {_escrow(found)} tok"
            )
        channels.append(found)
    made = Purchase(
        bought.plan, bought.infohash, ended.name if ended else name, bought.money_class, bought.done,
        ended, channels,
    )  # fmt: skip
    _add_up(made)
    return made


def vouchers(made: Purchase, keys: Keys, domain: Domain) -> dict[bytes, Voucher]:
    """channel → its last voucher, signed again with the wallet's key: byte for byte the one that was sent
    (RFC 6979). Where the ledger shows one over the same total, the two must be the same."""
    signed: dict[bytes, Voucher] = {}
    for one in made.channels:
        if one.statement is None or not one.promised:
            continue
        key = keys.channel_key(made.infohash, one.statement.nonce)
        if key.public != one.statement.payer_key:
            one.broken.append("it is not a channel of this wallet")
            continue
        opened = SignedStatement(one.statement, b"")
        voucher = PayerChannel(opened, one.promised).repeat(key, domain)
        signed[one.channel] = voucher
        shown = one.said.voucher if one.said else None
        if shown and shown.cumulative == voucher.cumulative and shown != voucher:
            one.broken.append("the voucher that the ledger shows is not the one this wallet signs")
    return signed


def _add_up(made: Purchase) -> None:
    """The receipt was written while last channels were open: a voucher in it that its payee never brought
    to the ledger was not paid in the end."""
    if made.ended is None:
        made.notes.append("no run of it came to an end, so only its channels say what was paid")
        return
    said, paid, promised = made.ended.paid, made.paid, made.promised
    if said > promised or (said < paid and made.done):
        made.broken.append(
            f"the receipt says {said} tok, its channels add up to {paid} tok paid of vouchers over"
            f" {promised} tok"
        )
    elif said < paid:
        made.notes.append(
            f"a later run was killed before its end: {paid - said} tok came after the receipt"
        )
    elif said > paid:
        made.notes.append(
            f"{said - paid} tok of vouchers were never brought to the ledger by their payees, and came back"
        )
    waiting = [one for one in made.channels if one.recorded is None and not _is_closed(one)]
    if waiting:
        made.notes.append(
            f"{len(waiting)} of its channels are not closed yet: at most their vouchers are paid,"
            " the rest comes back"
        )


def _is_closed(one: Proved) -> bool:
    return one.said is not None and one.said.state is ChannelState.CLOSED


def _escrow(found: Proved) -> Amount:
    known = found.said.statement if found.said and found.said.statement else found.statement
    return known.escrow if known else ZERO


def _total(amounts: Iterable[Amount]) -> Amount:
    total = ZERO
    for amount in amounts:
        total += amount
    return total
