"""The HTTP calls about contracts and new transactions: run, estimate, build, weigh, broadcast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from speedpay.chain.keccak import keccak256
from speedpay.devnet import fees, jsonform
from speedpay.devnet.asked import Asked
from speedpay.devnet.execution import Rejected, check_transfer
from speedpay.devnet.machine import execute
from speedpay.devnet.message import Invalid, Message, NotModelled, Outcome, Result
from speedpay.devnet.receipt import logs_to_json
from speedpay.devnet.schema import TYPE_URL, Fields
from speedpay.devnet.transaction import (
    SignatureProblem,
    Transaction,
    build,
    from_bytes,
    from_json,
)
from speedpay.devnet.view import View
from speedpay.devnet.wallet_calls import owner_permission
from speedpay.devnet.world import World
from speedpay.errors import Malformed

#: java-tron's default for constant calls (node.maxEnergyLimitForConstant).
CONSTANT_ENERGY = 100_000_000
_TRANSACTION_LIFE_MS = 60_000
_TRX = 1_000_000

#: What a hostile node puts in place of the transaction it was asked about.
Exchange = Callable[[Transaction], Transaction]


# ------------------------------------------------------------------------------------ contracts


def contract(view: View, asked: Asked) -> dict[str, Any]:
    with view.state() as world:
        found = world.contract(asked.address("value"))
    return {} if found is None else jsonform.to_json("SmartContract", found, asked.visible)


def contract_info(view: View, asked: Asked) -> dict[str, Any]:
    address = asked.address("value")
    with view.state() as world:
        found = world.contract(address)
        if found is None:
            return {}
        code = world.state.code(address)
    return {
        "smart_contract": jsonform.to_json("SmartContract", found, asked.visible),
        "runtimecode": code.hex(),
        "contract_state": {},
    }


def trigger_constant(view: View, asked: Asked) -> dict[str, Any]:
    """Run a call, or a deployment when no contract is named, and change nothing."""
    try:
        call = _call(asked)
        outcome = _run(view, call, CONSTANT_ENERGY)
        transaction = _new(view, "TriggerSmartContract", call)
    except (Rejected, Malformed, Invalid, NotModelled) as error:
        return {"result": _refusal("CONTRACT_VALIDATE_ERROR", str(error), asked)}
    if outcome.result not in (Result.SUCCESS, Result.REVERT):
        kind = outcome.result.value
        return {"result": _refusal("OTHER_ERROR", f"{kind} : {outcome.reason}", asked)}
    result: dict[str, Any] = {"result": True}
    if not outcome.ok:
        result["message"] = _message(outcome.reason, asked)
    out: dict[str, Any] = {
        "result": result,
        "energy_used": outcome.energy_used,
        "constant_result": [outcome.returned.hex()],
    }
    if outcome.logs:
        out["logs"] = logs_to_json(outcome.logs, visible=False)
    shown = transaction.to_json(asked.visible) | {"visible": asked.visible}
    shown["ret"] = [{}] if outcome.ok else [{"ret": "FAILED"}]
    return out | {"transaction": shown}


def estimate_energy(view: View, asked: Asked) -> dict[str, Any]:
    """The least fee limit, found by halving and to the TRX, as java-tron does; in energy."""
    try:
        call = _call(asked)
        outcome = _run(view, call, CONSTANT_ENERGY)
        if not outcome.ok:
            refusal = _refusal("CONTRACT_EXE_ERROR", outcome.reason, asked)
            return {"result": refusal}
        low, high = outcome.energy_used * fees.SUN_PER_ENERGY, fees.MAX_FEE_LIMIT
        guess = 2 * low
        while low + _TRX < high:
            if _run(view, call, guess // fees.SUN_PER_ENERGY).ok:
                high = guess
            else:
                low = guess
            guess = (low + high) // 2
    except (Rejected, Malformed, Invalid, NotModelled) as error:
        return {"result": _refusal("CONTRACT_VALIDATE_ERROR", str(error), asked)}
    return {"result": {"result": True}, "energy_required": -(-high // fees.SUN_PER_ENERGY)}


def _call(asked: Asked) -> Fields:
    """The TriggerSmartContract that the parameters describe."""
    if not asked.has("owner_address"):
        raise Malformed("isn't set.", field="owner_address")
    call = jsonform.from_json("TriggerSmartContract", asked.given, asked.visible)
    selector = asked.text("function_selector")
    if selector:
        call["data"] = keccak256(selector.encode())[:4] + asked.hex("parameter")
    if "contract_address" not in call and not call.get("data"):
        raise Malformed("At least one of contract_address and data must be set.")
    return call


def _run(view: View, call: Fields, energy: int) -> Outcome:
    to, owner = call.get("contract_address"), call["owner_address"]
    with view.state() as world:
        if to is not None:
            _check_contract(world, call)
        create = None if to is not None else keccak256(owner + call["data"])[12:]
        message = Message(
            caller=owner, to=to, create=create, value=call.get("call_value", 0),
            data=call.get("data", b""), energy_limit=energy, constant=True,
        )  # fmt: skip
        return execute(world.state, view.context(), message)


def _check_contract(world: World, call: Fields) -> None:
    if call.get("contract_address") not in world.contracts:
        raise Rejected("CONTRACT_VALIDATE_ERROR", "Smart contract is not exist.")


# -------------------------------------------------------------------------------- unsigned ones


def create_transaction(view: View, asked: Asked, exchange: Exchange) -> dict[str, Any]:
    transfer = jsonform.from_json("TransferContract", asked.given, asked.visible)
    transaction = _new(view, "TransferContract", transfer, asked=asked)
    with view.state() as world:
        if not world.exists(transaction.owner):
            raise Rejected(
                "CONTRACT_VALIDATE_ERROR", "Validate TransferContract error, no OwnerAccount."
            )
        check_transfer(world, transfer)
    return _unsigned(exchange(transaction), asked)


def trigger(view: View, asked: Asked, exchange: Exchange) -> dict[str, Any]:
    try:
        call = _call(asked)
        with view.state() as world:
            _check_contract(world, call)
        fee_limit = asked.number("fee_limit")
        transaction = _new(view, "TriggerSmartContract", call, fee_limit, asked)
    except (Rejected, Malformed, Invalid, NotModelled) as error:
        return {"result": _refusal("CONTRACT_VALIDATE_ERROR", str(error), asked)}
    return {
        "result": {"result": True}, "transaction": _unsigned(exchange(transaction), asked),
    }  # fmt: skip


def deploy(view: View, asked: Asked, exchange: Exchange) -> dict[str, Any]:
    """``abi`` is a list or its JSON text; ``parameter`` are the constructor's arguments, encoded."""
    new = {
        "abi": {"entrys": asked.json("abi", [])},
        "bytecode": asked.text("bytecode") + asked.text("parameter"),
        "origin_address": asked.text("owner_address"),
    }
    for name in ("call_value", "consume_user_resource_percent", "origin_energy_limit", "name"):
        if asked.has(name):
            new[name] = asked.given[name]
    given = {"owner_address": asked.text("owner_address"), "new_contract": new}
    create = jsonform.from_json("CreateSmartContract", given, asked.visible)
    transaction = _new(view, "CreateSmartContract", create, asked.number("fee_limit"), asked)
    return _unsigned(exchange(transaction), asked)


def _new(
    view: View, kind: str, contract: Fields, fee_limit: int = 0, asked: Asked | None = None
) -> Transaction:
    head = view.head
    inner: Fields = {
        "type": kind,
        "parameter": {"type_url": TYPE_URL + kind, "value": contract},
    }
    if asked is not None and asked.has("Permission_id"):
        inner["Permission_id"] = asked.number("Permission_id")
    raw_data = {
        "ref_block_bytes": head.id[6:8],
        "ref_block_hash": head.id[8:16],
        "expiration": head.time_ms + _TRANSACTION_LIFE_MS,
        "timestamp": view.chain.clock.now_ms(),
        "contract": [inner],
    }
    if fee_limit:
        raw_data["fee_limit"] = fee_limit
    return build(raw_data)


def _unsigned(transaction: Transaction, asked: Asked) -> dict[str, Any]:
    return {"visible": asked.visible} | transaction.to_json(asked.visible)


# ----------------------------------------------------------------------------------- signed ones


def sign_weight(view: View, asked: Asked, exchange: Exchange) -> dict[str, Any]:
    """Who may sign a transaction, who has, and its id: what tronpy signs."""
    given = from_json(asked.given, asked.visible)
    transaction = exchange(given)
    out: dict[str, Any] = {"result": {}}
    with view.state() as world:
        exists = world.exists(transaction.owner)
    if exists:
        out["permission"] = owner_permission(transaction.owner, asked)
        out["result"] = {"code": "NOT_ENOUGH_PERMISSION"}
        if given.signatures:
            out |= _weight(given, asked)
    else:
        out["result"] = {"code": "PERMISSION_ERROR", "message": "Account does not exist!"}
    out["transaction"] = {
        "result": {"result": True},
        "txid": transaction.txid.hex(),
        "transaction": transaction.to_json(asked.visible),
    }
    return out


def _weight(transaction: Transaction, asked: Asked) -> dict[str, Any]:
    try:
        signer = transaction.signer()
    except SignatureProblem as problem:
        return {"result": {"code": "SIGNATURE_FORMAT_ERROR", "message": str(problem)}}
    if signer != transaction.owner:
        message = "the signer is not contained of permission."
        return {"result": {"code": "PERMISSION_ERROR", "message": message}}
    approved = owner_permission(signer, asked)["keys"][0]["address"]
    return {"result": {}, "approved_list": [approved], "current_weight": 1}


def broadcast_json(asked: Asked) -> Transaction:
    return from_json(asked.given, asked.visible)


def broadcast_hex(asked: Asked) -> Transaction:
    return from_bytes(asked.hex("transaction"))


def accepted(transaction: Transaction) -> dict[str, Any]:
    return {"result": True, "txid": transaction.txid.hex()}


def rejected(transaction: Transaction, error: Rejected, asked: Asked) -> dict[str, Any]:
    return {
        "code": error.code,
        "txid": transaction.txid.hex(),
        "message": _message(error.message, asked),
    }


def _refusal(code: str, message: str, asked: Asked) -> dict[str, Any]:
    return {"code": code, "message": _message(message, asked)}


def _message(text: str, asked: Asked) -> str:
    return text if asked.visible else text.encode().hex()
