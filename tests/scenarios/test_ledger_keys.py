"""The ledger's response key is rotated and revoked while real clients trade: nobody loses anything by it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from speedpay.units import MIB
from tests.scenarios.clients import WELCOME, Process, Town, address, ledger_in


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with ledger_in(tmp_path / "ledger") as ledger:
        town = Town(tmp_path, ledger)
        yield town
        town.close()


def keys(town: Town, *words: str) -> list[dict[str, Any]]:
    """As the operator does it, with the root key from elsewhere."""
    root = () if not words else ("--root", str(town.folder / "root.key"))
    command = ("ledger", "keys", *words, "--data", str(town.ledger.folder), *root, "--json")
    done = Process(command, {})
    assert done.end() == 0, done.err
    listed: list[dict[str, Any]] = done.result["keys"]
    return listed


def test_a_download_runs_across_a_rotation_and_a_revocation_and_every_voucher_is_paid(
    town: Town,
) -> None:
    payer, other, payee, content = town.user(), town.user(), town.user(), town.content(6 * MIB)
    (town.ledger.folder / "root.key").rename(town.folder / "root.key")
    at = address()
    origin = town.seed(payee, content, at, "--up-limit", "3MiB/s")
    place, again = town.place(), town.place()
    running = town.get(payer, content, place, "--pay", "auto", peers=(at,))
    running.until("progress", lambda said: int(said["paid_utok"]) > 0)
    old = keys(town)[0]["id"]
    assert keys(town, "rotate")[1]["id"] == old
    so_far = int(running.said[-1].get("paid_utok", 0))
    running.until("progress", lambda said: int(said["paid_utok"]) > so_far)
    assert [(one["id"], one["state"]) for one in keys(town, "revoke", old)][1] == (old, "revoked")
    assert running.end() == 0
    assert content.is_in(place)
    first = int(running.result["paid_utok"])

    # The seller meets the new key by the channel of somebody else.
    later = town.get(other, content, again, "--pay", "auto", peers=(at,))
    assert later.end() == 0
    second = int(later.result["paid_utok"])
    assert second > 0

    assert origin.end(signal.SIGINT) == 0
    assert int(origin.result["earned_utok"]) == first + second
    assert "banned" not in origin.err + running.err + later.err
    assert payee.credit == WELCOME + first + second
    assert town.in_escrow() == 0
    assert keys(town)[0]["state"] == "in use"
