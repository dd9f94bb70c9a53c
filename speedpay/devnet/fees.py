"""What a transaction pays beside energy: bandwidth, and for opening an account.

600 free bytes a day for each account, given back evenly over 24 hours; what goes beyond costs 1,000
sun a byte, all of it. A transfer to an address that is no account yet costs 0.1 TRX in place of the
bandwidth, and 1 TRX. A memo costs 1 TRX. java-tron: BandwidthProcessor, TransferActuator, Manager.
"""

from __future__ import annotations

from typing import NamedTuple

from speedpay.devnet.transaction import Transaction
from speedpay.devnet.world import World

SUN_PER_ENERGY = 100
SUN_PER_BYTE = 1_000
FREE_BYTES = 600
MEMO_FEE = 1_000_000
CREATE_ACCOUNT_NET_FEE = 100_000
CREATE_ACCOUNT_FEE = 1_000_000
MAX_FEE_LIMIT = 15_000_000_000
#: Room for the result, charged with each contract of a transaction.
RESULT_BYTES = 64
SLOT_MS = 3_000
_WINDOW = 28_800  # slots: a day
_PRECISION = 1_000_000


class TooPoor(Exception):
    """Neither free bytes nor TRX for the bandwidth: BANDWITH_ERROR."""


class Bandwidth(NamedTuple):
    usage: int
    fee: int
    #: Paid by the byte, not for opening an account.
    by_bytes: bool


def charge(world: World, transaction: Transaction, slot: int, opens_account: bool) -> Bandwidth:
    """Takes the bandwidth of a transaction from its owner, before it is executed."""
    size = len(transaction.encoded) + RESULT_BYTES
    if opens_account:
        paid = Bandwidth(0, _take(world, transaction.owner, CREATE_ACCOUNT_NET_FEE), False)
    else:
        used = free_bytes_used(world, transaction.owner, slot)
        if size <= FREE_BYTES - used:
            after = (_increase(used, size, slot, slot), slot)
            world.state.put(world.bandwidth, transaction.owner, after)
            paid = Bandwidth(size, 0, False)
        else:
            paid = Bandwidth(0, _take(world, transaction.owner, size * SUN_PER_BYTE), True)
    if transaction.raw_data.get("data"):
        paid = paid._replace(fee=paid.fee + _take(world, transaction.owner, MEMO_FEE))
    return paid


def free_bytes_used(world: World, address: bytes, slot: int) -> int:
    used, then = world.bandwidth.get(address, (0, slot))
    return _increase(used, 0, then, slot)


def _increase(used: int, more: int, then: int, now: int) -> int:
    """ResourceProcessor.increase: a usage fades evenly to nothing within the window."""
    average = -(-used * _PRECISION // _WINDOW)
    if then != now:
        left = max(0, _WINDOW - (now - then))
        average = int(average * (left / _WINDOW) + 0.5)
    average += -(-more * _PRECISION // _WINDOW)
    return average * _WINDOW // _PRECISION


def _take(world: World, owner: bytes, sun: int) -> int:
    if world.balance(owner) < sun:
        raise TooPoor
    world.state.add_balance(owner, -sun)
    return sun
