"""Which chains there are, and the one that this program refuses.

A TRON chain is named by the id of its block 0; its CHAINID, in contracts and in our proofs, is the last
four bytes of that id (TRON's documentation of ``eth_chainId`` gives all three). Addresses of nodes stand
in the configuration only: they change, and they are the user's choice.
"""

from __future__ import annotations

from dataclasses import dataclass

from speedpay.errors import InvalidSetting, WrongNetwork

MAINNET_GENESIS = bytes.fromhex("00000000000000001ebf88508a03865c71d452e25f4d51194196a1d22b6653dc")
NILE_GENESIS = bytes.fromhex("0000000000000000d698d4192c56cb6be724a558448e2684802de4d6cd8690dc")
SHASTA_GENESIS = bytes.fromhex("0000000000000000de1aa88295e1fcf982742f773e0419c5a9c134c994a9059e")


@dataclass(frozen=True, slots=True)
class Network:
    """``genesis``: 32 bytes, or None for a development chain, whose id is its own."""

    name: str
    genesis: bytes | None
    block_seconds: float
    poll_s: float  # how often it is worth while to ask for news
    gap_s: float  # between two questions to one node
    busy_wait_s: float  # after "too many requests"; twice as long each time


# A development chain may make its blocks, and answer, as fast as it likes. Public nodes cut off for 30 s
# whoever asks more than 15 times a second (TronGrid), so the waits after that add up to more.
DEVNET = Network("devnet", None, 3, poll_s=0.05, gap_s=0, busy_wait_s=0.25)
NILE = Network("nile", NILE_GENESIS, 3, poll_s=1.5, gap_s=0.08, busy_wait_s=6)
SHASTA = Network("shasta", SHASTA_GENESIS, 3, poll_s=1.5, gap_s=0.08, busy_wait_s=6)
NETWORKS = {network.name: network for network in (DEVNET, NILE, SHASTA)}


def network_named(name: str) -> Network:
    """Raises WrongNetwork for mainnet, InvalidSetting for what nobody knows."""
    if name == "mainnet":
        raise WrongNetwork("mainnet is refused: this program is for test networks", field="network")
    if name not in NETWORKS:
        raise InvalidSetting(f"must be one of {', '.join(NETWORKS)}", field="network")
    return NETWORKS[name]


def chain_id_of(genesis: bytes) -> int:
    """What CHAINID gives in a contract: the last four bytes of the genesis block's id."""
    return int.from_bytes(genesis[-4:])


def check_genesis(network: Network, genesis: bytes, node: str) -> None:
    """Raises WrongNetwork unless a chain that begins with ``genesis`` may be used as ``network``.

    The one place where mainnet is refused. Only the last four bytes of the id are compared there, as
    contracts and proofs see no more of it: a chain that shares them could be mistaken for mainnet.
    """
    if chain_id_of(genesis) == chain_id_of(MAINNET_GENESIS):
        raise WrongNetwork(f"{node} is on mainnet, which is always refused", field="node")
    if network.genesis is not None and genesis != network.genesis:
        raise WrongNetwork(f"{node} is not on {network.name}", field="node")
    if network.genesis is None:
        for real in (NILE, SHASTA):
            assert real.genesis is not None
            if chain_id_of(genesis) == chain_id_of(real.genesis):
                raise WrongNetwork(f"{node} is on {real.name}, not on a devnet", field="node")
