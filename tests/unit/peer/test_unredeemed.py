"""What a seller loses to whoever stole a response key: at most its cap, once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from speedpay.certificates import CertificateSet, Revocation
from speedpay.channel.life import State
from speedpay.channel.voucher import SignedStatement, Voucher
from speedpay.errors import BadSignature, Stale
from speedpay.market.risk import Risk, first_cap, is_time_to_redeem, room
from speedpay.peer.effects import Effect, Note, Redeem, Send
from speedpay.peer.messages import Bid, Open, Pause, Resume, TopUp, VoucherMessage
from speedpay.peer.seller import Seller, Terms
from speedpay.peer.unredeemed import Unredeemed
from speedpay.signing import Certificate
from speedpay.units import KIB, MIB, ZERO, Amount, MoneyClass, Price, Share
from tests.unit.peer.pair import UTC, statement
from tests.vectors.generate import CERTIFICATES, DOMAIN, PAYEE, RESPONSE, ROOT, key

CAP, PRICE = Amount(1_000_000), Price(100_000)
BLOCK = 16 * KIB
TAKEN = Revocation.issue(ROOT, DOMAIN.network, RESPONSE.public, UTC + 5)
NEXT = key("next response")
BOTH = CERTIFICATES.merged(
    [Certificate.issue(ROOT, DOMAIN.network, NEXT.public, UTC, UTC + 10**6)], [], UTC
)


class Thief:
    """A payer with a stolen response key: it makes channels of any size that no ledger knows, and pays
    with vouchers for them as an honest payer would."""

    def __init__(self, seller: Seller) -> None:
        self.seller, self.now, self.connection, self.number = seller, 1000.0, 0, 10
        self.asked: list[Redeem] = []
        self.said: list[Effect] = []
        self.had = 0

    def come(self, nonce: int) -> None:
        self.connection, self.number = self.connection + 1, 10
        self.channel = statement(nonce, Amount(10**12), UTC + 86_400)
        self.payer, self.signed = key(f"channel {nonce}"), ZERO
        self.do(self.seller.met(self.connection, PAYEE, f"192.0.2.{nonce}", True, UTC))
        self.tell(Bid(1, PRICE, 2**20, 3600))
        opened = self.channel
        self.tell(Open(opened.statement, opened.signature, ZERO))

    def tell(self, message: object) -> None:
        self.number += 1
        self.do(
            self.seller.message(self.connection, self.number, message, self.now, UTC)  # type: ignore[arg-type]
        )

    def do(self, effects: list[Effect]) -> None:
        self.said += effects
        self.asked += [effect for effect in effects if isinstance(effect, Redeem)]
        for effect in effects:
            if isinstance(effect, Send):
                self.seller.left(effect.connection, self.number, effect.message)

    def take(self, most_blocks: int = 4000) -> None:
        """Blocks as long as the seller gives them, each paid at once."""
        for _ in range(most_blocks):
            if not self._is_served():
                self.wait(1)
            if not self._is_served():
                return
            self.do(self.seller.served(self.connection, BLOCK, self.number, 99, self.now))
            self.had += BLOCK
            self.signed += PRICE.cost_floor(BLOCK)
            body = Voucher.sign(self.payer, DOMAIN, self.channel.statement.channel, self.signed)
            self.tell(VoucherMessage(body.channel, body.cumulative, body.signature, 0, 0))

    def _is_served(self) -> bool:
        buying = self.seller._buying[self.connection]
        return not buying.withheld and buying.state is State.ACTIVE

    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1.0
            self.do(self.seller.tick(self.now, UTC))

    @property
    def worth(self) -> int:
        """What it had, in µtok, rounded up."""
        return -(-self.had * PRICE.utok_per_mib // MIB)

    @property
    def identity(self) -> bytes:
        return self.channel.statement.channel


def seller_with(*proven: bytes) -> Seller:
    terms = Terms(Price(1), frozenset(MoneyClass), Share(0), risk_cap=CAP)
    return Seller(DOMAIN, BOTH, terms, proven=proven)


def test_whoever_stole_a_response_key_takes_at_most_the_cap() -> None:
    thief = Thief(seller_with(RESPONSE.public))
    for nonce in range(1, 6):
        thief.come(nonce)
        thief.take()
        thief.wait(5)
    assert CAP.utok * 9 // 10 < thief.worth <= CAP.utok
    assert thief.asked
    assert not any(redeem.close for redeem in thief.asked), "at half of it the ledger was asked"


def test_under_a_key_for_which_the_ledger_never_paid_it_is_a_tenth() -> None:
    thief = Thief(seller_with())
    for nonce in range(1, 6):
        thief.come(nonce)
        thief.take()
    assert first_cap(CAP).utok * 8 // 10 < thief.worth <= first_cap(CAP).utok


def test_what_was_lost_cannot_be_taken_once_more() -> None:
    """The ledger says that it knows no such channel; the thief comes with the next."""
    thief = Thief(seller_with(RESPONSE.public))
    for nonce in range(1, 30):
        thief.come(nonce)
        thief.take(most_blocks=40)
        thief.do(thief.seller.disowned(thief.identity))
    assert thief.worth <= CAP.utok
    assert any("they are lost" in effect.text for effect in thief.said if isinstance(effect, Note))


def test_what_was_lost_before_a_restart_does_not_end_all_sales_after_it() -> None:
    held = Unredeemed(CAP, [RESPONSE.public])
    held.accepted(b"forged", CAP)  # from the store, whose ledger does not know it
    held.vouched(b"good", RESPONSE.public)
    assert held.room(b"good") == ZERO
    assert held.lost(b"forged") == CAP
    assert held.room(b"good") == CAP


def test_what_was_lost_under_one_key_is_no_loss_of_another() -> None:
    held = Unredeemed(CAP, [RESPONSE.public, NEXT.public])
    held.vouched(b"forged", RESPONSE.public)
    held.vouched(b"same", RESPONSE.public)
    held.vouched(b"good", NEXT.public)
    held.accepted(b"forged", CAP)
    assert held.lost(b"forged") == CAP
    assert held.room(b"same") == ZERO
    assert held.room(b"good") == CAP
    held.revoked([RESPONSE.public])
    assert held.room(b"same") == first_cap(CAP)


def test_a_sale_goes_on_when_the_ledger_has_confirmed() -> None:
    payer = Thief(seller_with())
    payer.come(1)
    for _ in range(9):
        payer.take()
        assert payer.asked, "and not only when it stands still"
        payer.seller.redeemed(payer.identity, payer.signed, False)
        payer.wait(1)
    assert payer.worth > 2 * CAP.utok


def test_at_the_cap_a_sale_pauses_for_as_long_as_the_ledger_is_away_and_then_goes_on() -> None:
    payer = Thief(seller_with(RESPONSE.public))
    payer.come(1)
    payer.take()
    had = payer.had
    payer.tell(Bid(2, PRICE, 2**20, 3600))
    payer.wait(300)
    sent = [type(effect.message) for effect in payer.said if isinstance(effect, Send)]
    assert Pause in sent
    payer.take()
    assert payer.had == had, "nothing is billed meanwhile"
    payer.seller.redeemed(payer.identity, payer.signed, False)
    payer.wait(1)
    sent = [type(effect.message) for effect in payer.said if isinstance(effect, Send)]
    assert sent[-1] is Resume
    payer.take()
    assert payer.had > had


def test_a_running_sale_goes_on_after_its_key_was_revoked_and_is_redeemed_at_once() -> None:
    payer = Thief(seller_with(RESPONSE.public))
    payer.come(1)
    payer.take(most_blocks=40)
    payer.asked.clear()
    payer.do(payer.seller.learn(BOTH.merged([], [TAKEN], UTC)))
    assert payer.asked == [Redeem(payer.identity, close=False)]
    payer.seller.redeemed(payer.identity, payer.signed, False)
    had = payer.had
    for _ in range(30):
        payer.take()
        payer.seller.redeemed(payer.identity, payer.signed, False)
        payer.wait(1)
    assert (payer.had - had) * PRICE.utok_per_mib // MIB > CAP.utok


def test_a_channel_under_a_revoked_key_is_stale_and_what_was_lost_under_it_is_written_off() -> None:
    thief = Thief(seller_with(RESPONSE.public))
    thief.come(1)
    thief.take()
    thief.do(thief.seller.disowned(thief.identity))
    thief.do(thief.seller.learn(BOTH.merged([], [TAKEN], UTC)))
    with pytest.raises(Stale):
        thief.come(2)
    assert thief.seller.unredeemed.room(bytes(32)) == first_cap(CAP)


def test_a_statement_that_no_known_key_signed_changes_nothing() -> None:
    thief = Thief(Seller(DOMAIN, CertificateSet(DOMAIN), seller_with().terms))
    with pytest.raises(BadSignature):
        thief.come(1)
    assert thief.seller._channels == {}


def test_a_top_up_moves_the_risk_to_the_key_that_vouches_for_it() -> None:
    payer = Thief(seller_with())
    payer.come(1)
    more = replace(payer.channel.statement, escrow=Amount(10**12 + 5))
    signed = SignedStatement.sign(NEXT, DOMAIN, more)
    payer.take(most_blocks=10)
    payer.tell(TopUp(signed.statement, signed.signature))
    assert payer.seller.redeemed(payer.identity, payer.signed, False) == NEXT.public


def test_sums_are_those_of_the_channels() -> None:
    held = Unredeemed(CAP, [RESPONSE.public])
    for n in range(1, 4):
        held.vouched(bytes([n]), RESPONSE.public)
        held.accepted(bytes([n]), Amount(100 * n))
    assert held.room(b"\x01") == Amount(CAP.utok - 600)
    held.redeemed(
        b"\x02",
        Amount(150),
    )
    held.closed(b"\x03")
    assert held.room(b"\x01") == Amount(CAP.utok - 150)
    held.redeemed(b"\x01", Amount(100))
    held.redeemed(b"\x02", Amount(200))
    assert held.room(b"\x01") == CAP


def test_room_is_what_either_cap_leaves() -> None:
    for total, under, proven, left in (
        (0, 0, True, 1_000_000), (0, 0, False, 100_000), (400_000, 100_000, False, 0),
        (950_000, 10_000, False, 50_000), (1_200_000, 0, True, 0), (600_000, 600_000, True, 400_000),
    ):  # fmt: skip
        assert room(CAP, Risk(Amount(total), Amount(under), proven)) == Amount(left)
    assert not is_time_to_redeem(CAP, Risk(Amount(499_999), Amount(49_999), False))
    assert is_time_to_redeem(CAP, Risk(Amount(500_000), ZERO, True))
    assert is_time_to_redeem(CAP, Risk(Amount(50_000), Amount(50_000), False))
    assert first_cap(Amount(3)) == Amount(1)
