"""What a client writes down for its owner: purchases as they ended, the ledger's signed answers, traffic.

Nothing here decides about money. Whoever adds it up finds the proofs in ``receipts.py`` and ``earnings.py``.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from speedpay.certificates import CertificateSet
from speedpay.channel.receipt import PayeeReceipt, content_commitment
from speedpay.client import tables
from speedpay.client.database import Database
from speedpay.errors import Malformed, ProofBroken, SpeedpayError
from speedpay.ledger_api import strict
from speedpay.ledger_api.answers import (
    certificate_to_json,
    read_certificate,
    read_revocation,
    revocation_to_json,
)
from speedpay.ledger_api.attested import SignedAnswer
from speedpay.ledger_api.strict import Fields
from speedpay.signing import Certificate, Domain, ledger_id
from speedpay.units import MAX_UTOK, Amount, MoneyClass

_MAX_NAME = 255
HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Ended:
    """One purchase when it ended or was interrupted. Times are unix seconds; ``milliseconds`` those of
    all its runs, as a run's receipt counts them. ``predicted_ms`` and ``predicted_paid``: what its preview
    said of it; ``gain_ppm``: paid speed ÷ free speed as measured, in millionths."""

    name: str
    byte_count: int
    began: int
    ended: int
    milliseconds: int
    paid: Amount
    predicted_ms: int | None = None
    predicted_paid: Amount | None = None
    gain_ppm: int | None = None


@dataclass(frozen=True, slots=True)
class PayingRow:
    """A channel on which we pay, as it was written down; ``paid`` is None until the ledger closed it."""

    channel: bytes
    statement: bytes
    signature: bytes
    signed: Amount
    paid: Amount | None


@dataclass(frozen=True, slots=True)
class Bought:
    """One purchase with all its channels. ``ended`` is None when no run of it ended by itself."""

    plan: int
    infohash: bytes
    money_class: MoneyClass
    done: bool
    ended: Ended | None
    channels: tuple[PayingRow, ...]


@dataclass(frozen=True, slots=True)
class PaidRow:
    """A channel that pays us, as it was written down. ``at``: unix seconds when it was opened to us."""

    channel: bytes
    infohash: bytes
    statement: bytes
    signature: bytes
    cumulative: Amount
    voucher: bytes | None
    redeemed: Amount
    closed: bool
    at: int


@dataclass(frozen=True, slots=True)
class Kept:
    """The ledger's answer about a channel, and when it was kept."""

    answer: SignedAnswer
    at: int


@dataclass(frozen=True, slots=True)
class KeptReceipt:
    """A payee's receipt without its commitment: that is made of ``salt`` and the purchase's infohash."""

    channel: bytes
    cumulative: Amount
    byte_count: int
    salt: bytes
    time: int
    signature: bytes

    def of(self, infohash: bytes) -> PayeeReceipt:
        return PayeeReceipt(
            self.channel, self.cumulative, self.byte_count,
            content_commitment(self.salt, infohash), self.time, self.signature,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Traffic:
    """``seconds``: for how long the torrent was offered; ``began``: unix seconds, since when."""

    paid_bytes: int = 0
    free_bytes: int = 0
    seconds: int = 0
    began: int = 0


def keep(db: sa.Connection, channel: bytes, answer: SignedAnswer) -> None:
    """``answer`` is the newest about ``channel``; the one before is dropped with its last channel."""
    body = answer.to_bytes()
    number = hashlib.sha256(body).digest()
    closings = tables.closings
    before = db.execute(
        sa.select(closings.c.answer).where(closings.c.channel == channel)
    ).scalar_one_or_none()
    db.execute(insert(tables.answers).values(id=number, body=body).on_conflict_do_nothing())
    row = {"answer": number, "at": int(time.time())}
    query = insert(closings).values(row | {"channel": channel})
    db.execute(query.on_conflict_do_update(index_elements=["channel"], set_=row))
    if before is not None:
        in_use = sa.select(closings.c.channel).where(closings.c.answer == before)
        db.execute(tables.answers.delete().where(tables.answers.c.id == before, ~sa.exists(in_use)))
    _keep_certificate(db, answer.certificate)


def _keep_certificate(db: sa.Connection, certificate: Certificate) -> None:
    row = {
        "response_key": certificate.response_key,
        "body": strict.dump(certificate_to_json(certificate)),
    }
    query = insert(tables.certificates).values(row)
    db.execute(query.on_conflict_do_update(index_elements=["response_key"], set_=row))


class Records:
    """The tables of this file, in a client's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- purchases -------------------------------------------------------------------------------

    def ended(self, plan: int, run: Ended) -> None:
        """One run of the purchase ``plan``: with its earlier runs it is one purchase. What the first run
        predicted was about the whole; what a later one predicts is about the rest."""
        table = tables.receipts
        row = {
            "name": run.name[:_MAX_NAME], "byte_count": run.byte_count, "began": run.began,
            "ended": run.ended, "milliseconds": run.milliseconds, "paid": run.paid.utok,
            "predicted_ms": run.predicted_ms,
            "predicted_utok": run.predicted_paid.utok if run.predicted_paid is not None else None,
            "gain_ppm": run.gain_ppm,
        }  # fmt: skip
        query = insert(table).values(row | {"plan": plan})
        new = query.excluded
        query = query.on_conflict_do_update(
            index_elements=["plan"],
            set_={
                "name": new.name, "byte_count": new.byte_count, "ended": new.ended,
                "milliseconds": table.c.milliseconds + new.milliseconds, "paid": new.paid,
                "gain_ppm": sa.func.coalesce(new.gain_ppm, table.c.gain_ppm),
            },
        )  # fmt: skip
        with self._database.write() as db:
            db.execute(query)

    def bought(self) -> list[Bought]:
        """Purchases that ended or paid anything, the oldest first."""
        channels: dict[int, list[PayingRow]] = {}
        with self._database.read() as db:
            for row in db.execute(sa.select(tables.paying)).all():
                paid = None if row.paid is None else _amount(row.paid)
                one = PayingRow(
                    row.channel, row.statement, row.signature, _amount(row.signed), paid
                )
                channels.setdefault(row.plan, []).append(one)
            ended = {row.plan: _ended(row) for row in db.execute(sa.select(tables.receipts)).all()}
            plans = db.execute(sa.select(tables.plans).order_by(tables.plans.c.id)).all()
        return [
            Bought(
                row.id, row.infohash, MoneyClass(row.money_class), row.done, ended.get(row.id),
                tuple(channels.get(row.id, ())),
            )
            for row in plans
            if row.id in ended or row.id in channels
        ]  # fmt: skip

    def sold(self, since: int = 0) -> list[PaidRow]:
        """Channels that paid us and began since then (unix seconds), the oldest first."""
        query = sa.select(tables.paid).order_by(tables.paid.c.at, tables.paid.c.channel)
        query = query.where(tables.paid.c.at >= since)
        with self._database.read() as db:
            rows = db.execute(query).all()
        return [
            PaidRow(
                row.channel, row.infohash, row.statement, row.signature, _amount(row.cumulative),
                row.voucher, _amount(row.redeemed), row.closed, row.at,
            )
            for row in rows
        ]  # fmt: skip

    # --- the ledger's word -----------------------------------------------------------------------

    def keep_keys(self, known: CertificateSet) -> None:
        """All that is known of the ledger's keys, in one step."""
        with self._database.write() as db:
            for certificate in known.certificates:
                _keep_certificate(db, certificate)
            for revocation in known.revocations:
                body = strict.dump(revocation_to_json(revocation))
                row = {"response_key": revocation.response_key, "body": body}
                query = insert(tables.revocations).values(row)
                db.execute(
                    query.on_conflict_do_update(index_elements=["response_key"], set_=row)
                )  # fmt: skip

    def keys(self, domain: Domain, now: int) -> CertificateSet:
        """What ``keep_keys`` has kept of that ledger, checked again. Raises Malformed or BadSignature when a
        revocation was changed where it was kept: to go on would be to believe a stolen key again."""
        with self._database.read() as db:
            rows = db.execute(sa.select(tables.revocations)).all()
        if not all(isinstance(row.body, bytes) for row in rows):
            raise Malformed("is not what was written", field="revocation")
        revoked = [read_revocation(Fields(strict.parse(row.body))) for row in rows]
        made = CertificateSet(domain).merged(
            [], [one for one in revoked if ledger_id(one.root_key) == domain.ledger_id], now
        )
        for certificate in self.certificates():
            with contextlib.suppress(SpeedpayError):  # the ledger shows them again
                made = made.merged([certificate], [], now)
        return made

    def key_proven(self, response_key: bytes) -> None:
        """The ledger has paid on a channel that this key vouched for."""
        with self._database.write() as db:
            row = insert(tables.proven).values(response_key=response_key)
            db.execute(row.on_conflict_do_nothing())

    def proven_keys(self) -> list[bytes]:
        with self._database.read() as db:
            return list(db.execute(sa.select(tables.proven.c.response_key)).scalars())

    def keep_certificate(self, certificate: Certificate) -> None:
        with self._database.write() as db:
            _keep_certificate(db, certificate)

    def certificates(self) -> list[Certificate]:
        """Whatever can be read: each is judged by who uses it."""
        found = []
        with self._database.read() as db:
            rows = db.execute(sa.select(tables.certificates)).all()
        for row in rows:
            try:
                found.append(read_certificate(Fields(strict.parse(row.body))))
            except SpeedpayError:
                continue
        return found

    def kept(self, channel: bytes) -> Kept | None:
        """Raises Malformed when what was kept cannot be read any more."""
        query = sa.select(tables.answers.c.body, tables.closings.c.at).join(
            tables.answers, tables.closings.c.answer == tables.answers.c.id
        )
        with self._database.read() as db:
            row = db.execute(query.where(tables.closings.c.channel == channel)).first()
        if row is None:
            return None
        if not isinstance(row.body, bytes):
            raise Malformed("is not what was written", field="answer")
        return Kept(SignedAnswer.from_bytes(row.body), row.at)

    # --- the payee's word ------------------------------------------------------------------------

    def keep_receipt(self, receipt: PayeeReceipt, salt: bytes) -> None:
        """It takes the place of an older one of its channel, unless that speaks of more."""
        table = tables.payee_receipts
        row = {
            "cumulative": receipt.cumulative.utok, "byte_count": receipt.byte_count, "salt": salt,
            "time": receipt.time, "signature": receipt.signature,
        }  # fmt: skip
        query = insert(table).values(row | {"channel": receipt.channel})
        newer = table.c.cumulative <= query.excluded.cumulative
        with self._database.write() as db:
            db.execute(
                query.on_conflict_do_update(index_elements=["channel"], set_=row, where=newer)
            )

    def receipt(self, channel: bytes) -> KeptReceipt | None:
        """Raises Malformed when what was kept cannot be read any more."""
        table = tables.payee_receipts
        with self._database.read() as db:
            row = db.execute(sa.select(table).where(table.c.channel == channel)).first()
        if row is None:
            return None
        numbers, octets = (row.cumulative, row.byte_count, row.time), (row.salt, row.signature)
        whole = all(type(one) is int and 0 <= one <= MAX_UTOK for one in numbers)
        if not (whole and all(isinstance(one, bytes) for one in octets)):
            raise Malformed("is not what was written", field="receipt")
        return KeptReceipt(
            channel, Amount(row.cumulative), row.byte_count, row.salt, row.time, row.signature
        )

    # --- traffic ---------------------------------------------------------------------------------

    def add_traffic(self, rows: Mapping[bytes, Traffic], names: Mapping[bytes, str]) -> None:
        """More of what left, by torrent; it counts in the hour in which it began."""
        table = tables.traffic
        with self._database.write() as db:
            for infohash, one in rows.items():
                query = insert(table).values(
                    infohash=infohash, hour=one.began // HOUR_S, began=one.began,
                    paid_bytes=one.paid_bytes, free_bytes=one.free_bytes, seconds=one.seconds,
                )  # fmt: skip
                more = {
                    name: table.c[name] + query.excluded[name]
                    for name in ("paid_bytes", "free_bytes", "seconds")
                }
                db.execute(
                    query.on_conflict_do_update(index_elements=["infohash", "hour"], set_=more)
                )
            for infohash, name in names.items():
                row = {"name": name[:_MAX_NAME]}
                named = insert(tables.names).values(row | {"infohash": infohash})
                db.execute(named.on_conflict_do_update(index_elements=["infohash"], set_=row))

    def traffic(self) -> list[tuple[bytes, Traffic]]:
        """By torrent and hour, the oldest first."""
        query = sa.select(tables.traffic).order_by(tables.traffic.c.hour)
        with self._database.read() as db:
            rows = db.execute(query).all()
        return [
            (row.infohash, Traffic(row.paid_bytes, row.free_bytes, row.seconds, row.began))
            for row in rows
        ]

    def names(self) -> dict[bytes, str]:
        with self._database.read() as db:
            rows = db.execute(sa.select(tables.names)).all()
        return {row.infohash: row.name for row in rows}


def _amount(value: object) -> Amount:
    """SQLite lets anybody write a text where a number stood."""
    if type(value) is not int or value < 0:
        raise ProofBroken(
            "an amount in the client's records is not a number any more", field="store"
        )
    return Amount(value)


def _ended(row: Any) -> Ended:
    predicted = None if row.predicted_utok is None else _amount(row.predicted_utok)
    return Ended(
        row.name, row.byte_count, row.began, row.ended, row.milliseconds, _amount(row.paid),
        row.predicted_ms, predicted, row.gain_ppm,
    )  # fmt: skip
