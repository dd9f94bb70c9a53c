"""What a transaction will cost, found out before it is signed, and the limit that it may not pass.

A call burns energy, and a call that runs out of it burns the whole fee limit for nothing. So every call
is first tried on the node (``wallet/triggerconstantcontract``): what would fail is refused here, for
free and with the contract's own reason, and the limit follows from what the try took, with a margin
because the chain may be another by the time the call is in a block. The caller's bound is never passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from speedpay.chain import answers, reverts
from speedpay.chain.address import to_base58
from speedpay.chain.answers import Resources
from speedpay.chain.transaction import hex_address
from speedpay.errors import ChainRefused, Malformed
from speedpay.units import Amount

if TYPE_CHECKING:
    from speedpay.chain.node import Node

#: A slot that was filled when we looked may be empty when the call runs (20,000 energy instead of
#: 5,000), a holder may be new; a limit costs nothing, only what is used is paid.
MARGIN_PERCENT = 50
#: Beside ``raw_data``: one signature of 65 bytes, tags and lengths, and 64 bytes that java-tron counts
#: for the result (Constant.MAX_RESULT_SIZE_IN_TX).
_BYTES_AROUND_RAW = 65 + 5 + 64
#: Making an account by sending TRX to it: 1 TRX, and 0.1 TRX in the place of bandwidth.
NEW_ACCOUNT_SUN = 1_100_000
_HIGHEST_PRICE_SUN = 100_000  # a thousand times today's; above it the node is not to be believed


@dataclass(frozen=True, slots=True)
class Prices:
    """Sun for one unit of energy, and for one byte of bandwidth."""

    energy_sun: int
    byte_sun: int


@dataclass(frozen=True, slots=True)
class Purse:
    """What an account can pay with."""

    balance_sun: int
    free: Resources

    def cost_sun(self, energy: int, raw_bytes: int, prices: Prices) -> int:
        """What is burned for energy and bandwidth that the account does not have for nothing."""
        size = raw_bytes + _BYTES_AROUND_RAW
        bandwidth_sun = 0 if self.free.bandwidth >= size else size * prices.byte_sun
        return max(0, energy - self.free.energy) * prices.energy_sun + bandwidth_sun


def prices(node: Node) -> Prices:
    """From the chain's parameters, which its committee changes now and then."""
    listed = node.call(lambda tron: tron.get_chain_parameters())
    found: dict[str, int] = {}
    for entry in answers.listed(listed, "chainParameter", 1000):
        fields = answers.mapping(entry, "chainParameter")
        if fields.get("key") in ("getEnergyFee", "getTransactionFee"):
            price = answers.whole(fields.get("value", 0), fields["key"])
            if not 0 < price <= _HIGHEST_PRICE_SUN:
                raise Malformed("is no price", field=fields["key"])
            found[fields["key"]] = price
    if len(found) != 2:
        raise Malformed("must have getEnergyFee and getTransactionFee", field="chainParameter")
    return Prices(found["getEnergyFee"], found["getTransactionFee"])


def purse(node: Node, account: bytes) -> Purse:
    named = to_base58(account)
    held = node.call(lambda tron: tron.get_account(named))
    free = node.call(lambda tron: tron.get_account_resource(named))
    balance = answers.whole((held or {}).get("balance", 0), "account.balance")
    return Purse(balance, answers.resources(free or {}))


def limit_sun(energy: int, prices: Prices, bound_sun: int) -> int:
    """The fee limit for a call that took ``energy``. Raises ChainRefused above the bound."""
    estimate = energy * prices.energy_sun
    if estimate > bound_sun:
        raise ChainRefused(
            f"would cost {_trx(estimate)} TRX in energy, and at most {_trx(bound_sun)} are allowed",
            field="fee_limit",
        )
    return min(bound_sun, estimate + estimate * MARGIN_PERCENT // 100)


def check_funds(purse: Purse, account: bytes, needed_sun: int) -> None:
    """Raises ChainRefused when the account cannot pay: its call would burn what it has."""
    if purse.balance_sun < needed_sun:
        raise ChainRefused(
            f"{to_base58(account)} holds {_trx(purse.balance_sun)} TRX and needs about "
            f"{_trx(needed_sun)}",
            field="balance",
        )


def attempt(
    node: Node, owner: bytes, contract: bytes | None, data: bytes, value_sun: int = 0,
    *, solid: bool = False,
) -> tuple[int, bytes]:  # fmt: skip
    """Runs a call, or a deployment where ``contract`` is None, on the node alone: energy and output.

    Raises ChainRefused, with the contract's reason, for what would fail. ``solid``: on the state of the
    newest final block.
    """
    body: dict[str, Any] = {"owner_address": hex_address(owner), "data": data.hex()}
    if contract is not None:
        body["contract_address"] = hex_address(contract)
    if value_sun:
        body["call_value"] = value_sun
    where = "walletsolidity" if solid else "wallet"
    answer = answers.mapping(node.ask(f"{where}/triggerconstantcontract", body), "answer")
    result = answers.mapping(answer.get("result", {}), "answer.result")
    outputs = answers.listed(answer.get("constant_result", []), "answer.constant_result", 16)
    output = answers.hex_bytes(outputs[0], "answer.constant_result") if outputs else b""
    if result.get("result") is not True:
        raise ChainRefused(answers.message(result), field="contract")
    if "message" in result or _failed(answer):
        why = reverts.reason(output) if output else answers.message(result)
        raise ChainRefused(
            f"the contract refuses: {why}", field=reverts.error_name(output) or "call"
        )
    return answers.whole(answer.get("energy_used", 0), "answer.energy_used"), output


def _failed(answer: Any) -> bool:
    """``transaction.ret[0].ret`` is FAILED."""
    transaction = answers.mapping(answer.get("transaction", {}), "answer.transaction")
    results = answers.listed(transaction.get("ret", []), "answer.transaction.ret", 16)
    return any(answers.mapping(ret, "ret").get("ret") == "FAILED" for ret in results)


def _trx(sun: int) -> str:
    return str(Amount(sun))
