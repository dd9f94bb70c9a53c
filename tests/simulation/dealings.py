"""What clients of a simulated market do: they perform the core's effects as ``client/market.py`` does, stored
first, then sent, and the ledger answers their orders."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace

from speedpay.errors import BalanceTooSmall, Refused
from speedpay.peer import effects as do
from speedpay.peer.buyer import Buyer
from speedpay.peer.messages import Ack, Bid, Message, VoucherMessage
from speedpay.signing import SigningKey
from speedpay.units import Amount
from tests.simulation import promises
from tests.simulation.client import Client
from tests.simulation.parts import UTC, End, Item, Kind, Ledger, Link


class Dealings:
    """The part of ``World`` between the core's decisions and links, stores and ledger."""

    random: random.Random
    now: float
    trouble: float
    ledger: Ledger
    links: list[Link]
    awaited: list[tuple[Client, bytes]]
    key: Callable[[str], SigningKey]
    put: Callable[[Link, End, Item], None]
    disconnect: Callable[[Link], None]
    soon: Callable[[Callable[[], None]], None]
    _keys = 0

    def perform(self, client: Client, effects: Iterable[do.Effect]) -> None:
        effects = list(effects)
        for effect in effects:
            if isinstance(effect, do.SavePayer):
                identity = effect.channel.statement.channel
                assert client.buyer is not None
                key = {c.statement.channel: k for c, k in client.buyer.purse.channels.values()}
                client.saved_payer[identity] = effect.channel, key[identity]
                promises.check_saved_payer(self, client, effect.channel)
            elif isinstance(effect, do.SavePayee):
                client.saved_payee[effect.channel.statement.channel] = effect.channel
                promises.check_saved_payee(self, client, effect.channel)
        for effect in effects:
            self._perform_one(client, effect)

    def _perform_one(self, client: Client, effect: do.Effect) -> None:
        buyer = client.buyer
        match effect:
            case do.Send():
                self.send(client, effect.connection, effect.message, effect.by)
            case do.Withhold():
                if end := client.end(effect.connection):
                    end.withheld = effect.on
            case do.LockEscrow():
                self.soon(lambda: self._lock(client, buyer, effect))
            case do.AddEscrow():
                self.soon(lambda: self._add_escrow(client, buyer, effect))
            case do.AwaitClose():
                self.awaited.append((client, effect.channel))
            case do.Redeem():
                if client.kind is not Kind.HOARDER:
                    self.soon(lambda: self._redeem(client, effect.channel, effect.close))
            case do.Ban():
                if end := client.end(effect.connection):
                    other = client.ends[effect.connection].other(end).client
                    self.ban(client, other, effect.reason)
            case _:
                pass

    def send(
        self, client: Client, number: int, message: Message, by: SigningKey | None = None
    ) -> None:
        end = client.end(number)
        if end is None or client.ends[number] not in self.links:
            return
        if client.kind is Kind.MUTE and isinstance(message, Ack):
            return
        if client.kind is Kind.THIEF and isinstance(message, VoucherMessage):
            return
        if client.kind is Kind.BOASTER and isinstance(message, Ack):
            message = replace(message, cumulative=message.cumulative + Amount(10))
        if client.kind is Kind.COMPLAINER and isinstance(message, VoucherMessage):
            message = replace(message, refused_bytes=2**40)
        promises.check_said(client, message)
        self.put(client.ends[number], end, end.conversation.send(message, by))
        if isinstance(message, Bid):
            assert client.buyer is not None
            client.buyer.bid_left(number, end.conversation.sent_count)
        else:
            client.seller.left(number, end.conversation.sent_count, message)

    def ban(self, client: Client, other: Client, why: str) -> None:
        assert other.kind is not Kind.HONEST, f"{other.name} is honest, yet banned: {why}"
        client.banned.add(other.name)
        for link in [ln for ln in self.links if {ln.a.client, ln.b.client} == {client, other}]:
            self.disconnect(link)

    # --- the ledger's answers --------------------------------------------------------------------

    def _lock(self, client: Client, buyer: Buyer | None, effect: do.LockEscrow) -> None:
        if buyer is None or buyer is not client.buyer:
            return  # an order of an earlier run that never left
        self._keys += 1
        key = self.key(f"channel {self._keys}")
        try:
            self._perhaps_refuse()
            nonce = self._keys.to_bytes(16)
            expiry = UTC + int(self.now) + self.random.choice((700, 86_400))
            opened = self.ledger.open(
                client.name, client.wallet, key.public, effect.payee_key, nonce, effect.amount,
                expiry,
            )  # fmt: skip
        except Refused as why:
            refused = buyer.lock_refused(effect.connection, effect.amount, str(why), self.now)
            self.perform(client, refused)
            return
        self.perform(client, buyer.locked(effect.connection, opened, key))

    def _add_escrow(self, client: Client, buyer: Buyer | None, effect: do.AddEscrow) -> None:
        if buyer is None or buyer is not client.buyer:
            return
        try:
            self._perhaps_refuse()
            opened = self.ledger.top_up(effect.channel, effect.amount)
        except Refused as why:
            refused = buyer.lock_refused(effect.connection, effect.amount, str(why), self.now)
            self.perform(client, refused)
            return
        # The answer may be slower than the payee, who redeems and closes meanwhile.
        answer = lambda: self.perform(client, buyer.topped_up(effect.connection, opened))  # noqa: E731
        if self.random.random() < 0.2:
            self.soon(lambda: answer() if buyer is client.buyer else None)
        else:
            answer()

    def _perhaps_refuse(self) -> None:
        if self.random.random() < self.trouble * 5:
            raise BalanceTooSmall("the ledger would rather not", field="amount")

    def _redeem(self, client: Client, channel: bytes, close: bool) -> None:
        held = client.saved_payee.get(channel)
        if held is not None:  # or its copy of the store is from before
            self.ledger.redeem(channel, held.best, close)
        if close:
            client.seller.forget(channel)
        account = self.ledger.channels[channel]
        client.seller.redeemed(channel, account.paid, not account.open)

    def settle(self) -> None:
        for client, identity in list(self.awaited):
            account = self.ledger.channels[identity]
            if not account.open and self.random.random() < 0.3:
                self.awaited.remove((client, identity))
                if identity in client.saved_payer:
                    del client.saved_payer[identity]
                    client.settled += account.paid
                if client.buyer is not None:
                    client.buyer.closed(identity, account.paid)
