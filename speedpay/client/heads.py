"""What a client remembers of a ledger's heads, and of a ledger that was caught with two faces.

Both are in the client's database. A contradiction is there before anything else is done about it, so
that no crash, and no restart, makes anybody trade on. The evidence file is made of it, as often as it is
missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from speedpay.client import tables
from speedpay.client.database import Database
from speedpay.errors import Malformed, ProofBroken, SpeedpayError
from speedpay.peer.messages import HeadMessage, decode, encode
from speedpay.proof.evidence import CertifiedHead, Evidence, head_alone
from speedpay.proof.heads import KEPT
from speedpay.signing import Domain
from speedpay.wallet import files


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two heads that ``domain``'s ledger signed and that cannot both be true. ``at``: unix seconds, when
    it was found; ``path``: of the evidence file."""

    domain: Domain
    one: CertifiedHead
    other: CertifiedHead
    says: str
    at: int
    path: Path

    def message(self) -> HeadMessage:
        """As peers are told."""
        return HeadMessage.of(self.one, self.other)

    def evidence(self) -> Evidence:
        return head_alone(self.one, self.domain, self.says, self.other)

    def error(self) -> ProofBroken:
        """What, why, and what next."""
        return ProofBroken(
            f"{self.says}: it shows people different books, so nothing is bought or sold there any more;"
            " what was earned is redeemed",
            field="head",
            hint=f"the evidence is in {self.path}, and scripts/verify_independent checks it; to trade there"
            " all the same: speedpay heads --go-on",
        )

    def __str__(self) -> str:
        error = self.error()
        return f"{error.message}. {error.hint}"


class Heads:
    """The tables of this file, for the ledger of ``domain``. ``folder``: where evidence is put."""

    def __init__(self, database: Database, domain: Domain, folder: Path) -> None:
        self._database, self._domain, self._folder = database, domain, folder

    def known(self) -> dict[int, CertifiedHead]:
        """By epoch, each as it was when it was checked. What cannot be read any more is left out."""
        table, found = tables.heads, {}
        query = sa.select(table).where(table.c.ledger == self._domain.ledger_id)
        with self._database.read() as db:
            rows = db.execute(query.order_by(table.c.epoch)).all()
        for row in rows:
            try:
                found[row.epoch] = _message(row.body).certified()
            except SpeedpayError:
                continue
        return found

    def keep(self, shown: CertifiedHead) -> None:
        """It is of an epoch of which no head that counts was known; the oldest of too many goes."""
        table, mine = tables.heads, tables.heads.c.ledger == self._domain.ledger_id
        row = {
            "ledger": self._domain.ledger_id, "epoch": shown.signed.head.epoch,
            "body": encode(HeadMessage.of(shown)),
        }  # fmt: skip
        newest = sa.select(table.c.epoch).where(mine).order_by(table.c.epoch.desc()).limit(KEPT)
        with self._database.write() as db:
            said = insert(table).values(row)
            db.execute(said.on_conflict_do_update(set_={"body": said.excluded.body}))
            db.execute(table.delete().where(mine, table.c.epoch.not_in(newest)))

    def convict(
        self, one: CertifiedHead, other: CertifiedHead, says: str, at: int
    ) -> Contradiction:
        """Durable when it returns: nothing is traded from here on. The file comes after."""
        row = {
            "ledger": self._domain.ledger_id, "says": says, "at": at, "accepted": False,
            "body": encode(HeadMessage.of(one, other)),
        }  # fmt: skip
        with self._database.write() as db:
            db.execute(tables.contradictions.insert().values(row))
        return self._made(one, other, says, at)

    def contradiction(self) -> Contradiction | None:
        """The newest that its owner has not accepted. Raises ProofBroken when there is one that cannot be
        read any more: nothing is traded then either."""
        table = tables.contradictions
        query = sa.select(table).where(self._mine(), ~table.c.accepted)
        with self._database.read() as db:
            row = db.execute(query.order_by(table.c.id.desc()).limit(1)).first()
        if row is None:
            return None
        try:
            found = _message(row.body)
        except Malformed as error:
            raise ProofBroken(
                f"{row.says}; the two heads cannot be read any more: {error}",
                hint="to trade there all the same: speedpay heads --go-on",
            ) from error
        assert found.other is not None
        return self._made(found.certified(), found.other.certified(), row.says, row.at)

    def accept(self, at: int) -> None:
        """Its owner goes on all the same, at ``at`` (unix seconds). What was known is forgotten, and what
        closed by then is judged no more: else each epoch of a second history would stop him again."""
        heads, table = tables.heads, tables.contradictions
        with self._database.write() as db:
            new = table.update().where(self._mine(), ~table.c.accepted)
            db.execute(new.values(accepted=True, at=at))
            db.execute(heads.delete().where(heads.c.ledger == self._domain.ledger_id))

    def settled(self) -> int:
        """When a contradiction was last accepted, unix seconds; 0: there was none."""
        table = tables.contradictions
        query = sa.select(sa.func.max(table.c.at)).where(self._mine(), table.c.accepted)
        with self._database.read() as db:
            return db.execute(query).scalar() or 0

    def _mine(self) -> sa.ColumnElement[bool]:
        return tables.contradictions.c.ledger == self._domain.ledger_id

    def _made(self, one: CertifiedHead, other: CertifiedHead, says: str, at: int) -> Contradiction:
        epochs = "-".join(str(each.signed.head.epoch) for each in (one, other))
        name = f"heads-{self._domain.ledger_id.hex()[:8]}-{epochs}-{at}.json"
        return Contradiction(self._domain, one, other, says, at, self._folder / name)


def write_evidence(found: Contradiction) -> None:
    """Unless it is there already. Raises DiskFull, or SpeedpayError where the folder cannot be used."""
    if not found.path.exists():
        with files.locked(found.path.parent / ".lock"):
            files.write(found.path, found.evidence().to_json())


def _message(body: object) -> HeadMessage:
    found = decode(body) if isinstance(body, bytes) else None
    if not isinstance(found, HeadMessage):
        raise Malformed("is not what was written", field="store.heads")
    return found
