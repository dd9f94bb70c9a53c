"""What counts as delivered, on account and verified, and who is to blame for a bad piece."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedpay.market.metering import (
    BLOCK_BYTES,
    UNIT_MAX_BYTES,
    UNIT_MIN_BYTES,
    Meter,
    on_account_limit,
    unit_bytes,
)
from speedpay.units import MIB, Amount, Price

PIECE = 4 * BLOCK_BYTES
ONE = Price(MIB)  # one µtok a byte
BIG = 2**40


def deliver(meter: Meter, seller: int, piece: int, *blocks: int, price: Price = ONE) -> int:
    return sum(
        meter.received(seller, piece, block * BLOCK_BYTES, BLOCK_BYTES, True, price)
        for block in blocks
    )


def test_a_block_is_paid_to_whoever_brings_it_first() -> None:
    meter = Meter()
    assert deliver(meter, 1, 0, 0) == BLOCK_BYTES
    assert deliver(meter, 2, 0, 0) == 0
    assert deliver(meter, 1, 0, 0) == 0
    assert meter.delivery(1).payable(BIG) == Amount(BLOCK_BYTES)
    assert meter.delivery(2).payable(BIG) == Amount(0)
    assert meter.delivery(1).refused_bytes == meter.delivery(2).refused_bytes == BLOCK_BYTES


def test_a_block_that_was_not_asked_for_is_never_paid() -> None:
    meter = Meter()
    assert meter.received(1, 0, 0, BLOCK_BYTES, False, ONE) == 0
    assert meter.delivery(1).payable(BIG) == Amount(0)
    assert deliver(meter, 2, 0, 0) == BLOCK_BYTES


def test_a_block_of_a_piece_that_passed_is_never_paid() -> None:
    meter = Meter()
    deliver(meter, 1, 0, 0, 1, 2, 3)
    meter.passed(0)
    assert deliver(meter, 2, 0, 1) == 0


def test_a_run_that_is_partly_known_counts_for_its_new_blocks() -> None:
    meter = Meter()
    deliver(meter, 1, 0, 1)
    assert meter.received(2, 0, 0, PIECE, True, ONE) == 3 * BLOCK_BYTES


def test_nothing_is_owed_in_the_free_lane_and_nothing_is_refused_there() -> None:
    meter = Meter()
    assert deliver(meter, 1, 0, 0, 1, price=Price(0)) == 2 * BLOCK_BYTES
    assert deliver(meter, 1, 0, 0, price=Price(0)) == 0
    assert meter.delivery(1).payable(BIG) == Amount(0)
    assert meter.delivery(1).refused_bytes == 0


def test_unverified_bytes_are_paid_up_to_the_limit_and_verified_ones_in_full() -> None:
    meter = Meter()
    for piece in range(10):
        deliver(meter, 1, piece, 0, 1, 2)
    assert meter.delivery(1).payable(2 * PIECE) == Amount(2 * PIECE)
    deliver(meter, 1, 7, 3)
    meter.passed(7)
    assert meter.delivery(1).payable(2 * PIECE) == Amount(3 * PIECE)


def test_a_failed_piece_is_not_owed_and_counts_as_refused() -> None:
    meter = Meter()
    deliver(meter, 1, 0, 0, 1)
    deliver(meter, 2, 0, 2, 3)
    deliver(meter, 1, 1, 0)
    assert meter.failed(0, PIECE) is None
    assert meter.delivery(1).payable(BIG) == Amount(BLOCK_BYTES)
    assert meter.delivery(2).payable(BIG) == Amount(0)
    assert meter.delivery(1).refused_bytes == 2 * BLOCK_BYTES
    assert deliver(meter, 2, 0, 0) == BLOCK_BYTES


def test_only_a_peer_that_sent_the_whole_piece_is_to_blame() -> None:
    meter = Meter()
    deliver(meter, 1, 0, 0, 1, 2, 3)
    assert meter.failed(0, PIECE) == 1
    deliver(meter, 1, 1, 1, 2, 3)  # block 0 was on the disk from an earlier run
    assert meter.failed(1, PIECE) is None
    assert meter.failed(2, PIECE) is None


def test_the_sender_of_a_short_last_piece_can_be_blamed() -> None:
    meter = Meter()
    deliver(meter, 1, 9, 0)
    assert meter.received(1, 9, BLOCK_BYTES, 100, True, ONE) == 100
    assert meter.failed(9, PIECE) == 1


def test_a_seller_that_comes_back_gets_no_fresh_limit() -> None:
    meter = Meter()
    deliver(meter, 1, 0, 0, 1, 2)
    meter.move(1, 5)
    deliver(meter, 5, 1, 0, 1, 2)
    assert meter.delivery(5).payable(PIECE) == Amount(PIECE)
    deliver(meter, 5, 0, 3)
    assert meter.failed(0, PIECE) == 5
    assert 1 not in meter.deliveries


def test_pieces_of_sellers_that_are_forgotten_pass_and_fail_quietly() -> None:
    meter = Meter()
    for piece in (0, 1):
        deliver(meter, 1, piece, 0)
    meter.deliveries.pop(1)
    meter.passed(0)
    meter.failed(1, PIECE)
    assert meter.deliveries == {}


steps = st.lists(
    st.tuples(
        st.sampled_from(["block"] * 8 + ["passed", "failed"]), st.integers(1, 3), st.integers(0, 5),
        st.integers(0, 3), st.booleans(), st.sampled_from([0, 1, 5, 1000]),
    ),
    max_size=120,
)  # fmt: skip


@settings(derandomize=True)
@given(steps)
def test_whatever_peers_send_only_new_verified_or_on_account_bytes_are_payable(
    drawn: list[tuple[str, int, int, int, bool, int]],
) -> None:
    meter, limit = Meter(), 2 * PIECE
    had: set[tuple[int, int]] = set()
    passed: set[int] = set()
    sent: list[tuple[int, int, int]] = []  # (seller, piece, price) of each counted block
    for what, seller, piece, block, asked, price in drawn:
        if what == "passed":
            meter.passed(piece)
            passed.add(piece)
        elif what == "failed" and piece not in passed:
            meter.failed(piece, PIECE)
            had = {key for key in had if key[0] != piece}
            sent = [entry for entry in sent if entry[1] != piece]
        elif what == "block":
            new = asked and piece not in passed and (piece, block) not in had
            counted = meter.received(
                seller, piece, block * BLOCK_BYTES, BLOCK_BYTES, asked, Price(price)
            )
            assert counted == (BLOCK_BYTES if new else 0)
            if new:
                had.add((piece, block))
                sent.append((seller, piece, price))
        for one in (1, 2, 3):
            mine = [(p, price) for s, p, price in sent if s == one]
            verified = sum(price for p, price in mine if p in passed) * BLOCK_BYTES
            loose = [price for p, price in mine if p not in passed]
            most = (
                verified
                + min(sum(loose), limit // BLOCK_BYTES * max(loose, default=0)) * BLOCK_BYTES
            )
            assert meter.delivery(one).payable(limit).utok <= most // MIB
            assert (
                meter.delivery(one).payable(BIG).utok
                == (verified + sum(loose) * BLOCK_BYTES) // MIB
            )


@pytest.mark.parametrize(
    ("rate", "unit"),
    [
        (0, UNIT_MIN_BYTES), (256 * 1024, UNIT_MIN_BYTES), (512 * 1024 - 1, UNIT_MIN_BYTES),
        (512 * 1024, 2 * UNIT_MIN_BYTES), (MIB, 4 * UNIT_MIN_BYTES), (4 * MIB, MIB), (2**40, MIB),
    ],
)  # fmt: skip
def test_a_unit_is_a_quarter_second_as_a_power_of_two(rate: int, unit: int) -> None:
    assert unit_bytes(rate) == unit


@settings(derandomize=True)
@given(st.integers(0, 2**45))
def test_a_unit_is_always_a_power_of_two_within_its_bounds(rate: int) -> None:
    unit = unit_bytes(rate)
    assert unit & (unit - 1) == 0
    assert UNIT_MIN_BYTES <= unit <= UNIT_MAX_BYTES


def test_the_on_account_limit_is_two_pieces_and_at_least_a_mebibyte() -> None:
    assert on_account_limit(16 * 1024) == MIB
    assert on_account_limit(16 * MIB) == 32 * MIB


def test_more_may_be_unverified_of_who_has_delivered_four_times_as_much_and_never_above_4_mib() -> (
    None
):
    limits = [on_account_limit(16 * 1024, verified * MIB) for verified in (0, 4, 8, 16, 1_000)]
    assert limits == [MIB, MIB, 2 * MIB, 4 * MIB, 4 * MIB]
    assert on_account_limit(16 * MIB, 1_000 * MIB) == 32 * MIB
