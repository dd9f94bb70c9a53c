"""The demo's last act: who was paid checks it against the chain, and an operator who lies is caught."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from local_swarm import LocalSwarm
from lying_operator import copy_books
from process import Process, attempt_command, result_of, run_command

_PATIENCE_S = 60.0


def last_act(swarm: LocalSwarm, funded: dict[str, Any]) -> dict[str, Any]:
    """What payer and origin could verify, and what the origin saw of a ledger that lies.

    Ends the swarm's ledger: the lying one takes its place and its address. ``funded``: what the payer's
    ``speedpay fund`` said.
    """
    lying = swarm.folder / "lying"
    copy_books(swarm.ledger_folder, lying)
    since = time.time()
    verified = {name: _verified(swarm, name, since) for name in ("payer", "origin")}
    newest = max(one["newest_epoch"] for one in verified.values()) + 1
    swarm.close()
    victim = run_command(["wallet", "show", "--json"], swarm.home("origin"))["account"]
    liar = _liar(lying, swarm.ledger_url.removeprefix("http://"), victim, newest)
    try:
        said = liar.until("result", time.monotonic() + _PATIENCE_S)
        believed = run_command(["balance", "--json"], swarm.home("origin"))
        caught = attempt_command(["verify", "--json"], swarm.home("origin"))
    finally:
        liar.stop()
    anchor = verified["payer"]
    return {
        "anchor": {name: anchor[name] for name in ("network", "epoch", "root", "txid", "block")},
        "verify_ok": all(one["verified"] for one in verified.values()),
        "tampered_verify_exit": caught.returncode,
        "tampered": {
            "taken_utok": said["taken_utok"], "balance_utok": believed["token"],
            "said": json.loads(caught.stderr)["error"]["message"] if caught.stderr else "",
        },
        "verified_utok": {name: one["balance"] for name, one in verified.items()},
        "funded": {name: funded[name] for name in ("amount", "txid", "block")},
    }  # fmt: skip


def lines(report: dict[str, Any]) -> list[str]:
    anchor, tampered, funded = report["anchor"], report["tampered"], report["funded"]
    verified = report["verified_utok"]
    exit_code = report["tampered_verify_exit"]
    return [
        f"on chain (network: {anchor['network']}, a TRON of our own on this machine)",
        f"the payer brought {_tokens(funded['amount'])} tok: transaction {funded['txid'][:16]}…",
        f"epoch {anchor['epoch']} is anchored: root {anchor['root'][:16]}…, transaction"
        f" {anchor['txid'][:16]}…, block {anchor['block']}",
        f"speedpay verify, payer {_tokens(verified['payer'])} tok, origin"
        f" {_tokens(verified['origin'])} tok: {'verified' if report['verify_ok'] else 'NOT VERIFIED'}",
        "",
        f"then the operator lies: it moves {_tokens(tampered['taken_utok'])} tok of the origin's to"
        " itself and signs new books",
        f"speedpay balance, origin: {_tokens(tampered['balance_utok'])} tok, with a good signature",
        f"speedpay verify, origin: {tampered['said']} (exit code {exit_code})",
    ]


def _tokens(utok: str) -> str:
    return f"{int(utok) / 1e6:.6f}"


def _verified(swarm: LocalSwarm, name: str, since: float) -> dict[str, Any]:
    """Against an epoch that was closed after ``since``, so that it holds all that happened here."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        done = attempt_command(["verify", "--json"], swarm.home(name))
        if done.returncode == 0:
            found = result_of(done)
            # The ledger learns a little later than the chain in which transaction its anchor is.
            if _unix(found["closed_at"]) >= since and found["txid"]:
                return found
        time.sleep(1)
    raise RuntimeError(f"{name} could not verify in time: {done.stderr[-800:]}")


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _liar(folder: Path, listen: str, victim: str, newest: int) -> Process:
    script = Path(__file__).resolve().parent / "lying_operator.py"
    command = [sys.executable, str(script), str(folder), listen, victim, str(newest)]
    return Process("the lying ledger", command, folder, folder.parent / "lying.log")
