"""``/dev/…``: what only a development chain can do. Errors are 400 with ``{"Error": …}``.

::

    GET  /dev/state                                          network, head, solid, pending, chain id, faults
    POST /dev/faucet  {address, amount_sun}                  TRX out of nothing; base58 or hex
    POST /dev/mine    {blocks}                               make blocks now
    POST /dev/reorg   {depth, drop}                          undo blocks; drop: forget their transactions
    POST /dev/time    {advance_s}                            move the clock of blocks to come forward
    POST /dev/fault   {kind, count, path, seconds, blocks, genesis}   see faults.py; kind "none" clears
"""

from __future__ import annotations

from typing import Any

from speedpay.chain.address import from_node
from speedpay.devnet.asked import Asked
from speedpay.devnet.chain import Chain
from speedpay.devnet.dispatch import Answer
from speedpay.devnet.execution import Rejected
from speedpay.devnet.faults import Faults
from speedpay.devnet.wallet_calls import NETWORK
from speedpay.errors import InvalidSetting, SpeedpayError

MAX_BLOCKS = 5_000
_MAX_ADVANCE_S = 366 * 24 * 60 * 60


def answer(chain: Chain, faults: Faults, name: str, given: Any) -> Answer:
    if name not in CALLS:
        return Answer({"Error": f"there is no call dev/{name[:100]}"}, 404)
    try:
        return Answer(CALLS[name](chain, faults, Asked(given)))
    except (SpeedpayError, Rejected) as error:
        return Answer({"Error": str(error)}, 400)


def state(chain: Chain, faults: Faults, asked: Asked) -> dict[str, Any]:
    with chain.lock:
        genesis = chain.block(0)
        assert genesis is not None
        return {
            "network": NETWORK,
            "genesis_id": genesis.id.hex(),
            "chain_id": chain.chain_id,
            "head": chain.head.number,
            "head_time_ms": chain.head.time_ms,
            "solid": chain.solid,
            "pending": chain.pending,
            "block_ms": chain.block_ms,
            "now_ms": chain.clock.now_ms(),
            "faults": [fault.to_json() for fault in faults.pending()],
        }


def _faucet(chain: Chain, faults: Faults, asked: Asked) -> dict[str, Any]:
    to = from_node(asked.text("address"), "address")
    return {"txid": chain.give(to, asked.number("amount_sun")).txid.hex()}


def _mine(chain: Chain, faults: Faults, asked: Asked) -> dict[str, Any]:
    blocks = asked.number("blocks", 1)
    if not 0 < blocks <= MAX_BLOCKS:
        raise InvalidSetting(f"must be 1 to {MAX_BLOCKS}", field="blocks")
    chain.mine(blocks)
    return state(chain, faults, asked)


def _reorg(chain: Chain, faults: Faults, asked: Asked) -> dict[str, Any]:
    chain.reorg(asked.number("depth"), drop=asked.given.get("drop") is True)
    return state(chain, faults, asked)


def _time(chain: Chain, faults: Faults, asked: Asked) -> dict[str, Any]:
    advance_s = asked.number("advance_s")
    if not 0 <= advance_s <= _MAX_ADVANCE_S:
        raise InvalidSetting(f"must be 0 to {_MAX_ADVANCE_S}", field="advance_s")
    chain.advance(advance_s * 1000)
    return state(chain, faults, asked)


def _fault(chain: Chain, faults: Faults, asked: Asked) -> dict[str, Any]:
    kind = asked.text("kind")
    if kind == "none":
        faults.clear()
    else:
        faults.add(
            kind,
            asked.number("count") if asked.has("count") else None,
            asked.text("path") or None,
            seconds=asked.number("seconds", 30),
            blocks=asked.number("blocks"),
            genesis=asked.hex("genesis") if asked.has("genesis") else None,
        )
    return state(chain, faults, asked)


CALLS = {
    "state": state, "faucet": _faucet, "mine": _mine, "reorg": _reorg, "time": _time,
    "fault": _fault,
}  # fmt: skip
