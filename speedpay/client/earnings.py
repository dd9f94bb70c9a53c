"""What seeding earned, by torrent and day: vouchers, the ledger's signed answers, and what left for them."""

from __future__ import annotations

from dataclasses import dataclass, field

from speedpay.channel.voucher import Voucher
from speedpay.client.proving import Proved, Prover
from speedpay.client.records import HOUR_S, PaidRow, Records
from speedpay.ledger_api.shapes import ChannelState
from speedpay.market.forecast import DAY_S, Forecast, Income, forecast
from speedpay.units import ZERO, Amount, MoneyClass


@dataclass(slots=True)
class Earned:
    """Of one torrent, in all or on one day (UTC). ``earned``: vouchers that were accepted, by the day on
    which their channel began, ``credit`` of it in credit; ``redeemed`` of it by the ledger's signed answers,
    ``fees`` of that for the ledger. Bytes that left, for payers and in the free lane; ``seconds``: for how
    long it was offered."""

    earned: Amount = ZERO
    credit: Amount = ZERO
    redeemed: Amount = ZERO
    fees: Amount = ZERO
    paid_bytes: int = 0
    free_bytes: int = 0
    seconds: int = 0

    def add(self, other: Earned) -> None:
        self.earned += other.earned
        self.credit += other.credit
        self.redeemed += other.redeemed
        self.fees += other.fees
        self.paid_bytes += other.paid_bytes
        self.free_bytes += other.free_bytes
        self.seconds += other.seconds


@dataclass(slots=True)
class Earnings:
    """``days``: (unix day, infohash) → what it earned; ``lost``: vouchers of closed channels that the
    ledger did not pay; ``since``: unix seconds when seeding was first seen; ``uptime``: unix hour →
    seconds of it in which anything was offered."""

    names: dict[bytes, str]
    days: dict[tuple[int, bytes], Earned] = field(default_factory=dict)
    channels: list[Proved] = field(default_factory=list)
    incomes: list[Income] = field(default_factory=list)
    lost: Amount = ZERO
    since: int | None = None
    uptime: dict[int, int] = field(default_factory=dict)

    def torrents(self) -> dict[bytes, Earned]:
        """By torrent, those that earned most first."""
        found: dict[bytes, Earned] = {}
        for (_, infohash), one in self.days.items():
            found.setdefault(infohash, Earned()).add(one)
        return dict(sorted(found.items(), key=lambda pair: pair[1].earned, reverse=True))

    def total(self) -> Earned:
        total = Earned()
        for one in self.days.values():
            total.add(one)
        return total

    def recent(self, since: int) -> Earned:
        """From the day of ``since`` (unix seconds) on."""
        total = Earned()
        for (day, _), one in self.days.items():
            if day >= since // DAY_S:
                total.add(one)
        return total

    def seeded_s(self, since: int) -> int:
        """For how long anything was offered from the hour of ``since`` on."""
        return sum(seconds for hour, seconds in self.uptime.items() if hour >= since // HOUR_S)

    def name(self, infohash: bytes) -> str:
        return self.names.get(infohash, infohash.hex())

    def ahead(self, now: int, seconds: int) -> Forecast:
        return forecast(self.incomes, self.since, now, seconds)

    def problems(self) -> list[str]:
        return [
            f"channel {one.channel.hex()[:16]}: {said}"
            for one in self.channels
            for said in one.broken
        ]

    def missing(self) -> list[str]:
        return [
            f"channel {one.channel.hex()[:16]}: {said}"
            for one in self.channels
            for said in one.missing
        ]


def earnings(records: Records, prover: Prover, account: bytes) -> Earnings:
    """Everything this client's store knows of; ``account`` is the one that must have been paid."""
    made = Earnings(records.names())
    for row in records.sold():
        _sold(made, row, prover, account)
    for infohash, one in records.traffic():
        day = _day(made, one.began // DAY_S, infohash)
        day.add(Earned(paid_bytes=one.paid_bytes, free_bytes=one.free_bytes, seconds=one.seconds))
        hour = one.began // HOUR_S
        made.uptime[hour] = max(made.uptime.get(hour, 0), one.seconds)
        _seen(made, one.began)
    return made


def _sold(made: Earnings, row: PaidRow, prover: Prover, account: bytes) -> None:
    found = Proved(row.channel, None, row.cumulative, row.redeemed)
    made.channels.append(found)
    prover.statement(found, row.statement, row.signature)
    if row.cumulative and row.voucher is None:
        found.broken.append(f"there is no voucher for its {row.cumulative} tok")
    elif row.voucher is not None:
        prover.voucher(found, Voucher(row.channel, row.cumulative, row.voucher))
    prover.sold(found, account)
    redeemed = found.said.paid if found.said else row.redeemed
    fee = found.said.fee if found.said else ZERO
    closed = row.closed or (found.said is not None and found.said.state is ChannelState.CLOSED)
    if closed and redeemed < row.cumulative:
        made.lost += row.cumulative - redeemed
    in_credit = found.statement is not None and found.statement.money_class is MoneyClass.CREDIT
    credit = row.cumulative if in_credit else ZERO
    _day(made, row.at // DAY_S, row.infohash).add(Earned(row.cumulative, credit, redeemed, fee))
    if row.cumulative:
        made.incomes.append(Income(row.at, row.cumulative))
    _seen(made, row.at)


def _day(made: Earnings, day: int, infohash: bytes) -> Earned:
    return made.days.setdefault((day, infohash), Earned())


def _seen(made: Earnings, at: int) -> None:
    made.since = at if made.since is None else min(made.since, at)
