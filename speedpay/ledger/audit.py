"""The whole books against the chain; ``fsck`` is the books against themselves, and is asked as well.

What an operator can change in his own files he can change consistently, hashes and all. What stands on
chain he cannot: every head by the vault's running hash, and under the last one the tree and the
journal; each deposit by its own transaction; what was paid, by the vault's counters; the reserves, by
the token. Not proved by this: that each payment was ordered by who paid it. For that every user keeps
his own receipts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from speedpay.chain.token import Token
from speedpay.chain.vault import Vault, VaultState
from speedpay.errors import BooksBroken, NotFound, SpeedpayError
from speedpay.ledger import epochs, invariants, journal_tree, keys, owed, tree
from speedpay.ledger.database import Database
from speedpay.ledger.epochs import Epoch
from speedpay.ledger.schema import chain_watch, claims, deposits, leaves, ledger, withdrawals
from speedpay.ledger.schema import epochs as epoch_table
from speedpay.proof.balance import Anchored, check_head
from speedpay.proof.head import EpochHead
from speedpay.proof.sum_tree import NODE_BYTES, Node, root_of
from speedpay.signing import Domain
from speedpay.units import MAX_UTOK, ZERO, Amount

#: A deposit that is older than this, in seconds of the chain, must be credited.
CREDIT_S = 900
_DEPOSIT_OF = ("address", "uint64", "uint64", "uint64")


@dataclass(slots=True)
class Audit:
    """``broken``: plain sentences, empty when everything matches. Amounts are those on chain."""

    network: str
    epoch: int = 0
    txid: bytes | None = None
    liabilities: Amount = ZERO
    leaf_count: int = 0
    deposit_count: int = 0
    deposited: Amount = ZERO
    paid: Amount = ZERO
    reserves: int = 0
    credit: Amount = ZERO
    frozen_epoch: int | None = None
    broken: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        return {
            "ok": not self.broken, "network": self.network, "epoch": self.epoch,
            "txid": self.txid.hex() if self.txid else None,
            "liabilities_utok": self.liabilities.to_wire(), "leaves": self.leaf_count,
            "deposits": self.deposit_count, "deposited_utok": self.deposited.to_wire(),
            "paid_utok": self.paid.to_wire(), "reserves_utok": str(self.reserves),
            "credit_utok": self.credit.to_wire(), "frozen_epoch": self.frozen_epoch,
            "broken": self.broken,
        }  # fmt: skip

    def lines(self) -> list[str]:
        last = f"epoch {self.epoch} is the last on chain" if self.epoch else "no epoch is on chain"
        return [
            f"{last}: {self.liabilities} tok ever owed to {self.leaf_count} leaves",
            f"the vault received {self.deposited} tok in {self.deposit_count} deposits, "
            f"paid {self.paid}, holds {Amount(min(self.reserves, 2**63 - 1))}",
            f"credit outstanding, which nobody owes: {self.credit} tok",
            *([f"the vault is frozen at epoch {self.frozen_epoch}"] if self.frozen_epoch is not None
              else []),
            f"network: {self.network}",
            *self.broken,
            "everything matches" if not self.broken else "the books and the chain do not match",
        ]  # fmt: skip


def bound_vault(path: Path) -> bytes | None:
    """Address (20 bytes) of the vault that the database ``path`` is bound to, if it is there and is."""
    if not path.exists():
        return None
    database = Database(path)
    try:
        with database.read() as connection:
            bound = epochs.binding(connection)
        return bound.address if bound else None
    except sa.exc.SQLAlchemyError:
        return None  # older than vaults, or no ledger's: whoever opens it says so
    finally:
        database.close()


def examine(path: Path, vault: Vault) -> Audit:
    """``path``: the database, which may be in use. Raises NotFound, BooksBroken when it is none, or
    ChainUnreachable: then nothing is known."""
    if not path.exists():
        raise NotFound("there is no ledger here", field=str(path), hint="name it with --data")
    database = Database(path)
    try:
        with database.read() as connection:  # one view of the books; writers go on
            return _Auditor(connection, vault, keys.journal_key(path.parent)).run()
    except sa.exc.SQLAlchemyError as error:
        raise BooksBroken("is not the database of a ledger", field=path.name) from error
    finally:
        database.close()


class _Auditor:
    def __init__(self, connection: sa.Connection, vault: Vault, journal_key: bytes | None) -> None:
        self._books = connection
        self._vault = vault
        self._journal_key = journal_key
        row = connection.execute(sa.select(ledger)).one()
        self._domain = Domain(row.network, row.ledger_id)
        self._audit = Audit(vault.tron.network.name)
        self._final = 0

    def run(self) -> Audit:
        self._vault.tron.check_network()
        bound = epochs.binding(self._books)
        if bound is None or bound.address != self._vault.address:
            raise NotFound("the ledger is not bound to this vault", field="vault")
        state = self._vault.state()
        audit = self._audit
        audit.deposit_count, audit.deposited = state.deposit_count, state.total_deposits
        audit.paid = state.total_paid
        audit.frozen_epoch = state.frozen_epoch if state.frozen else None
        for broken in invariants.every(self._books, self._journal_key):
            self._say(f"the books themselves: {broken}")
        told = self._books.execute(sa.select(chain_watch.c.frozen_epoch)).scalar()
        if told is not None and told != audit.frozen_epoch:
            self._say(f"the books say that the vault is frozen at epoch {told}, and it is not")
        self._history(state)
        self._deposits(state)
        self._payments()
        self._reserves()
        return audit

    def _say(self, sentence: str) -> None:
        self._audit.broken.append(sentence)

    # ---- what was anchored ----

    def _history(self, state: VaultState) -> None:
        """Every head that the vault ever took, by its running hash; then the last one in full."""
        running = hashlib.sha256(
            self._vault.tron.chain_id.to_bytes(32) + self._vault.address
        ).digest()
        last: Epoch | None = None
        for number in range(1, state.last_epoch + 1):
            try:
                last = epochs.load(self._books, number)
            except (SpeedpayError, ValueError, TypeError) as error:
                self._say(f"epoch {number} is on chain, and the books do not have it: {error}")
                return
            running = hashlib.sha256(running + self._as_anchored(last.head)).digest()
        if running != state.chain_hash:
            self._say("the history of anchors on chain is not that of the books")
        if last is not None:  # the transaction's own event, once it is final: it has the file, too
            self._last_epoch(last, self._vault.anchor_of(last.number, last.txid))

    def _as_anchored(self, head: EpochHead) -> bytes:
        """As the vault adds one anchor to its running hash (``contracts/Vault.sol``)."""
        numbers = (head.liabilities.utok, head.journal_size, head.deposit_seq)
        return (
            head.epoch.to_bytes(8) + head.root + head.hash(self._domain)
            + b"".join(number.to_bytes(8) for number in numbers) + head.file
        )  # fmt: skip

    def _last_epoch(self, epoch: Epoch, anchored: Anchored) -> None:
        audit, head = self._audit, epoch.head
        audit.epoch, audit.txid = anchored.epoch, anchored.txid
        audit.liabilities, audit.leaf_count = anchored.liabilities, head.leaf_count
        audit.credit = head.credit
        try:
            check_head(
                epoch.signed, anchored, domain=self._domain, response_key=epoch.response_key,
                chain_id=self._vault.tron.chain_id, vault=self._vault.address,
            )  # fmt: skip
        except SpeedpayError as error:
            self._say(f"epoch {anchored.epoch}: {error.message}")
        sums = self._tree(epoch, anchored)
        self._journal(head, sums)

    def _tree(self, epoch: Epoch, anchored: Anchored) -> list[int]:
        """The root computed from all leaves of the tree. Returns each leaf's sum, by position."""
        try:
            content = b"".join(tree.leaf_nodes(self._books, epoch.tree))
        except SpeedpayError as error:
            self._say(f"epoch {anchored.epoch}: its tree cannot be read: {error}")
            return []
        nodes = [
            Node.from_bytes(content[at : at + NODE_BYTES])
            for at in range(0, len(content), NODE_BYTES)
        ]
        root = root_of(nodes)
        if (root.hash, root.sum) != (anchored.root, anchored.liabilities.utok):
            self._say(f"epoch {anchored.epoch}: the leaves do not give the root that is on chain")
        return [node.sum for node in nodes]

    def _journal(self, head: EpochHead, sums: list[int]) -> None:
        """The journal up to the last anchored head: its root, and what it says that is owed."""
        where = f"epoch {head.epoch}"
        if self._journal_key is None:
            self._say(f"{where}: journal.key is missing, so the journal cannot be compared")
        else:
            size, key = head.journal_size, self._journal_key
            if journal_tree.root_from_transfers(self._books, size, key) != head.journal_root:
                self._say(f"{where}: the transfers are not those whose root is on chain")
        try:
            books = owed.at(self._books, head.journal_size)
        except SpeedpayError as error:
            self._say(f"{where}: {error}")
            return
        if books.credit != head.credit.utok:
            self._say(
                f"{where}: {head.credit} tok of credit in the head, {books.credit} µtok granted"
            )
        covered = self._total_at(head.deposit_seq)
        if head.liabilities.utok != covered:
            self._say(
                f"{where}: {head.liabilities.utok} µtok owed, {covered} µtok received on chain"
            )
        positions = {
            row.account: row.position
            for row in self._books.execute(sa.select(leaves.c.account, leaves.c.position))
        }
        for account in sorted(books.tokens.keys() | positions.keys()):
            utok, position = books.tokens[account], positions.get(account)
            has = sums[position] if position is not None and position < len(sums) else 0
            if has != utok:
                self._say(
                    f"{where}: the journal owes {utok} µtok to account {account.hex()}, its leaf "
                    f"has {has}"
                )
        if sum(sums) != sum(books.tokens.values()):
            self._say(f"{where}: there are leaves of nobody")

    def _total_at(self, seq: int) -> int:
        """Of all deposits up to ``seq``, as the chain has it."""
        return self._deposit_of(seq)[2] if seq else 0

    def _deposit_of(self, seq: int) -> tuple[bytes, int, int, int]:
        """Sender, amount, total so far, time."""
        sender, amount, total, time = self._vault.tron.view(
            self._vault.address, "depositOf(uint64)", [seq], _DEPOSIT_OF, agreed=True
        )
        return sender, amount, total, time

    # ---- money in and out ----

    def _deposits(self, state: VaultState) -> None:
        """Each row against its own transaction; each token that was issued against a row."""
        rows = self._books.execute(sa.select(deposits).order_by(deposits.c.seq)).all()
        self._final = self._vault.tron.solid().number
        for expected, row in enumerate(rows, start=1):
            if row.seq != expected:
                self._say(f"deposit {expected} is missing in the books")
                return
            if row.seq > state.deposit_count or not self._is_on_chain(row):
                self._say(f"deposit {row.seq} of the books is not on chain as they say")
        try:
            issued = owed.at(self._books, MAX_UTOK).issues
        except SpeedpayError as error:
            self._say(str(error))
            return
        credited = {row.transfer: (row.account, row.amount) for row in rows}
        for sequence in sorted(issued.keys() | credited.keys()):
            if issued.get(sequence) != credited.get(sequence):
                self._say(f"transfer {sequence} makes tokens that no deposit brought")
        if len(rows) < state.deposit_count:
            self._uncredited(len(rows) + 1)

    def _is_on_chain(self, row: sa.Row[tuple[object, ...]]) -> bool:
        """By the block, where others' logs are passed over: one who deposits can make his transaction's
        own receipt longer than anybody reads."""
        if not 0 <= row.block <= self._final:
            return False
        return any(
            (one.seq, one.txid, one.log_index, one.account, one.sender, one.amount.utok,
             one.total.utok)
            == (row.seq, row.txid, row.log_index, row.account, row.sender, row.amount, row.total)
            for one in self._vault.deposits(row.block, row.block)
        )  # fmt: skip

    def _uncredited(self, seq: int) -> None:
        """Normal for a minute or two. The ledger has passed it over when it has read on since."""
        made_at = self._deposit_of(seq)[3]
        read_to = self._books.execute(sa.select(chain_watch.c.solid_time)).scalar() or 0
        if read_to > made_at + CREDIT_S:
            self._say(f"deposit {seq} was not credited {(read_to - made_at) // 60} minutes later")

    def _payments(self) -> None:
        """What the vault has paid, against what was released; and nobody else was paid."""
        released = sa.func.sum(withdrawals.c.released)
        owners = self._books.execute(
            sa.select(withdrawals.c.account, released).group_by(withdrawals.c.account)
        ).all()
        total = 0
        for account, most in owners:
            paid = self._vault.paid_to(account).utok
            total += paid
            if self._told(account) > paid:
                self._say(
                    f"account {account.hex()} was told of payments that the chain has not made"
                )
            if paid > most and self._audit.frozen_epoch is None:
                self._say(f"{paid} µtok paid to account {account.hex()}, only {most} were released")
        if total < self._audit.paid.utok and self._audit.frozen_epoch is None:
            self._say(
                f"{self._audit.paid.utok - total} µtok paid to accounts that withdrew nothing"
            )

    def _told(self, account: bytes) -> int:
        """µtok that the books say the vault has paid, the larger of both ways to count them."""
        amounts = sa.select(sa.func.sum(claims.c.amount), sa.func.max(claims.c.paid))
        row = self._books.execute(amounts.where(claims.c.account == account)).one()
        return max(row[0] or 0, row[1] or 0)

    def _reserves(self) -> None:
        """The token's own word. After a freeze later deposits may have been given back."""
        audit, state = self._audit, self._vault.state()
        for _ in range(3):  # until nobody has paid in or claimed in between
            token = Token(self._vault.tron, state.terms.token)
            audit.reserves, before = token.balance_of(self._vault.address), state
            state = self._vault.state()
            if (state.total_deposits, state.total_paid) == (
                before.total_deposits,
                before.total_paid,
            ):
                break
        received = state.total_deposits.utok
        if state.frozen:
            query = sa.select(epoch_table.c.deposit_seq)
            row = self._books.execute(
                query.where(epoch_table.c.number == state.frozen_epoch)
            ).first()
            received = self._total_at(row.deposit_seq) if row else 0
        if audit.reserves < received - state.total_paid.utok:
            self._say(
                f"the vault holds {audit.reserves} µtok, and should hold {received} less "
                f"{state.total_paid.utok} that were paid"
            )
