"""The HTTP calls that read: node, blocks, transactions, receipts, accounts, parameters.

Answers have java-tron's shapes: fields that are empty or 0 are absent, and what is not found is ``{}``.
"""

from __future__ import annotations

from typing import Any

from speedpay.chain.address import to_base58
from speedpay.devnet import fees
from speedpay.devnet.asked import Asked
from speedpay.devnet.block import Block
from speedpay.devnet.view import View
from speedpay.errors import Malformed

NETWORK = "devnet"
_MAX_BLOCKS = 100
_VERSION = "4.8.0"  # of java-tron, whose shapes these are
_TOTAL_NET_LIMIT, _TOTAL_ENERGY_LIMIT = 43_200_000_000, 180_000_000_000
_ALL_OPERATIONS = "7fff1fc0033ec30f" + 24 * "00"


# ------------------------------------------------------------------------------------------- node


def node_info(view: View, asked: Asked) -> dict[str, Any]:
    solid = view.block(view.solid)
    assert solid is not None
    return {
        "network": NETWORK,
        "beginSyncNum": view.top,
        "block": _number_and_id(view, view.head),
        "solidityBlock": _number_and_id(view, solid),
        "currentConnectCount": 0,
        "activeConnectCount": 0,
        "passiveConnectCount": 0,
        "peerList": [],
        "configNodeInfo": {
            "codeVersion": _VERSION, "p2pVersion": NETWORK, "supportConstant": True,
            "dbVersion": 2, "allowCreationOfContracts": 1,
        },
    }  # fmt: skip


def _number_and_id(view: View, block: Block) -> str:
    return f"Num:{block.number},ID:{view.id_of(block).hex()}"


def chain_parameters(view: View, asked: Asked) -> dict[str, Any]:
    values = {
        "getMaintenanceTimeInterval": 21_600_000,
        "getCreateAccountFee": fees.CREATE_ACCOUNT_NET_FEE,
        "getTransactionFee": fees.SUN_PER_BYTE,
        "getCreateNewAccountFeeInSystemContract": fees.CREATE_ACCOUNT_FEE,
        "getCreateNewAccountBandwidthRate": 1,
        "getEnergyFee": fees.SUN_PER_ENERGY,
        "getMaxCpuTimeOfOneTx": 80,
        "getTotalEnergyLimit": _TOTAL_ENERGY_LIMIT,
        "getMaxFeeLimit": fees.MAX_FEE_LIMIT,
        "getFreeNetLimit": fees.FREE_BYTES,
        "getTotalNetLimit": _TOTAL_NET_LIMIT,
        "getForbidTransferToContract": 1,
        "getMemoFee": fees.MEMO_FEE,
    }
    return {"chainParameter": [{"key": key, "value": value} for key, value in values.items()]}


def energy_prices(view: View, asked: Asked) -> dict[str, Any]:
    return {"prices": f"0:{fees.SUN_PER_ENERGY}"}


def bandwidth_prices(view: View, asked: Asked) -> dict[str, Any]:
    return {"prices": f"0:{fees.SUN_PER_BYTE}"}


def witnesses(view: View, asked: Asked) -> dict[str, Any]:
    address = view.chain.witness.address
    shown = to_base58(address) if asked.visible else "41" + address.hex()
    return {"witnesses": [{"address": shown, "url": NETWORK, "isJobs": True}]}


# ----------------------------------------------------------------------------------------- blocks


def now_block(view: View, asked: Asked) -> dict[str, Any]:
    return _shown(view, view.head, asked)


def block_by_number(view: View, asked: Asked) -> dict[str, Any]:
    return _shown(view, view.block(asked.number("num")), asked)


def block_by_id(view: View, asked: Asked) -> dict[str, Any]:
    return _shown(view, view.block_by_id(asked.hex("value")), asked)


def block(view: View, asked: Asked) -> dict[str, Any]:
    """By id or by number; without its transactions unless ``detail`` is asked for."""
    wanted = str(asked.given.get("id_or_num", ""))
    if not wanted:
        found: Block | None = view.head
    elif len(wanted) == 64:
        found = view.block_by_id(asked.hex("id_or_num"))
    else:
        found = view.block(asked.number("id_or_num"))
    shown = _shown(view, found, asked)
    if asked.given.get("detail") not in (True, "true"):
        shown.pop("transactions", None)
    return shown


def blocks_by_limit(view: View, asked: Asked) -> dict[str, Any]:
    first, end = asked.number("startNum"), asked.number("endNum")
    if not 0 <= first < end <= first + _MAX_BLOCKS:
        raise Malformed(f"must be above startNum by at most {_MAX_BLOCKS}", field="endNum")
    found = [view.block(number) for number in range(first, end)]
    return {"block": [_shown(view, one, asked) for one in found if one is not None]}


def latest_blocks(view: View, asked: Asked) -> dict[str, Any]:
    count = asked.number("num")
    if not 0 < count <= _MAX_BLOCKS:
        raise Malformed(f"must be 1 to {_MAX_BLOCKS}", field="num")
    found = [view.block(number) for number in range(max(0, view.top - count + 1), view.top + 1)]
    return {"block": [_shown(view, one, asked) for one in found if one is not None]}


def _shown(view: View, found: Block | None, asked: Asked) -> dict[str, Any]:
    if found is None:
        return {}
    return found.to_json(asked.visible) | {"blockID": view.id_of(found).hex()}


# ----------------------------------------------------------------------------------- transactions


def transaction_by_id(view: View, asked: Asked) -> dict[str, Any]:
    """Also one that waits for a block, as java-tron's full node does; that has no ``ret`` yet."""
    txid = asked.hex("value")
    found = view.find(txid)
    if found is not None:
        return found[0].to_json(asked.visible, found[1].result)
    waiting = view.waiting(txid)
    return {} if waiting is None else waiting.to_json(asked.visible)


def transaction_info_by_id(view: View, asked: Asked) -> dict[str, Any]:
    found = view.find(asked.hex("value"))
    return {} if found is None else found[1].to_json(asked.visible)


def transaction_info_by_block(view: View, asked: Asked) -> list[dict[str, Any]]:
    found = view.block(asked.number("num"))
    return [] if found is None else [one.to_json(asked.visible) for one in found.receipts]


def transaction_count(view: View, asked: Asked) -> dict[str, Any]:
    found = view.block(asked.number("num"))
    return {"count": -1 if found is None else len(found.transactions)}


def pending_size(view: View, asked: Asked) -> dict[str, Any]:
    return {"pendingSize": view.chain.pending}


# --------------------------------------------------------------------------------------- accounts


def account(view: View, asked: Asked) -> dict[str, Any]:
    address = asked.address("address")
    with view.state() as world:
        if not world.exists(address):
            return {}
        shown: dict[str, Any] = {
            "type": "Contract" if world.state.code(address) else None,
            "address": _address(address, asked),
            "balance": world.balance(address),
            "create_time": world.created.get(address),
            "free_net_usage": fees.free_bytes_used(world, address, _slot(view)),
        }
        out: dict[str, Any] = {name: value for name, value in shown.items() if value}
        out["account_resource"] = {}
        if "type" not in out:
            out["owner_permission"] = owner_permission(address, asked)
            out["active_permission"] = [
                owner_permission(address, asked)
                | {"type": "Active", "id": 2, "permission_name": "active"}
                | {"operations": _ALL_OPERATIONS}
            ]
        return out


def owner_permission(address: bytes, asked: Asked) -> dict[str, Any]:
    key = {"address": _address(address, asked), "weight": 1}
    return {"permission_name": "owner", "threshold": 1, "keys": [key]}


def account_net(view: View, asked: Asked) -> dict[str, Any]:
    address = asked.address("address")
    with view.state() as world:
        if not world.exists(address):
            return {}
        used = fees.free_bytes_used(world, address, _slot(view))
    out = {"freeNetUsed": used} if used else {}
    return out | {"freeNetLimit": fees.FREE_BYTES, "TotalNetLimit": _TOTAL_NET_LIMIT}


def account_resource(view: View, asked: Asked) -> dict[str, Any]:
    net = account_net(view, asked)
    return net and net | {"TotalEnergyLimit": _TOTAL_ENERGY_LIMIT}


def _slot(view: View) -> int:
    return view.head.time_ms // fees.SLOT_MS


def _address(address: bytes, asked: Asked) -> str:
    return to_base58(address) if asked.visible else "41" + address.hex()
