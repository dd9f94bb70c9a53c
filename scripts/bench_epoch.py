#!/usr/bin/env python3
"""Closing an epoch in a real ledger: 10,000 accounts changed among many, and among ten times fewer.

Both ledgers are databases on disk, made by the ledger's own migrations, and are closed by the ledger's own
``Keeper.close``. Each round changes as many accounts in each (half of them send the other half a token) and
closes them by turns, the larger first in every other round. A rebuild is the first close of a copy of the
larger ledger in which nothing is closed yet: every leaf and every node from nothing, by the same code. The
journal is only ever added to, also in a rebuild, so its time is taken off both sides of that ratio.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from statistics import median
from types import ModuleType

from anchor_energy import Anchors, anchors
from bench_rows import Benchmark, Row, over_rounds, say

from speedpay.ledger import book, chart, epochs, journal_tree, leaves, tree
from speedpay.ledger.chart import Kind
from speedpay.ledger.keeper import Keeper
from speedpay.ledger.leaves import Vault
from speedpay.ledger.service import Service, Settings
from speedpay.proof.balance import BalanceProof
from speedpay.units import UTOK_PER_TOKEN, Amount, MoneyClass

HERE = Path(__file__).resolve().parent
VAULT = Vault((1).to_bytes(32), bytes([7]) * 20, bytes([8]) * 20)
PROOFS = 300


@dataclass
class Large:
    """A ledger in a folder, and the accounts in it, each with its first token from a deposit."""

    folder: Path
    accounts: list[bytes]

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.service = Service(self.folder, Settings(unlimited_loopback=True))
        self.database = self.service.database
        keys, now = self.service.keys, self.service.now
        self.keeper = Keeper(self.folder, self.database, keys, now)

    @classmethod
    def fill(cls, folder: Path, count: int) -> Large:
        """In bulk, and as if every deposit had been credited one by one: fsck agrees."""
        made = cls(folder, sorted(hashlib.sha256(b"%d" % n).digest()[:16] for n in range(count)))
        made.keeper.bind(VAULT)
        utok = 1000 * UTOK_PER_TOKEN
        with made.database.write() as connection:
            run = connection.exec_driver_sql
            run("PRAGMA cache_size = -1000000")  # KiB: for the indexes in no order
            run("INSERT INTO accounts (id, opened_at) VALUES (?, 0)", [(a,) for a in made.accounts])
            run("INSERT INTO dirty (account) VALUES (?)", [(a,) for a in made.accounts])
            run(
                "INSERT INTO balances (account, class, balance) VALUES (?, ?, ?)",
                [
                    (chart.user(account).name, money_class.value, held)
                    for account in made.accounts
                    for money_class, held in ((MoneyClass.TOKEN, utok), (MoneyClass.CREDIT, 0))
                ],
            )
            run("UPDATE balances SET balance = ? WHERE account = 'deposits'", (count * utok,))
            run(
                "INSERT INTO transfers (sequence, time, kind, debit, credit, class, amount, reference,"
                " prev, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                list(made._deposits(Amount(utok))),
            )
        made.service.close()
        made.open()
        return made

    def _deposits(self, amount: Amount) -> Iterator[tuple[object, ...]]:
        prev = bytes(32)
        for number, account in enumerate(self.accounts, start=1):
            to = chart.user(account)
            one = book.Transfer(
                number, 0, Kind.ISSUE, chart.DEPOSITS, to, MoneyClass.TOKEN, amount, account
            )
            made = one.hash(prev)
            yield (
                number, 0, "issue", "deposits", to.name, "token", amount.utok, account, prev, made
            )  # fmt: skip
            prev = made

    def change(self, count: int, source: random.Random) -> None:
        chosen = source.sample(self.accounts, count)
        with self.database.write() as connection:
            for payer, payee in zip(chosen[::2], chosen[1::2], strict=True):
                book.post(
                    connection, Kind.SEND, chart.user(payer), chart.user(payee), MoneyClass.TOKEN,
                    Amount(UTOK_PER_TOKEN), payer, 0,
                )  # fmt: skip

    def close(self) -> tuple[float, float]:
        """Seconds of the close, and of them those for the journal. The epoch is published as well."""
        with self.database.read() as connection:
            last = epochs.latest(connection)
        number = last.number + 1 if last else 1
        os.sync()  # what was written before is not this close's
        with timed_journal() as journal:
            began = time.perf_counter()
            self.keeper.close(number)
            took = time.perf_counter() - began
        self.keeper.publish(number)
        return took, sum(journal)

    def copy(self, folder: Path) -> Large:
        self.service.close()
        shutil.copytree(self.folder, folder)
        self.open()
        return Large(folder, self.accounts)

    def proofs(self, source: random.Random) -> tuple[list[bytes], bytes, int]:
        """Proofs of the last epoch, its root and its liabilities (µtok)."""
        made = []
        with self.database.read() as connection:
            last = epochs.latest(connection)
            assert last
            for account in source.sample(self.accounts, PROOFS):
                kept = leaves.kept(connection, VAULT, account, last.number, last.number)
                assert kept
                _, path = tree.leaf_and_path(connection, last.tree, kept.position)
                leaf = kept.leaf
                proof = BalanceProof(
                    last.number, kept.position, account, leaf.payout, leaf.withdrawable,
                    leaf.balance, leaf.salt, path,
                )  # fmt: skip
                made.append(proof.to_bytes())
        return made, last.head.root, last.head.liabilities.utok


@contextlib.contextmanager
def timed_journal() -> Iterator[list[float]]:
    real, took = journal_tree.extend, list[float]()

    def extend(*arguments: object) -> tuple[int, bytes]:
        began = time.perf_counter()
        try:
            return real(*arguments)  # type: ignore[arg-type]
        finally:
            took.append(time.perf_counter() - began)

    journal_tree.extend = extend
    try:
        yield took
    finally:
        journal_tree.extend = real


def verifier() -> ModuleType:
    """The second implementation, which shares no code with the first."""
    loader = SourceFileLoader("verify_independent", str(HERE / "verify_independent"))
    spec = spec_from_loader(loader.name, loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def milliseconds_to_verify(
    script: ModuleType, proofs: list[bytes], root: bytes, liabilities: int
) -> float:
    took = []
    for proof in proofs:
        began = time.perf_counter()
        script.check_proof(proof, VAULT.chain_id, VAULT.address, root, liabilities)
        took.append(1000 * (time.perf_counter() - began))
    return median(took)


def rows(rounds: list[dict[str, float]], accounts: int) -> list[Row]:
    many, few = f"{accounts:,} accounts", f"{accounts // 10:,}"

    def over(name: str, value: str, goal: str | None, unit: str = "") -> Row:
        return over_rounds(name, [one[value] for one in rounds], goal, unit=unit)

    return [
        over(f"11 close with as many changes: {many} : {few}", "large_to_small", "≤ 1.5", "x"),
        over(f"11 update : rebuild, {many}", "update_to_rebuild", "≤ 0.05", ""),
        over(f"seconds to close, {many}", "large_s", None),
        over(f"seconds to close, {few} accounts", "small_s", None),
        over(f"seconds to rebuild, {many}", "rebuild_s", None),
        over("11 bytes of a proof", "proof_bytes", "≤ 1024"),
        over("11 milliseconds to verify a proof, independently", "verify_ms", "≤ 1"),
        over("11 energy of an anchor, development chain", "energy", "≤ 35000"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Close epochs of two real ledgers by turns.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--changes", type=int, default=10_000)
    given = parser.parse_args()
    bench = Benchmark(
        "epoch",
        {"accounts": given.accounts, "changes": given.changes, "proofs": PROOFS},
        given.json,
    )
    source, script = random.Random(1), verifier()
    with (
        anchors(random.Random(2)) as chain,
        tempfile.TemporaryDirectory(prefix="speedpay-bench-") as temporary,
    ):
        base = Path(temporary)
        say(f"filling a ledger with {given.accounts:,} accounts, and one with a tenth of them")
        unclosed = Large.fill(base / "unclosed", given.accounts)
        large = unclosed.copy(base / "large")
        small = Large.fill(base / "small", given.accounts // 10)
        for ledger in (large, small):
            ledger.close()
        for number in range(1, given.rounds + 1):
            made = bench.attempt(
                f"round {number}",
                lambda number=number: one_round(
                    number,
                    unclosed,
                    large,
                    small,
                    given.changes,
                    source,
                    script,
                    chain,
                    base / "copy",
                ),
            )
            if made is None:
                continue
            bench.rounds.append(made)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in made.items())
            say(f"round {number}: {shown}")
            bench.write(rows(bench.rounds, given.accounts))
        for ledger in (unclosed, large, small):
            ledger.service.close()
    return bench.finish(rows(bench.rounds, given.accounts) if bench.rounds else [], given.rounds)


def one_round(
    number: int,
    unclosed: Large,
    large: Large,
    small: Large,
    changes: int,
    source: random.Random,
    script: ModuleType,
    chain: Anchors,
    copy: Path,
) -> dict[str, float]:
    took: dict[str, tuple[float, float]] = {}
    order = [("large", large), ("small", small)]
    for name, ledger in order if number % 2 else reversed(order):
        ledger.change(changes, source)
        took[name] = ledger.close()
        ledger.keeper.prune()
    copied = unclosed.copy(copy)
    try:
        took["rebuild"] = copied.close()
    finally:
        copied.service.close()
        shutil.rmtree(copy)
    (large_s, large_journal), (small_s, _) = took["large"], took["small"]
    rebuild_s = took["rebuild"][0] - took["rebuild"][1]
    proofs, root, liabilities = large.proofs(source)
    return {
        "large_s": large_s,
        "small_s": small_s,
        "rebuild_s": rebuild_s,
        "large_to_small": large_s / small_s,
        "update_to_rebuild": (large_s - large_journal) / rebuild_s,
        "proof_bytes": max(map(len, proofs)),
        "verify_ms": milliseconds_to_verify(script, proofs, root, liabilities),
        "energy": chain.energy(),
    }


if __name__ == "__main__":
    sys.exit(main())
