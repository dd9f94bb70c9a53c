"""TRX and two tokens at the wallet's own address: shown exactly, sent once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedpay.chain import artifact
from speedpay.errors import BalanceTooSmall, ChainRefused, Malformed
from speedpay.wallet.chain_money import (
    TRX,
    Coin,
    Currency,
    Transfer,
    holding,
    other_coin,
    send,
    token_coin,
)
from tests.unit.wallet.onchain import MINTER, SUN, World, _deploy, key, world

BOB = key("bob").address


@pytest.fixture(scope="module")
def chain() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.mark.parametrize(
    ("decimals", "typed", "units"),
    [
        (6, "1", 10**6),
        (6, "0.000001", 1),
        (6, "12.5", 12_500_000),
        (0, "7", 7),
        (18, "0.1", 10**17),
    ],
)
def test_amounts_are_exact_in_every_coin(decimals: int, typed: str, units: int) -> None:
    coin = Coin(Currency.OTHER, "X", decimals)
    assert coin.base_units(typed) == units
    assert coin.text(units) == f"{typed} X"


@given(st.integers(1, 10**30), st.integers(0, 36))
def test_what_is_shown_can_be_typed(units: int, decimals: int) -> None:
    coin = Coin(Currency.OTHER, "X", decimals)
    assert coin.base_units(coin.text(units).removesuffix(" X")) == units


@pytest.mark.parametrize(
    "typed", ["", ".", "0", "0.0", "-1", "1e3", "1.0000001", "１", "1,5", " 1", "1.", "9" * 90]
)
def test_anything_else_is_no_amount(typed: str) -> None:
    with pytest.raises(Malformed) as caught:
        TRX.base_units(typed)
    assert caught.value.field == "amount"


def test_each_coin_is_sent_once(chain: World, tmp_path: Path) -> None:
    who = chain.rich("alice", trx=100, tok=50)
    other = other_coin(chain.tron, _deploy(chain.tron, artifact.TOKEN, [MINTER.address, 10**15]))
    assert (other.decimals, other.currency) == (6, Currency.OTHER)
    for coin, units in ((TRX, 3 * SUN), (token_coin(chain.token.address), 20 * SUN)):
        before = holding(chain.tron, BOB, coin).base_units
        sent = send(
            chain.tron, chain.outbox(tmp_path, who), who.address, Transfer(BOB, coin, units)
        )
        assert (sent.earlier, sent.job.resumed, sent.receipt.ok) == (None, False, True)
        assert holding(chain.tron, BOB, coin).base_units == before + units
    assert holding(chain.tron, who.address, token_coin(chain.token.address)).base_units == 30 * SUN


def test_a_payment_begun_earlier_is_finished_first_and_the_same_one_only_once(
    chain: World, tmp_path: Path
) -> None:
    who, token = chain.rich("carol", tok=50), token_coin(chain.token.address)
    first, second = Transfer(BOB, token, 5 * SUN), Transfer(BOB, token, 7 * SUN)
    before = holding(chain.tron, BOB, token).base_units

    def begun() -> None:
        """Stored, then the power went."""
        outbox = chain.outbox(
            tmp_path, who, report=lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            send(chain.tron, outbox, who.address, first)

    begun()
    again = send(chain.tron, chain.outbox(tmp_path, who), who.address, first)
    assert again.job.resumed
    begun()
    other = send(chain.tron, chain.outbox(tmp_path, who), who.address, second)
    assert other.earlier is not None
    assert other.earlier.wish == first.wish()
    assert not other.job.resumed
    assert holding(chain.tron, BOB, token).base_units == before + 17 * SUN


def test_what_is_not_there_is_not_sent(chain: World, tmp_path: Path) -> None:
    token = token_coin(chain.token.address)
    poor = chain.rich("poor", trx=0, tok=5)
    outbox = chain.outbox(tmp_path, poor)
    with pytest.raises(BalanceTooSmall, match="holds 5 tok, which is less than 6 tok"):
        send(chain.tron, outbox, poor.address, Transfer(BOB, token, 6 * SUN))
    with pytest.raises(ChainRefused, match="holds 0 TRX and needs about"):
        send(chain.tron, outbox, poor.address, Transfer(BOB, token, 5 * SUN))
    assert outbox.job() is None


def test_an_address_without_a_token_behind_it_is_no_coin(chain: World) -> None:
    with pytest.raises(ChainRefused, match="is no TRC-20") as caught:
        other_coin(chain.tron, BOB)
    assert caught.value.field == "other_token"
