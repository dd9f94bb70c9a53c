"""A development chain for a local swarm: the devnet as a process, token and vault on it, a wallet funded."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from process import SPEEDPAY, Process, run_command

#: A block is final after 18 more: one second.
BLOCK_S = 0.05
#: Seconds between two anchors at most often, until one counts for claims, of silence, for deposits.
_TERMS = ("--min-interval", "1", "--delay", "3", "--silence", "600", "--deposit-grace", "600")
_START_S = 30.0


class LocalChain:
    """A context manager. Everything that is started after ``start`` finds the node."""

    def __init__(self) -> None:
        self._node: Process | None = None

    def __enter__(self) -> LocalChain:
        return self

    def __exit__(self, *_: object) -> None:
        if self._node is not None:
            self._node.stop()
        os.environ.pop("SPEEDPAY_CHAIN_NODES", None)

    def start(self, ledger: Path) -> None:
        """The node, its blocks beside the ledger's folder; token and vault with keys inside it."""
        folder = ledger.parent / "chain"
        folder.mkdir()
        command = [
            str(SPEEDPAY), "chain", "devnet", "--listen", "127.0.0.1:0", "--data",
            str(folder / "blocks"), "--block-time", str(BLOCK_S), "--json",
        ]  # fmt: skip
        self._node = Process("devnet", command, folder, folder / "devnet.log")
        said = self._node.until("result", time.monotonic() + _START_S)
        os.environ["SPEEDPAY_CHAIN_NODES"] = said["url"]
        run_command(["chain", "deploy", "--data", str(ledger), *_TERMS, "--json"], ledger)

    def fund(self, home: Path, ledger: Path, tokens: int) -> dict[str, Any]:
        """Test tokens for a wallet's own address, and from there to its account, as a user does it."""
        address = run_command(["fund", "--json"], home)["address"]
        run_command(
            ["chain", "mint", address, str(tokens), "--data", str(ledger), "--json"], ledger
        )
        return run_command(["fund", str(tokens), "--yes", "--json"], home)
