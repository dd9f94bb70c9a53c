"""Bringing closed epochs to the chain, one after the other, whatever happens in between.

Read ``anchor_life.py`` for the states. Each step ends in one transaction guarded by the state that it
starts from, so a crash between any two is only a pause, and of two processes that do the same step
one finds that it was done. What keeps one epoch from costing twice:

* a transaction is stored before any node sees it, and a restart sends those same bytes again;
* another one is signed only when no block can take the old one any more (a solid block is past its
  expiry) and no node knows it, or when it stands in a solid block as reverted;
* all of them carry the content that was fixed when the epoch was closed.

An epoch is settled by the vault's own event in a solid block, never by what we believe to have sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from speedpay.chain.keys import ChainKey
from speedpay.chain.transaction import Signed
from speedpay.chain.vault import Vault
from speedpay.errors import BooksBroken, ChainRefused
from speedpay.ledger.anchor_life import Attempt, Step, after
from speedpay.ledger.chain_side import again
from speedpay.ledger.database import Database
from speedpay.ledger.schema import anchor_attempts, anchors, epochs
from speedpay.ledger_api.epochs import EpochState as State
from speedpay.proof.balance import Anchored
from speedpay.proof.head import EpochHead

#: The same bytes are offered again this often while no block has them.
RESEND_S = 10
#: After an anchor that was mined and reverted, which has burned its fee: doubled each time.
FIRST_PAUSE_S = 60
LONGEST_PAUSE_S = 3600
#: Reasons come from nodes.
MAX_REASON_CHARS = 200


@dataclass(frozen=True, slots=True)
class Pending:
    """The oldest epoch that is not settled, with its transaction if one is alive."""

    head: EpochHead
    head_hash: bytes
    state: State
    attempt: int
    signed: Signed | None
    reverted: int
    ended_at: int

    @property
    def number(self) -> int:
        return self.head.epoch


def pending(connection: sa.Connection) -> Pending | None:
    row = connection.execute(
        sa.select(epochs)
        .where(epochs.c.state != State.SOLID.value)
        .order_by(epochs.c.number)
        .limit(1)
    ).first()
    if row is None:
        return None
    tried = connection.execute(
        sa.select(anchor_attempts)
        .where(anchor_attempts.c.epoch == row.number)
        .order_by(anchor_attempts.c.attempt)
    ).all()
    alive = next((one for one in tried if one.state == Attempt.ALIVE.value), None)
    return Pending(
        head=EpochHead.from_bytes(row.body),
        head_hash=row.head,
        state=State(row.state),
        attempt=alive.attempt if alive else len(tried),
        signed=Signed.from_stored(alive.raw) if alive else None,
        reverted=sum(one.state == Attempt.REVERTED.value for one in tried),
        ended_at=max((one.ended_at or 0 for one in tried), default=0),
    )


def settle(connection: sa.Connection, found: Iterable[Anchored], now: int) -> list[int]:
    """Record anchors that stand in solid blocks. Returns the epochs that are settled by it.

    Raises BooksBroken when the chain holds an epoch that this database does not know, or knows with
    another content: it is an old backup, or somebody else has the operator's key.
    """
    settled = []
    for one in sorted(found, key=lambda anchored: anchored.epoch):
        row = connection.execute(sa.select(epochs).where(epochs.c.number == one.epoch)).first()
        if row is None or not _is_of(one, EpochHead.from_bytes(row.body), row.head):
            raise BooksBroken(
                f"the chain holds an anchor of epoch {one.epoch} that is not this ledger's",
                field="epochs", hint="is the database an old backup? is the anchor key stolen?",
            )  # fmt: skip
        if row.state == State.SOLID.value:
            continue
        _move(connection, one.epoch, State(row.state), Step.SETTLE, txid=one.txid, block=one.block)
        connection.execute(anchors.insert().values(epoch=one.epoch, time=one.time))
        _end(connection, one.epoch, Attempt.OVERTAKEN, now, but=one.txid)
        _end(connection, one.epoch, Attempt.SETTLED, now)
        settled.append(one.epoch)
    return settled


class Anchoring:
    """Takes ``key``'s signature to the vault. Asks nodes only between transactions."""

    def __init__(self, database: Database, vault: Vault, key: ChainKey) -> None:
        self._database = database
        self._vault = vault
        self._key = key
        self._gap = again.Gap()
        self._sent_at = 0

    def step(self, now: int) -> bool:
        """Take the oldest unsettled epoch one step further; False when there is nothing to do now.

        Raises ChainUnreachable (ask again later) or ChainRefused (the reason is kept and shown).
        """
        with self._database.read() as connection:
            epoch = pending(connection)
        if epoch is None or epoch.state is State.CLOSED:
            return False
        if epoch.signed is None:
            return self._sign(epoch, now)
        return self._follow(epoch, epoch.signed, now)

    # ---- no transaction yet ----

    def _sign(self, epoch: Pending, now: int) -> bool:
        if now < epoch.ended_at + _pause_s(epoch.reverted):
            return False
        vault = self._vault.state()
        if vault.last_epoch >= epoch.number:
            return self._already_there(epoch)
        if vault.last_epoch < epoch.number - 1:
            raise ChainRefused(
                f"epoch {epoch.number} waits for {vault.last_epoch + 1}", field="anchor"
            )
        if vault.frozen:
            self._gap.find_freeze(self._database, self._vault)
            raise ChainRefused("the vault is frozen", field="anchor")
        if vault.operator != self._key.address:
            raise ChainRefused("the anchor key is not the vault's operator", field="anchor")
        head = self._vault.tron.head()
        if vault.last_epoch and head.time_s < vault.last_time + vault.min_interval:
            return False
        try:  # on the node first: what would revert, or cannot be paid, is refused for nothing
            prepared = self._vault.prepare_anchor(self._key.address, epoch.head, epoch.head_hash)
        except ChainRefused:
            if self._is_still(epoch):
                raise
            return False  # another process has just sent it
        return self._store(epoch, prepared.sign(self._key), now)

    def _already_there(self, epoch: Pending) -> bool:
        """The scan of solid blocks settles it; only another content is news."""
        there = self._vault.anchor_of(epoch.number)
        if not _is_of(there, epoch.head, epoch.head_hash):
            raise BooksBroken(
                f"the chain holds another epoch {epoch.number} than this ledger", field="epochs",
                hint="is the database an old backup? is the anchor key stolen?",
            )  # fmt: skip
        return False

    def _is_still(self, epoch: Pending) -> bool:
        with self._database.read() as connection:
            now = pending(connection)
        return now is not None and (now.number, now.state) == (epoch.number, epoch.state)

    def _store(self, epoch: Pending, signed: Signed, now: int) -> bool:
        """False when another process has stored one meanwhile: ours is forgotten, nobody saw it."""
        with self._database.write() as connection:
            if not _move(connection, epoch.number, State.PUBLISHED, Step.STORE):
                return False
            connection.execute(
                anchor_attempts.insert().values(
                    epoch=epoch.number, attempt=epoch.attempt + 1, txid=signed.txid,
                    raw=signed.text, signed_at=now, expires_at=signed.expires_at,
                    state=Attempt.ALIVE.value,
                )
            )  # fmt: skip
        self._sent_at = 0
        return True

    # ---- one transaction that is alive ----

    def _follow(self, epoch: Pending, signed: Signed, now: int) -> bool:
        tron = self._vault.tron
        # Asked first: a block that came in between can only have made it known, never possible again.
        expired = tron.expired(signed)
        receipt = tron.receipt(signed.txid)
        if receipt is not None and receipt.ok:
            if epoch.state is State.SEEN:
                return self._read_again(epoch, signed.txid, receipt.block)
            return self._record(epoch, Step.SEE)
        if receipt is not None:
            return self._reverted(epoch, signed, now)
        if epoch.state is State.SEEN:
            return self._record(epoch, Step.LOSE)
        if expired:
            if tron.known(signed.txid):
                return False
            return self._give_up(epoch, Attempt.EXPIRED, "no block took it in its time", now)
        if now > signed.expires_at or now < self._sent_at + RESEND_S:
            return False  # too late for any block, and until one is solid nobody can be sure
        self._sent_at = now
        try:
            tron.broadcast(signed)
        except ChainRefused as refusal:
            # It may yet be valid elsewhere: not given up before it has expired.
            self._keep_reason(epoch, str(refusal))
            raise
        return epoch.state is State.SIGNED and self._record(epoch, Step.SEND)

    def _read_again(self, epoch: Pending, txid: bytes, block: int) -> bool:
        """The scan has passed its block and has not found it there: a node that did not have the block
        yet has answered as for an empty one."""
        with self._database.read() as connection:
            passed = again.is_passed(connection, block)
        if passed and self._vault.tron.receipt(txid, solid=True) is not None:
            with self._database.write() as connection:
                still = pending(connection)
                if still is not None and still.number == epoch.number:
                    again.go_back(connection, block)
        return False

    def _reverted(self, epoch: Pending, signed: Signed, now: int) -> bool:
        solid = self._vault.tron.receipt(signed.txid, solid=True)
        if solid is None or solid.ok:
            return False
        reason = f"mined and reverted: {solid.result}, {solid.fee_sun} sun burned"
        self._give_up(epoch, Attempt.REVERTED, reason, now)
        raise ChainRefused(f"epoch {epoch.number} was {reason}", field="anchor")

    def _record(self, epoch: Pending, step: Step) -> bool:
        with self._database.write() as connection:
            return _move(connection, epoch.number, epoch.state, step)

    def _give_up(self, epoch: Pending, outcome: Attempt, reason: str, now: int) -> bool:
        with self._database.write() as connection:
            if not _move(connection, epoch.number, epoch.state, Step.GIVE_UP):
                return False
            _end(connection, epoch.number, outcome, now, reason=reason)
        return True

    def _keep_reason(self, epoch: Pending, reason: str) -> None:
        with self._database.write() as connection:
            connection.execute(
                anchor_attempts.update()
                .where(
                    anchor_attempts.c.epoch == epoch.number,
                    anchor_attempts.c.attempt == epoch.attempt,
                )
                .values(reason=reason[:MAX_REASON_CHARS])
            )


def _is_of(anchored: Anchored, head: EpochHead, head_hash: bytes) -> bool:
    """In all that the vault was told. It cannot look into a head: whoever has the operator's key can
    anchor our head's hash with a root of their own, and claims go by the root."""
    file = head.file if anchored.file is None else anchored.file
    return (
        anchored.root, anchored.head, anchored.liabilities, anchored.journal_size,
        anchored.deposit_seq, file,
    ) == (
        head.root, head_hash, head.liabilities, head.journal_size, head.deposit_seq, head.file,
    )  # fmt: skip


def _pause_s(reverted: int) -> int:
    return min(FIRST_PAUSE_S << min(reverted - 1, 10), LONGEST_PAUSE_S) if reverted else 0


def _move(connection: sa.Connection, number: int, state: State, step: Step, **also: object) -> bool:
    """False when the epoch is not in ``state`` any more: somebody else was faster."""
    moved = connection.execute(
        epochs.update()
        .where(epochs.c.number == number, epochs.c.state == state.value)
        .values(state=after(state, step).value, **also)
    )
    return moved.rowcount == 1


def _end(
    connection: sa.Connection,
    number: int,
    outcome: Attempt,
    now: int,
    *,
    reason: str | None = None,
    but: bytes | None = None,
) -> None:
    """The attempt that is alive, if any, is so no more; unless its transaction is ``but``."""
    mine = sa.and_(
        anchor_attempts.c.epoch == number, anchor_attempts.c.state == Attempt.ALIVE.value
    )
    if but is not None:
        mine = sa.and_(mine, anchor_attempts.c.txid != but)
    values: dict[str, object] = {"state": outcome.value, "ended_at": now}
    if reason is not None:
        values["reason"] = reason[:MAX_REASON_CHARS]
    connection.execute(anchor_attempts.update().where(mine).values(values))
