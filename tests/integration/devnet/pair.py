"""One case on both machines, ours and revm, and all of it that can be compared."""

from __future__ import annotations

from dataclasses import dataclass

from pyrevm import EVM, AccountInfo, BlockEnv, CfgEnv, Env

from speedpay.devnet.machine import execute
from speedpay.devnet.message import BlockContext, Log, Message
from speedpay.devnet.state import State
from tests.integration.devnet.programs import CALLER, CONTRACTS, SLOTS, STRANGER, Case

CHAIN_ID = 0x5EED_0002
NUMBER, TIME_S, WITNESS = 1234, 1_700_000_000, b"\x55" * 20
BALANCE = 1_000
ENERGY_LIMIT = 10**10
#: A quarter of all slots holds something before.
BEFORE = {(CONTRACTS[0], 0): 5, (CONTRACTS[1], 1): 2**255, (CONTRACTS[2], 2): 1}


@dataclass(frozen=True, slots=True)
class Effect:
    """``ending``: success, revert or halt. Gas is not part of it: the prices differ."""

    ending: str
    returned: bytes
    logs: tuple[Log, ...]
    storage: tuple[int, ...]
    balances: tuple[int, ...]


def ours(case: Case) -> Effect:
    state = State()
    state.add_balance(CALLER, BALANCE)
    for address, code in zip(CONTRACTS, case.codes, strict=True):
        state.add_balance(address, BALANCE)
        state.codes[address] = code
    for (address, slot), value in BEFORE.items():
        state.set_slot(address, slot, value)
    block = BlockContext(NUMBER, TIME_S, CHAIN_ID, sun_per_energy=0, witness=WITNESS)
    message = Message(
        CALLER, to=CONTRACTS[0], value=case.value, data=case.data, energy_limit=ENERGY_LIMIT
    )
    outcome = execute(state, block, message)
    return Effect(
        {"SUCCESS": "success", "REVERT": "revert"}.get(outcome.result.name, "halt"),
        outcome.returned,
        outcome.logs,
        tuple(state.slot(address, slot) or 0 for address in CONTRACTS for slot in SLOTS),
        tuple(state.balance(address) for address in (*CONTRACTS, CALLER, STRANGER)),
    )


def revm(case: Case) -> Effect:
    block = BlockEnv(
        number=NUMBER, timestamp=TIME_S, coinbase=text(WITNESS), basefee=0, prevrandao=bytes(32)
    )
    evm = EVM(env=Env(cfg=CfgEnv(chain_id=CHAIN_ID), block=block), spec_id="CANCUN")
    evm.set_balance(text(CALLER), BALANCE)
    for address, code in zip(CONTRACTS, case.codes, strict=True):
        evm.insert_account_info(text(address), AccountInfo(balance=BALANCE, nonce=1, code=code))
    for (address, slot), value in BEFORE.items():
        evm.insert_account_storage(text(address), slot, value)
    ending, returned, logs = "success", b"", ()
    try:
        returned = bytes(
            evm.message_call(
                text(CALLER), text(CONTRACTS[0]), case.data, case.value, gas=ENERGY_LIMIT
            )
        )
        logs = tuple(_log(log) for log in evm.result.logs)
    except RuntimeError as error:
        said = str(error)
        ending = "revert" if said.startswith("Revert") else "halt"
        if ending == "revert":
            returned = bytes.fromhex(said.split("output: 0x")[1].split(" ")[0])
    return Effect(
        ending,
        returned,
        logs,
        tuple(evm.storage(text(address), slot) for address in CONTRACTS for slot in SLOTS),
        tuple(evm.get_balance(text(address)) for address in (*CONTRACTS, CALLER, STRANGER)),
    )


def _log(log) -> Log:  # type: ignore[no-untyped-def]
    data = log.data[1] if isinstance(log.data, tuple) else log.data
    topics = tuple(bytes.fromhex(topic[2:]) for topic in log.topics)
    return Log(bytes.fromhex(log.address[2:]), topics, bytes(data))


def text(address: bytes) -> str:
    return "0x" + address.hex()
