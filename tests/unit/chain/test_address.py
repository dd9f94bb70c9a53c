"""Addresses: the known ones, and every way to get one wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedpay.chain import address
from speedpay.chain.networks import (
    DEVNET,
    MAINNET_GENESIS,
    NILE,
    SHASTA,
    chain_id_of,
    check_genesis,
    network_named,
)
from speedpay.errors import InvalidSetting, Malformed, WrongNetwork

# USDT on mainnet, in both forms; and the address of the secret 1.
USDT = ("TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", "41a614f803b6fd780986a42c78ec9c7f77e6ded13c")


def test_a_known_address_reads_and_writes_both_ways() -> None:
    text, raw = USDT
    assert address.from_base58(text).hex() == raw[2:]
    assert address.to_base58(bytes.fromhex(raw[2:])) == text
    for form in (text, raw, raw[2:]):
        assert address.from_node(form, "f").hex() == raw[2:]


@given(st.binary(min_size=20, max_size=20))
def test_every_address_comes_back(account: bytes) -> None:
    assert address.from_base58(address.to_base58(account)) == account


@given(
    st.integers(0, 33),
    st.sampled_from("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"),
)
def test_one_wrong_character_is_found(place: int, character: str) -> None:
    text = USDT[0][:place] + character + USDT[0][place + 1 :]
    if text != USDT[0]:
        with pytest.raises(Malformed):
            address.from_base58(text)


@pytest.mark.parametrize(
    "text",
    ["", "T", "x" * 34, USDT[0] + "1", USDT[0][:-1], USDT[0].lower(), "T" + "0" * 33, "T" + "z" * 33,
     "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", USDT[1], " " + USDT[0][1:]],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        address.from_base58(text)


@pytest.mark.parametrize("written", [None, 5, "", "41", "42" + "00" * 20, "00" * 19, "zz" * 20, []])
def test_what_a_node_writes_and_is_no_address_is_refused(written: object) -> None:
    with pytest.raises(Malformed):
        address.from_node(written, "f")


def test_a_contract_s_address_follows_from_its_transaction() -> None:
    # Computed from the transaction in tests/vectors/tron_transactions.json and its published address.
    txid = bytes.fromhex("0b774012c0fb871da12ce445defc180d59497308857648e93bb810335af0ef3a")
    owner = bytes.fromhex("68d11638cb5b664033bf253a28247672b3bb9170")
    assert address.of_contract(txid, owner).hex() == "b57b7c674b673a6a8dcc25ac14a5dd7d60f1261f"


def test_mainnet_is_refused_by_name_and_by_its_genesis() -> None:
    with pytest.raises(WrongNetwork):
        network_named("mainnet")
    disguised = bytes(28) + MAINNET_GENESIS[-4:]
    for genesis in (MAINNET_GENESIS, disguised):
        for network in (DEVNET, NILE, SHASTA):
            with pytest.raises(WrongNetwork, match="mainnet"):
                check_genesis(network, genesis, "http://node")


def test_each_network_accepts_its_own_genesis_only() -> None:
    assert NILE.genesis is not None
    assert SHASTA.genesis is not None
    check_genesis(NILE, NILE.genesis, "n")
    check_genesis(SHASTA, SHASTA.genesis, "n")
    check_genesis(DEVNET, bytes(range(32)), "n")
    for network, genesis in (
        (NILE, SHASTA.genesis), (SHASTA, NILE.genesis), (DEVNET, NILE.genesis),
        (DEVNET, SHASTA.genesis), (NILE, bytes(32)),
    ):  # fmt: skip
        with pytest.raises(WrongNetwork):
            check_genesis(network, genesis, "n")


def test_the_chain_ids_are_those_that_tron_publishes() -> None:
    assert [network_named(name).name for name in ("devnet", "nile", "shasta")]
    assert chain_id_of(MAINNET_GENESIS) == 0x2B6653DC
    assert chain_id_of(NILE.genesis or b"") == 0xCD8690DC
    assert chain_id_of(SHASTA.genesis or b"") == 0x94A9059E
    with pytest.raises(InvalidSetting):
        network_named("tronex")
