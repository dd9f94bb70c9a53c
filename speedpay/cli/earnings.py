"""``speedpay earnings``: what seeding earned, each µtok by a signed object, and what to expect."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from speedpay.cli.output import (
    Output,
    age_text,
    clean,
    examples,
    pass_output,
    size_text,
    time_text,
    tokens_text,
)
from speedpay.cli.text import Cell
from speedpay.client.earnings import Earned, Earnings
from speedpay.client.earnings import earnings as added_up
from speedpay.client.proving import Prover
from speedpay.client.records import Records
from speedpay.config import Settings, load
from speedpay.errors import NotFound, ProofBroken
from speedpay.market.forecast import DAY_S, WINDOW_S, Forecast, Sureness
from speedpay.signing import Domain
from speedpay.wallet.opening import keystore_of

_COLUMNS = (
    "day", "name", "infohash", "earned_tok", "earned_utok", "credit_utok", "redeemed_utok",
    "fees_utok", "paid_bytes", "free_bytes", "offered_s",
)  # fmt: skip
_AHEAD = (("next_day", "the next 24 hours", DAY_S), ("next_month", "the next 30 days", 30 * DAY_S))
_DAYS_SHOWN = 7


@click.command(
    epilog=examples("speedpay earnings", "speedpay earnings --csv > earnings.csv")
)  # fmt: skip
@click.option(
    "--csv", "as_csv", is_flag=True, help="By day and torrent, for spreadsheets (RFC 4180)."
)
@pass_output
def earnings(out: Output, as_csv: bool) -> None:
    """List what seeding earned, by torrent, and what to expect if it goes on as lately.

    Nobody is asked: vouchers and the ledger's signed answers are kept, and checked again each time.
    Exit code 10: something does not match.
    """
    found, now = _added_up(load({})), int(time.time())
    if as_csv:
        out.table(_COLUMNS, _table(found))
    else:
        out.result(_as_json(found, now), _as_text(found, now))
    problems = found.problems()
    if problems:
        raise ProofBroken(problems[0], hint="speedpay earnings --json shows all of them")


def _added_up(settings: Settings) -> Earnings:
    from speedpay.client.store import Store

    place = keystore_of(settings).place()
    if place.ledger_id is None or place.account is None:
        raise NotFound("the wallet has no account yet", hint="speedpay wallet open")
    store = Store(settings.home / "client.db")
    try:
        records = Records(store)
        prover = Prover(records, Domain(place.network, place.ledger_id))
        return added_up(records, prover, place.account)
    finally:
        store.close()


# --- for people ----------------------------------------------------------------------------------


def _as_text(found: Earnings, now: int) -> str:
    if found.since is None:
        return "nothing was seeded yet: speedpay seed"
    lines = [
        f"{tokens_text(one.earned):>14} earned, {tokens_text(one.redeemed):>14} redeemed,"
        f" {size_text(one.paid_bytes):>10} paid, {size_text(one.free_bytes):>10} free"
        f"  {clean(found.name(infohash), 60)}"
        for infohash, one in found.torrents().items()
    ]
    lines += _days_text(found, now)
    total = found.total()
    waiting = total.earned.minus_or_zero(total.redeemed + found.lost)
    lines.append(
        f"in all {tokens_text(total.earned)} earned, {total.credit} of it credit:"
        f" {tokens_text(total.redeemed)} redeemed ({total.fees} of it fees),"
        f" {tokens_text(waiting)} not redeemed yet"
    )
    if total.redeemed and not found.missing() and not found.problems():
        lines.append("every µtok that was redeemed is in an answer that the ledger signed")
    if found.lost:
        lines.append(
            f"lost: {tokens_text(found.lost)} in vouchers of channels that the ledger closed"
        )
    lines += [_ahead_text(found, now, words, seconds) for _, words, seconds in _AHEAD]
    lines += [f"note: {said}" for said in found.missing()]
    lines += [f"DOES NOT MATCH: {said}" for said in found.problems()]
    return "\n".join(lines)


def _days_text(found: Earnings, now: int) -> list[str]:
    days: dict[int, Earned] = {}
    for (day, _), one in found.days.items():
        days.setdefault(day, Earned()).add(one)
    shown = [day for day in sorted(days) if day > now // DAY_S - _DAYS_SHOWN]
    return [
        f"{time_text(day * DAY_S)[:10]}: {tokens_text(days[day].earned)},"
        f" {size_text(days[day].paid_bytes)} paid, {size_text(days[day].free_bytes)} free"
        for day in shown
    ]


def _ahead_text(found: Earnings, now: int, words: str, seconds: int) -> str:
    ahead, begin = found.ahead(now, seconds), now - WINDOW_S
    lately = found.recent(begin)
    sent = size_text(lately.paid_bytes + lately.free_bytes)
    seeded = age_text(found.seeded_s(begin))
    if ahead.sureness is Sureness.UNKNOWN:
        return f"{words}: too early to say, after {seeded} of seeding"
    if ahead.sureness is Sureness.NOBODY:
        return f"{words}: in {seeded} of seeding {sent} went out, nobody paid: expect 0"
    return (
        f"{words}: about {tokens_text(ahead.expected)}, {ahead.low} to {ahead.high},"
        f" {_sureness_text(ahead)} (in {seeded} of seeding {sent} went out, {ahead.payers} paid)"
    )


def _sureness_text(ahead: Forecast) -> str:
    return {
        Sureness.GUESS: "a guess from few payers or little time",
        Sureness.ROUGH: "roughly: some days are far better than others",
        Sureness.FAIR: "fairly sure",
    }[ahead.sureness]


# --- for programs --------------------------------------------------------------------------------


def _as_json(found: Earnings, now: int) -> dict[str, object]:
    total = found.total()
    made = _earned_json(total) | {
        "lost_utok": found.lost.to_wire(),
        "since": None if found.since is None else time_text(found.since),
        "torrents": [
            {"name": found.name(infohash), "infohash": infohash.hex()} | _earned_json(one)
            for infohash, one in found.torrents().items()
        ],
        "days": [
            {"day": time_text(day * DAY_S)[:10], "infohash": infohash.hex()} | _earned_json(one)
            for (day, infohash), one in sorted(found.days.items())
        ],
        "notes": found.missing(),
        "problems": found.problems(),
    }
    return made | {key: _ahead_json(found.ahead(now, seconds)) for key, _, seconds in _AHEAD}


def _ahead_json(ahead: Forecast) -> dict[str, object]:
    known = ahead.sureness is not Sureness.UNKNOWN
    return {
        "expected_utok": ahead.expected.to_wire() if known else None,
        "low_utok": ahead.low.to_wire() if known else None,
        "high_utok": ahead.high.to_wire() if known else None,
        "sureness": ahead.sureness.value,
        "looked_at_s": ahead.looked_at_s,
        "payers": ahead.payers,
    }


def _earned_json(one: Earned) -> dict[str, object]:
    return {
        "earned_utok": one.earned.to_wire(),
        "credit_utok": one.credit.to_wire(),
        "redeemed_utok": one.redeemed.to_wire(),
        "fees_utok": one.fees.to_wire(),
        "paid_bytes": one.paid_bytes,
        "free_bytes": one.free_bytes,
        "offered_s": one.seconds,
    }


def _table(found: Earnings) -> list[Sequence[Cell]]:
    return [
        (
            time_text(day * DAY_S)[:10], found.name(infohash), infohash.hex(), one.earned,
            one.earned.utok, one.credit.utok, one.redeemed.utok, one.fees.utok,
            one.paid_bytes, one.free_bytes, one.seconds,
        )
        for (day, infohash), one in sorted(found.days.items())
    ]  # fmt: skip
