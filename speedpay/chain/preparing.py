"""Transactions before they are signed: tried, priced, tied to the chain, and given their id.

Everything is asked of one node; if that one fails, everything of the next. Whatever a node says, the
bytes are ours: it can refuse or delay a transaction, and never change what it does.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from speedpay.chain import abi, answers, fees
from speedpay.chain.address import to_base58
from speedpay.chain.artifact import Artifact
from speedpay.chain.nodes import Nodes
from speedpay.chain.protobuf import parameter
from speedpay.chain.transaction import Unsigned, hex_address, unsigned
from speedpay.errors import Malformed

if TYPE_CHECKING:
    from speedpay.chain.node import Node

#: TRON lets no transaction live longer (MAXIMUM_TIME_UNTIL_EXPIRATION).
_LONGEST_LIFETIME_S = 24 * 3600
#: Energy of a call that the contract's deployer would pay: never more than this, and ours pays none.
_ORIGIN_ENERGY_LIMIT = 10_000_000


class Preparing:
    """For one ``Tron``; its methods say what the arguments are."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._lock = threading.Lock()
        self._last_stamp_ms = 0

    def call(
        self, owner: bytes, contract: bytes, data: bytes, bound_sun: int, value_sun: int,
        lifetime_s: int,
    ) -> Unsigned:  # fmt: skip
        value: dict[str, Any] = {
            "owner_address": hex_address(owner), "contract_address": hex_address(contract),
            "data": data.hex(),
        }  # fmt: skip
        if value_sun:
            value["call_value"] = value_sun
        inner = parameter("TriggerSmartContract", value)

        def asked(node: Node) -> Unsigned:
            energy, _ = fees.attempt(node, owner, contract, data, value_sun)
            return self._finished(node, owner, inner, energy, bound_sun, value_sun, lifetime_s)

        return self._nodes.one(asked)

    def deploy(
        self, owner: bytes, artifact: Artifact, arguments: Sequence[Any], bound_sun: int,
        lifetime_s: int,
    ) -> Unsigned:  # fmt: skip
        code = artifact.bytecode + abi.encode(artifact.constructor_types(), arguments)
        contract = {
            "origin_address": hex_address(owner), "abi": artifact.for_chain(), "bytecode": code.hex(),
            "consume_user_resource_percent": 100, "name": artifact.name,
            "origin_energy_limit": _ORIGIN_ENERGY_LIMIT,
        }  # fmt: skip
        value = {"owner_address": hex_address(owner), "new_contract": contract}
        inner = parameter("CreateSmartContract", value)

        def asked(node: Node) -> Unsigned:
            energy, _ = fees.attempt(node, owner, None, code)
            return self._finished(node, owner, inner, energy, bound_sun, 0, lifetime_s)

        return self._nodes.one(asked)

    def transfer(self, owner: bytes, to: bytes, amount_sun: int, lifetime_s: int) -> Unsigned:
        value = {
            "owner_address": hex_address(owner), "to_address": hex_address(to), "amount": amount_sun,
        }  # fmt: skip
        inner = parameter("TransferContract", value)

        def asked(node: Node) -> Unsigned:
            is_new = node.call(lambda tron: tron.get_account(to_base58(to))) is None
            extra = fees.NEW_ACCOUNT_SUN if is_new else 0
            return self._finished(node, owner, inner, 0, 0, amount_sun + extra, lifetime_s)

        return self._nodes.one(asked)

    def _finished(
        self, node: Node, owner: bytes, inner: dict[str, Any], energy: int, bound_sun: int,
        value_sun: int, lifetime_s: int,
    ) -> Unsigned:  # fmt: skip
        """With a reference to the chain, a limit, and an id on which the node agrees."""
        if not 0 < lifetime_s < _LONGEST_LIFETIME_S:
            raise Malformed("must be more than zero and less than a day", field="lifetime_s")
        head = self._nodes.head(node)
        reference = answers.block(node.call(lambda tron: tron.get_latest_solid_block()))
        raw_data: dict[str, Any] = {
            "contract": [inner],
            # TAPOS: counts only on the chain that has this block.
            "ref_block_bytes": reference.id[6:8].hex(), "ref_block_hash": reference.id[8:16].hex(),
            # By the chain's clock, which is what it will be judged by, and not by ours.
            "expiration": head.time_ms + lifetime_s * 1000, "timestamp": self._stamp_ms(),
        }  # fmt: skip
        prices = fees.prices(node)
        if energy:
            raw_data["fee_limit"] = fees.limit_sun(energy, prices, bound_sun)
        purse = fees.purse(node, owner)
        cost_sun = purse.cost_sun(energy, len(unsigned(raw_data).raw), prices)
        fees.check_funds(purse, owner, cost_sun + value_sun)
        made = unsigned(raw_data, cost_sun)
        if node.txid_of(raw_data) != made.txid:
            # tronpy would sign what the node says: some other transaction of the node's choice.
            raise Malformed(f"{node.url} gives another id than the bytes have", field="txID")
        return made

    def _stamp_ms(self) -> int:
        """Two equal payments must have two ids, or the second would count as a repetition."""
        with self._lock:
            self._last_stamp_ms = max(self._last_stamp_ms + 1, int(self._nodes.clock() * 1000))
            return self._last_stamp_ms
