"""What the wallet's own address on the chain holds, as ``fund`` and ``wallet chain`` show it."""

from __future__ import annotations

from speedpay.chain import address
from speedpay.chain.tron import Tron
from speedpay.config import Settings
from speedpay.wallet.chain_money import (
    TRX,
    Coin,
    Currency,
    Holding,
    holding,
    other_coin,
    token_coin,
)


def coin_of(settings: Settings, tron: Tron, currency: Currency, token: bytes | None) -> Coin | None:
    """None when the user has named no other token, or no vault names the ledger's."""
    if currency is Currency.TRX:
        return TRX
    if currency is Currency.TOKEN:
        return token_coin(token) if token else None
    if settings.other_token is None:
        return None
    return other_coin(tron, address.from_base58(settings.other_token, "other_token"))


def holdings(settings: Settings, tron: Tron, token: bytes | None, owner: bytes) -> list[Holding]:
    coins = (coin_of(settings, tron, currency, token) for currency in Currency)
    return [holding(tron, owner, coin) for coin in coins if coin is not None]


def holdings_lines(here: str, network: str, held: list[Holding]) -> list[str]:
    lines = [f"address    {here}", f"network    {network}"]
    return lines + [
        f"{one.coin.currency.value:<10} {one.coin.text(one.base_units)}" for one in held
    ]


def holdings_json(here: str, network: str, held: list[Holding]) -> dict[str, object]:
    shown = {
        one.coin.currency.value: {
            "name": one.coin.name, "decimals": one.coin.decimals,
            "base_units": str(one.base_units),
        }
        for one in held
    }  # fmt: skip
    return {"address": here, "network": network, "holdings": shown}
