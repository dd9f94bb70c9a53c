"""From a path and its parameters to an answer: the table of calls, and the faults that get between.

``answer`` is plain code without sockets; what it cannot say with an answer it says with ``Cut``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from speedpay.devnet import contract_calls as contracts
from speedpay.devnet import wallet_calls as wallet
from speedpay.devnet.asked import Asked
from speedpay.devnet.chain import Chain
from speedpay.devnet.execution import Rejected
from speedpay.devnet.faults import Fault, Faults, Kind, another
from speedpay.devnet.transaction import Transaction
from speedpay.devnet.view import View
from speedpay.errors import SpeedpayError

Call = Callable[[View, Asked], Any]

#: Under ``wallet/`` and, as of the solid block, under ``walletsolidity/``.
BOTH: dict[str, Call] = {
    "getnodeinfo": wallet.node_info,
    "getnowblock": wallet.now_block,
    "getblock": wallet.block,
    "getblockbynum": wallet.block_by_number,
    "getblockbyid": wallet.block_by_id,
    "getblockbylimitnext": wallet.blocks_by_limit,
    "getblockbylatestnum": wallet.latest_blocks,
    "gettransactionbyid": wallet.transaction_by_id,
    "gettransactioninfobyid": wallet.transaction_info_by_id,
    "gettransactioninfobyblocknum": wallet.transaction_info_by_block,
    "gettransactioncountbyblocknum": wallet.transaction_count,
    "getaccount": wallet.account,
    "triggerconstantcontract": contracts.trigger_constant,
    "estimateenergy": contracts.estimate_energy,
    "getenergyprices": wallet.energy_prices,
    "getbandwidthprices": wallet.bandwidth_prices,
    "listwitnesses": wallet.witnesses,
}
WALLET: dict[str, Call] = {
    "getaccountnet": wallet.account_net,
    "getaccountresource": wallet.account_resource,
    "getchainparameters": wallet.chain_parameters,
    "getpendingsize": wallet.pending_size,
    "getcontract": contracts.contract,
    "getcontractinfo": contracts.contract_info,
}
#: These answer with a transaction that somebody will sign.
BUILDING: dict[str, Callable[[View, Asked, contracts.Exchange], Any]] = {
    "createtransaction": contracts.create_transaction,
    "triggersmartcontract": contracts.trigger,
    "deploycontract": contracts.deploy,
    "getsignweight": contracts.sign_weight,
}
BROADCASTING: dict[str, Callable[[Asked], Transaction]] = {
    "broadcasttransaction": contracts.broadcast_json,
    "broadcasthex": contracts.broadcast_hex,
}
GROUPS = {
    "wallet": BOTH.keys() | WALLET.keys() | BUILDING.keys() | BROADCASTING.keys(),
    "walletsolidity": BOTH.keys(),
}


@dataclass(frozen=True)
class Answer:
    body: Any
    status: int = 200


class Cut(Exception):
    """The connection ends without an answer, after ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


def answer(chain: Chain, faults: Faults, path: str, given: Any) -> Answer:
    """``path`` without the leading slash. Raises Cut."""
    struck = faults.take(path)
    if Kind.TIMEOUT in struck:
        raise Cut(struck[Kind.TIMEOUT].seconds)
    if Kind.TOO_MANY in struck:
        return Answer({"Success": False, "Error": "request rate exceeded"}, 429)
    if Kind.HTTP_500 in struck:
        return Answer({"Error": "internal server error"}, 500)
    if Kind.BUSY in struck and "/broadcast" not in path:
        lacking = "class java.lang.IllegalAccessException : lack of computing resources"
        return Answer({"Error": lacking})
    group, _, name = path.partition("/")
    if name not in GROUPS.get(group, ()):
        return Answer({"Error": f"there is no call {path[:100]}"}, 404)
    try:
        return Answer(_answer(chain, struck, group, name, Asked(given)))
    except Rejected as error:
        name = "class org.tron.core.exception.ContractValidateException"
        return Answer({"Error": f"{name} : {error.message}"})
    except SpeedpayError as error:
        return Answer({"Error": f"class java.lang.IllegalArgumentException : {error}"})


def _answer(chain: Chain, struck: dict[Kind, Fault], group: str, name: str, asked: Asked) -> Any:
    if name in BROADCASTING:
        return _broadcast(chain, struck, BROADCASTING[name](asked), asked)
    with chain.lock:
        view = _view(chain, struck, solid_only=group == "walletsolidity")
        if name in BUILDING:
            exchange = another if Kind.LIE_TXID in struck else _the_same
            return BUILDING[name](view, asked, exchange)
        return (BOTH | WALLET)[name](view, asked)


def _view(chain: Chain, struck: dict[Kind, Fault], *, solid_only: bool) -> View:
    behind, genesis = struck.get(Kind.BEHIND), struck.get(Kind.WRONG_GENESIS)
    return View(
        chain,
        solid_only=solid_only,
        lag=behind.blocks if behind else 0,
        genesis_id=genesis.genesis if genesis else None,
    )


def _broadcast(
    chain: Chain, struck: dict[Kind, Fault], transaction: Transaction, asked: Asked
) -> dict[str, Any]:
    try:
        if Kind.BUSY in struck:
            raise Rejected("SERVER_BUSY", "Server busy.")
        if Kind.NEVER_MINED not in struck:
            chain.broadcast(transaction)
    except Rejected as error:
        return contracts.rejected(transaction, error, asked)
    if Kind.LOST_BUT_MINED in struck:
        raise Cut(0)
    return contracts.accepted(transaction)


def _the_same(transaction: Transaction) -> Transaction:
    return transaction
