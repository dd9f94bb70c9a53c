"""One paid sale that is measured: paused for moments, its gain, and an end to paying for nothing."""

from __future__ import annotations

import pytest

from speedpay.channel.life import State
from speedpay.market.gain import Rules
from speedpay.peer.effects import Note
from speedpay.peer.messages import Pause, Resume
from speedpay.units import MIB, ZERO
from tests.unit.peer.pair import Pair

SIZE = 2048 * MIB
PAID_BLOCKS = 12  # of 16 KiB, ten times a second


def run(pair: Pair, seconds: float, free_blocks: int) -> list[State]:
    """So many blocks a tick arrive while the seller serves for free, ``PAID_BLOCKS`` while it is paid."""
    states = []
    for _ in range(int(seconds * 10)):
        paid = pair.buying.state is State.ACTIVE
        for _ in range(PAID_BLOCKS if paid else free_blocks):
            if not pair.withheld:
                piece, index = divmod(pair.had // 16384, 64)
                pair.block(piece, index)
                if index == 63:
                    pair.buyer.piece_passed(piece)
                    pair.buyer.remaining_bytes -= MIB
        pair.tick()
        states.append(pair.sale.state)
    return states


def test_one_seller_is_paused_for_moments_and_its_gain_is_known() -> None:
    pair = Pair(size=620 * MIB, shade=False).start()
    assert pair.buyer.gain() is None
    states = run(pair, 320, free_blocks=4)
    assert set(states) == {State.ACTIVE, State.PAUSED}
    gain = pair.buyer.gain()
    assert gain is not None
    assert gain.samples >= 2
    assert gain.times == pytest.approx(3.0, rel=0.1)
    lost = states.count(State.PAUSED) / len(states) * (1 - 4 / PAID_BLOCKS)
    assert 0 < lost <= 0.02
    assert pair.sale.state is State.ACTIVE


def test_what_is_served_in_a_slice_is_not_billed_and_not_paid() -> None:
    pair = Pair(size=SIZE, shade=False).start()
    run(pair, 60, free_blocks=4)
    words = [type(message) for message in pair.sent if isinstance(message, Pause | Resume)]
    assert words[:4] == [Pause, Pause, Resume, Resume], "asked, answered; and again"
    assert pair.buying.window.billed_bytes == pair.sale.billed_bytes < pair.had
    assert pair.buyer.spent <= pair.sale.price.cost_ceil(pair.sale.billed_bytes)


def test_paying_for_nothing_stops_is_said_once_and_is_tried_again_later() -> None:
    short = {"slice_s": 1.0, "shortest_s": 0.6, "settle_s": 0.3}
    rules = Rules(stop_after_s=10.0, again_after_s=60.0, every_s=0.5, same_s=3.0, **short)
    pair = Pair(size=SIZE, shade=False, rules=rules).start()
    run(pair, 45, free_blocks=PAID_BLOCKS)

    def notes() -> list[str]:
        return [effect.text for effect in pair.told if isinstance(effect, Note)]

    assert notes() == ["paying makes no difference here (1.00x): the download goes on free"]
    assert pair.buyer.useless
    assert pair.sale.state is pair.buying.state is State.PAUSED
    spent = pair.buyer.spent
    assert spent > ZERO
    states = run(pair, 10, free_blocks=PAID_BLOCKS)
    assert set(states) == {State.PAUSED}
    assert pair.buyer.spent == spent
    # Later there is something to buy.
    while pair.buyer.useless:
        run(pair, 1, free_blocks=2)
    run(pair, 60, free_blocks=2)
    assert pair.sale.state is State.ACTIVE
    assert not pair.buyer.useless
    assert pair.buyer.spent > spent


def test_the_users_pause_is_no_measurement_and_outlasts_one() -> None:
    pair = Pair(size=SIZE, shade=False).start()
    while pair.sale.state is State.ACTIVE:
        run(pair, 0.1, free_blocks=4)
    pair.buyer.paused = True
    run(pair, 5, free_blocks=4)
    assert pair.sale.state is State.PAUSED
    pair.buyer.paused = False
    assert State.ACTIVE in run(pair, 2, free_blocks=4)
