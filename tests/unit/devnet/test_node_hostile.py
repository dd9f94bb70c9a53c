"""Whatever is sent, every call answers with JSON, and only what its owner signed changes anything."""

from __future__ import annotations

import json
import random
import secrets
from typing import Any

import pytest

from speedpay.devnet import dev_calls, dispatch
from speedpay.devnet.faults import Faults
from tests.unit.devnet.bench import Bench

ROUNDS = 1_500
ODD: list[Any] = [
    None, True, False, 0, -1, 2**63, -(2**63), 10**400, 1.5, float("nan"), "", "0", "zz", "41",
    "T" + 33 * "1", "41" + 40 * "0", "\ud800", 50 * "é", "-", "--1", "٣", "0x", 70_000 * "0",
    [], {}, [[]], [None], {"type": []},
]  # fmt: skip
PATHS = [f"{group}/{name}" for group, names in dispatch.GROUPS.items() for name in sorted(names)]


def spoilt(value: Any, chance: random.Random) -> Any:
    if chance.random() < 0.12:
        return chance.choice(ODD)
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if chance.random() < 0.93}
        return {key: spoilt(item, chance) for key, item in kept.items()}
    if isinstance(value, list):
        return [spoilt(item, chance) for item in value] * chance.choice((1, 1, 2))
    return value


@pytest.mark.parametrize("seed", [1, 2])
def test_no_json_breaks_a_call(seed: int) -> None:
    bench, chance = Bench(), random.Random(seed)
    contract = bench.done(bench.deployment()).contract
    assert contract is not None
    mine = "41" + bench.key.address.hex()
    good = {
        "owner_address": mine, "to_address": "41" + 20 * "22", "address": mine, "amount": 5,
        "contract_address": "41" + contract.hex(), "function_selector": "f(uint256)",
        "parameter": 64 * "0", "data": 64 * "0", "num": 1, "id_or_num": "1", "startNum": 0,
        "endNum": 3, "value": 64 * "0", "bytecode": "6000", "abi": "[]", "fee_limit": 10**8,
        "name": "x", "origin_energy_limit": 5, "visible": False,
    }  # fmt: skip
    whole = [
        good | bench.transfer(secrets.token_bytes(20), 7).to_json(visible=False),
        good | bench.deployment().to_json(visible=False),
        good | bench.transfer(secrets.token_bytes(20), 8).to_json(visible=True) | {"visible": True},
    ]
    for path in PATHS * (ROUNDS // len(PATHS)):
        given = spoilt(chance.choice(whole), chance)
        said = dispatch.answer(bench.chain, Faults(), path, given)
        assert json.dumps(said.body).encode()
    assert bench.chain.pending <= len(whole)  # each as it was signed, or not at all
    for name in sorted(dev_calls.CALLS) * 20:
        given = spoilt({"address": mine, "amount_sun": 5, "blocks": 1, "depth": 1}, chance)
        assert json.dumps(dev_calls.answer(bench.chain, Faults(), name, given).body)


def test_no_bytes_break_a_broadcast_and_no_changed_bit_is_taken() -> None:
    bench, chance = Bench(), random.Random(3)
    signed = bench.transfer(secrets.token_bytes(20), 7)
    before = bench.chain.world.dump()
    for _ in range(400):
        raw = bytearray(signed.encoded)
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        said = dispatch.answer(
            bench.chain, Faults(), "wallet/broadcasthex", {"transaction": raw.hex()}
        )
        assert said.body.get("result") is not True
    assert bench.chain.world.dump() == before
    bench.done(signed)


def test_a_body_that_is_no_object_is_malformed() -> None:
    bench = Bench()
    for given in (None, 5, "x", [{}]):
        said = dispatch.answer(bench.chain, Faults(), "wallet/getnowblock", given)
        assert "Error" in said.body


def test_numbers_in_text_are_taken_only_as_digits() -> None:
    bench = Bench()
    assert bench.call("wallet/getblockbynum", {"num": "1"})["block_header"]
    for text in ("--1", "٣", "1 ", "+1", "1_0", 20 * "9"):
        assert "64-bit" in bench.call("wallet/getblockbynum", {"num": text})["Error"]
