"""Which vaults can be made: the keys, the times, and that a ring too short for its delay is refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from tests.contracts.backends import CHAIN_ID, Backend
from tests.contracts.deployed import (
    GUARDIAN,
    OPERATOR,
    Contract,
    Deployed,
    Times,
    artifact,
    refused,
)

NOBODY = bytes(20)
YEAR = 365 * 86_400


def a_vault(backend: Backend, **values: Any) -> Contract:
    times = Times()
    arguments = {
        "token": None,
        "operator": OPERATOR,
        "guardian": GUARDIAN,
        "min_interval": times.min_interval,
        "delay": times.delay,
        "silence": times.silence,
        "deposit_grace": times.deposit_grace,
    } | values
    if arguments["token"] is None:
        arguments["token"] = Deployed.fresh(backend).token.address
    made = artifact("Vault")
    return Contract(backend, made["bytecode"], made["abi"], *arguments.values())


def test_a_new_vault_says_what_it_was_made_with_and_holds_nothing(deployed: Deployed) -> None:
    vault, times = deployed.vault, deployed.times
    assert vault.view("token") == deployed.token.address
    assert (vault.view("operator"), vault.view("guardian")) == (OPERATOR, GUARDIAN)
    assert vault.view("minInterval") == times.min_interval
    assert vault.view("delay") == times.delay
    assert vault.view("silence") == times.silence
    assert vault.view("depositGrace") == times.deposit_grace
    assert vault.view("RING_SIZE") == 8
    counters = ["lastEpoch", "depositCount", "totalDeposits", "totalPaid", "frozenEpoch"]
    assert [vault.view(counter) for counter in counters] == [0] * 5
    assert vault.view("frozen") is False
    first = hashlib.sha256(CHAIN_ID.to_bytes(32) + vault.address).digest()
    assert vault.view("chainHash") == first


def test_an_address_without_code_is_no_token(backend: Backend) -> None:
    with refused("NotAToken", b"\x77" * 20):
        a_vault(backend, token=b"\x77" * 20)


@pytest.mark.parametrize(
    "keys",
    [{"operator": NOBODY}, {"guardian": NOBODY}, {"guardian": OPERATOR}],
    ids=["no operator", "no guardian", "one key for both"],
)
def test_operator_and_guardian_are_two_keys(backend: Backend, keys: dict[str, bytes]) -> None:
    with refused("BadKeys"):
        a_vault(backend, **keys)


@pytest.mark.parametrize(
    "times",
    [
        {"min_interval": 0}, {"delay": 0}, {"deposit_grace": 0}, {"min_interval": YEAR + 1},
        {"delay": YEAR + 1}, {"silence": YEAR + 1}, {"deposit_grace": YEAR + 1},
        {"min_interval": 2**64 - 1}, {"delay": 2**64 - 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_time_of_nothing_or_of_years_is_refused(backend: Backend, times: dict[str, int]) -> None:
    with refused("BadSeconds"):
        a_vault(backend, **times)


@pytest.mark.parametrize(("delay", "fits"), [(2_099, True), (2_100, False), (4_200, False)])
def test_seven_intervals_must_be_longer_than_twice_the_delay(
    backend: Backend, delay: int, fits: bool
) -> None:
    if fits:
        a_vault(backend, min_interval=600, delay=delay)
    else:
        with refused("RingTooShort", 4_200, 2 * delay):
            a_vault(backend, min_interval=600, delay=delay)


@pytest.mark.parametrize(
    ("interval", "delay", "silence", "needed"),
    [(600, 1_800, 1_800, 1_800), (600, 300, 1_200, 1_200), (1, 3, 0, 3)],
    ids=["as long as the delay", "two intervals", "none"],
)
def test_silence_is_longer_than_the_delay_and_than_two_intervals(
    backend: Backend, interval: int, delay: int, silence: int, needed: int
) -> None:
    with refused("SilenceTooShort", silence, needed):
        a_vault(backend, min_interval=interval, delay=delay, silence=silence)
    a_vault(backend, min_interval=interval, delay=delay, silence=needed + 1)


def test_the_shortest_times_make_a_vault(backend: Backend) -> None:
    Deployed.fresh(backend, replace(Times(), min_interval=1, delay=3, silence=4, deposit_grace=1))


def test_the_longest_times_make_a_vault(backend: Backend) -> None:
    times = Times(min_interval=YEAR // 3, delay=YEAR - 1, silence=YEAR, deposit_grace=YEAR)
    Deployed.fresh(backend, times)
