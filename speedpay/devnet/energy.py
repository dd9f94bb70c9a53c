"""What things cost in energy, and which of TRON's committee decisions are in force.

The figures are TRON's own (``EnergyCost`` in java-tron), not Ethereum's: no 21,000 for a transaction, no
refunds, no warm and cold, SLOAD 50, CALL 40, copying without a base price. Memory costs
3·w + w²/512 for w words of 32 bytes (Yellow Paper, appendix H), and 3 MiB are the most a frame may have.
Beside the prices of fixed operations, which stand in the table of ``operations.py``.

Not modelled: the dynamic energy model (TIP-491), which makes a contract dearer that uses billions of
energy in six hours; and Prague and Osaka, in force on mainnet since August 2026, which add an operation
(CLZ) and built-in contracts and change modular powers (TIP-7883, TIP-871), but nothing else here.
"""

from __future__ import annotations

from dataclasses import dataclass

EXP, EXP_BYTE = 10, 10
KECCAK, KECCAK_WORD = 30, 6
COPY_WORD = 3
SSTORE_NEW, SSTORE_RESET = 20_000, 5_000
LOG, LOG_TOPIC, LOG_BYTE = 375, 375, 8
CALL, CALL_VALUE, CALL_STIPEND, NEW_ACCOUNT = 40, 9_000, 2_300, 25_000
CREATE, CODE_BYTE = 32_000, 200
EXTERNAL_CODE = 20
MCOPY = 3

MEMORY_LIMIT = 3 * 1024 * 1024
STACK_LIMIT = 1024
DEPTH_LIMIT = 64
#: The most sun that java-tron can name (a signed 64-bit number).
SUN_LIMIT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Rules:
    """The committee's decisions that change energy or results (``getchainparameters`` names them)."""

    #: What MLOAD, MSTORE and MSTORE8 cost beside memory (AllowHigherLimitForMaxCpuTimeOfOneTx).
    memory_access: int
    #: Sending sun to an address that is no account makes one (AllowTvmSolidity059, TIP-54).
    transfer_creates: bool
    #: A transfer that cannot be done costs only what was used until then (AllowTvmConstantinople).
    transfer_failure_keeps_energy: bool
    #: A call leaves the caller 1/64 of its energy, EIP-150 (AllowTvmCompatibleEvm; not in force).
    keep_64th: bool


#: What networks have since proposals for Cancun were passed, in 2025.
CANCUN = Rules(
    memory_access=1, transfer_creates=True, transfer_failure_keeps_energy=True, keep_64th=False
)

#: With none of them decided: what most of java-tron's own tests assume.
LAUNCH = Rules(
    memory_access=0, transfer_creates=False, transfer_failure_keeps_energy=False, keep_64th=False
)


def memory(words: int) -> int:
    """The price of a memory of that many words, from nothing."""
    return 3 * words + words * words // 512


def copy(size: int) -> int:
    return COPY_WORD * ((size + 31) // 32)


def store(old: int | None, new: int) -> int:
    """SSTORE. 20,000 only where no row exists and one is made; a row of 0 within the transaction is a row."""
    return SSTORE_NEW if old is None and new else SSTORE_RESET
