"""Executing one transaction: bandwidth, then a transfer or the machine, then energy. In java-tron's order.

``apply`` changes the world and returns a receipt, or raises ``Rejected`` and has changed nothing. A
contract that fails is no rejection: its receipt says so and its energy is paid.
"""

from __future__ import annotations

from typing import Any

from speedpay.chain.address import to_base58
from speedpay.chain.keccak import keccak256
from speedpay.devnet import fees, wire
from speedpay.devnet.machine import execute
from speedpay.devnet.message import BlockContext, Invalid, Message, NotModelled, Outcome, Result
from speedpay.devnet.receipt import PLAIN, Receipt
from speedpay.devnet.schema import Fields
from speedpay.devnet.transaction import Transaction
from speedpay.devnet.world import World

_MAX_NAME_BYTES = 32


class Rejected(Exception):
    """A node's refusal: ``code`` of java-tron's ``Return.response_code`` and its words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> Rejected:
    return Rejected("CONTRACT_VALIDATE_ERROR", f"Contract validate error : {message}")


def apply(world: World, transaction: Transaction, block: BlockContext, time_ms: int) -> Receipt:
    """``time_ms``: of the block, or of the head while the transaction is pending."""
    mark = world.state.mark()
    try:
        return _apply(world, transaction, block, time_ms)
    except BaseException as error:
        world.state.rollback(mark)
        if isinstance(error, Invalid | NotModelled):
            raise invalid(str(error)) from error
        if isinstance(error, fees.TooPoor):
            raise Rejected("BANDWITH_ERROR", "Account resource insufficient error.") from error
        raise
    finally:
        world.state.settle()


def _apply(world: World, transaction: Transaction, block: BlockContext, time_ms: int) -> Receipt:
    owner, contract = transaction.owner, transaction.contract
    if not world.exists(owner):
        raise invalid(f"account [{to_base58(owner)}] does not exist")
    is_transfer = transaction.type == "TransferContract"
    opens = is_transfer and not world.exists(contract.get("to_address", b""))
    paid = fees.charge(world, transaction, time_ms // fees.SLOT_MS, opens)
    common: dict[str, Any] = {
        "txid": transaction.txid, "block": block.number, "time_ms": time_ms,
        "net_usage": paid.usage, "net_fee": paid.fee,
    }  # fmt: skip
    packing = paid.fee if paid.by_bytes else 0
    if is_transfer:
        system_fee = _transfer(world, contract, time_ms)
        return Receipt(
            **common, is_call=False, result=PLAIN, system_fee=system_fee, packing_fee=packing
        )
    message = (
        _deployment(world, transaction)
        if transaction.type == "CreateSmartContract"
        else _trigger(world, contract, transaction.txid)
    )
    message = with_energy(world, message, transaction.number("fee_limit"))
    outcome = execute(world.state, block, message)
    energy_fee = outcome.energy_used * fees.SUN_PER_ENERGY
    world.state.add_balance(owner, -energy_fee)
    if message.create is not None and outcome.ok:
        _keep_contract(world, transaction, outcome, time_ms)
    return Receipt(
        **common,
        is_call=True,
        result=outcome.result.value,
        energy=outcome.energy_used,
        energy_fee=energy_fee,
        packing_fee=packing + (0 if outcome.result is Result.OUT_OF_TIME else energy_fee),
        contract=message.create or message.to,
        returned=outcome.returned,
        logs=outcome.logs,
        reason=outcome.reason,
    )


def with_energy(world: World, message: Message, fee_limit_sun: int) -> Message:
    """The energy that the fee limit and the balance pay for, at 100 sun each."""
    if not 0 <= fee_limit_sun <= fees.MAX_FEE_LIMIT:
        raise invalid(f"feeLimit must be >= 0 and <= {fees.MAX_FEE_LIMIT}")
    spendable = max(0, world.balance(message.caller) - message.value)
    limit = min(spendable, fee_limit_sun) // fees.SUN_PER_ENERGY
    return Message(
        caller=message.caller, to=message.to, create=message.create, value=message.value,
        data=message.data, energy_limit=limit, txid=message.txid,
    )  # fmt: skip


def check_transfer(world: World, contract: Fields) -> int:
    """Returns the fee for opening the account of the receiver. Raises Rejected."""
    owner = contract.get("owner_address", b"")
    to, amount = contract.get("to_address"), contract.get("amount", 0)
    if to is None:
        raise invalid("Invalid toAddress!")
    if to == owner:
        raise invalid("Cannot transfer TRX to yourself.")
    if amount <= 0:
        raise invalid("Amount must be greater than 0.")
    if to in world.contracts:
        raise invalid("Cannot transfer TRX to a smartContract.")
    fee = 0 if world.exists(to) else fees.CREATE_ACCOUNT_FEE
    if world.balance(owner) < amount + fee:
        raise invalid("Validate TransferContract error, balance is not sufficient.")
    if world.balance(to) + amount >= 2**63:
        raise invalid("long overflow")
    return fee


def _transfer(world: World, contract: Fields, time_ms: int) -> int:
    fee = check_transfer(world, contract)
    owner, to, amount = contract["owner_address"], contract["to_address"], contract["amount"]
    if fee:
        world.state.put(world.created, to, time_ms)
    world.state.add_balance(owner, -(amount + fee))  # the fee is burnt
    world.state.add_balance(to, amount)
    return fee


def _trigger(world: World, contract: Fields, txid: bytes) -> Message:
    to = contract.get("contract_address", b"")
    if to not in world.contracts:
        raise invalid("No contract or not a smart contract")
    _no_tokens(contract)
    return Message(
        caller=contract["owner_address"], to=to, value=_call_value(contract),
        data=contract.get("data", b""), txid=txid,
    )  # fmt: skip


def _deployment(world: World, transaction: Transaction) -> Message:
    new = transaction.contract.get("new_contract", {})
    if new.get("origin_address") != transaction.owner:
        raise invalid("OwnerAddress is not equals OriginAddress")
    if len(new.get("name", "").encode()) > _MAX_NAME_BYTES:
        raise invalid("contractName's length cannot be greater than 32")
    if not 0 <= new.get("consume_user_resource_percent", 0) <= 100:
        raise invalid("percent must be >= 0 and <= 100")
    if new.get("origin_energy_limit", 0) <= 0:
        raise invalid("The originEnergyLimit must be > 0")
    _no_tokens(transaction.contract)
    return Message(
        caller=transaction.owner, create=transaction.new_contract_address, value=_call_value(new),
        data=new.get("bytecode", b""), txid=transaction.txid,
    )  # fmt: skip


def _keep_contract(world: World, transaction: Transaction, outcome: Outcome, time_ms: int) -> None:
    address = transaction.new_contract_address
    kept = transaction.contract["new_contract"] | {
        "contract_address": address,
        "code_hash": keccak256(outcome.returned),
        "trx_hash": transaction.txid,
    }
    world.state.put(world.contracts, address, wire.encode("SmartContract", kept))
    world.state.put(world.created, address, time_ms)


def _call_value(contract: Fields) -> int:
    value: int = contract.get("call_value", 0)
    if value < 0:
        raise invalid("callValue must be >= 0")
    return value


def _no_tokens(contract: Fields) -> None:
    if contract.get("call_token_value") or contract.get("token_id"):
        raise invalid("TRC-10 tokens are not modelled by this development chain")
