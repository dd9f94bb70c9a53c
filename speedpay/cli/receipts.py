"""``speedpay receipts``: what downloads cost, each µtok by the signed object that says so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import click

from speedpay.channel.voucher import Voucher
from speedpay.cli.client import read_torrent
from speedpay.cli.output import (
    Output,
    clean,
    examples,
    pass_output,
    price_text,
    size_text,
    time_text,
    tokens_text,
)
from speedpay.cli.text import Cell
from speedpay.cli.unlock import unlock
from speedpay.client.proving import Proved, Prover
from speedpay.client.receipts import Purchase, judged, vouchers
from speedpay.client.records import KeptReceipt, Records
from speedpay.config import Settings, load
from speedpay.errors import NotFound, ProofBroken
from speedpay.market.preview import error_ppm
from speedpay.signing import Domain
from speedpay.units import MIB, Amount, MoneyClass, Price
from speedpay.wallet.opening import keystore_of

_COLUMNS = (
    "number", "ended", "name", "infohash", "bytes", "seconds", "class", "paid_tok", "paid_utok",
    "proved_utok", "refunded_utok", "predicted_seconds", "predicted_utok", "gain", "complete", "problems",
)  # fmt: skip
_CHANNEL_COLUMNS = (
    "number", "channel", "payee", "class", "escrow_utok", "voucher_utok", "paid_tok", "paid_utok",
    "refunded_utok", "ledger_answer", "receipt_utok", "receipt_bytes", "problems",
)  # fmt: skip


@click.command(
    epilog=examples(
        "speedpay receipts",
        "speedpay receipts 3",
        "speedpay receipts debian.torrent --vouchers",
        "speedpay receipts --csv > receipts.csv",
    )
)
@click.argument("which", metavar="[N|TORRENT]", required=False)
@click.option("--csv", "as_csv", is_flag=True, help="As a table for spreadsheets (RFC 4180).")
@click.option(
    "--vouchers", "with_vouchers", is_flag=True,
    help="Open the wallet and sign each last voucher again, byte for byte.",
)  # fmt: skip
@click.option("--passphrase-file", metavar="FILE", help="With --vouchers: the wallet's passphrase.")
@pass_output
def receipts(
    out: Output,
    which: str | None,
    as_csv: bool,
    with_vouchers: bool,
    passphrase_file: str | None,
) -> None:
    """List the downloads that were paid for, or show one in full: its number, .torrent or infohash.

    Nobody is asked: statements, vouchers and the ledger's signed answers are kept, and checked again each
    time. Exit code 10: something does not match.
    """
    settings = load({"passphrase_file": passphrase_file})
    found = _judged(settings)
    chosen = found if which is None else _chosen(found, which)
    signed: dict[bytes, Voucher] = {}
    if with_vouchers:
        wallet = unlock(out, settings)
        for one in chosen:
            signed |= vouchers(one, wallet.keys, _domain(settings))
    if as_csv:
        out.table(*(_table(chosen) if which is None else _channel_table(chosen)))
    elif out.json:
        for one in chosen:
            out.result(_as_json(one, signed, in_full=which is not None or with_vouchers), "")
    elif which is None:
        out.result(None, _list(chosen))
    else:
        out.result(None, "\n\n".join(_in_full(one, signed) for one in chosen))
    problems = [(one.number, said) for one in chosen for said in one.problems()]
    if problems:
        number, said = problems[0]
        raise ProofBroken(
            f"purchase {number}: {said}",
            hint=f"speedpay receipts {number} shows all that is kept of it",
        )


def _domain(settings: Settings) -> Domain:
    place = keystore_of(settings).place()
    if place.ledger_id is None:
        raise NotFound("the wallet has no account yet", hint="speedpay wallet open")
    return Domain(place.network, place.ledger_id)


def _judged(settings: Settings) -> list[Purchase]:
    from speedpay.client.store import Store

    domain = _domain(settings)
    store = Store(settings.home / "client.db")
    try:
        records = Records(store)
        prover, names = Prover(records, domain), records.names()
        return [
            judged(one, names.get(one.infohash, one.infohash.hex()), prover)
            for one in records.bought()
        ]
    finally:
        store.close()


def _chosen(found: list[Purchase], which: str) -> list[Purchase]:
    if re.fullmatch(r"[0-9]{1,9}", which):
        chosen = [one for one in found if one.number == int(which)]
    else:
        infohash = _infohash(which)
        chosen = [one for one in found if one.infohash == infohash]
    if not chosen:
        raise NotFound(f"nothing was paid for {clean(which)}", hint="speedpay receipts lists them")
    return chosen


def _infohash(which: str) -> bytes:
    from speedpay.swarm.content import check_torrent_file

    if re.fullmatch(r"[0-9a-fA-F]{40}", which):
        return bytes.fromhex(which)
    return check_torrent_file(read_torrent(Path(which))).infohash


# --- for people ----------------------------------------------------------------------------------


def _list(found: Sequence[Purchase]) -> str:
    if not found:
        return "nothing was paid for yet"
    lines = [_line(one) for one in found]
    sums = []
    for money_class in MoneyClass:
        ours = [one for one in found if one.money_class is money_class]
        paid = Amount(sum(one.paid.utok for one in ours))
        proved = Amount(sum(one.proved.utok for one in ours))
        if paid:
            by = "" if proved == paid else f" ({proved} of it by the ledger's signed answers)"
            sums.append(f"{tokens_text(paid)} of {money_class.value}{by}")
    lines.append(f"{len(found)} paid for: {' and '.join(sums) or 'nothing was paid'}")
    return "\n".join(lines)


def _line(one: Purchase) -> str:
    ended = one.ended
    when = time_text(ended.ended) if ended else "not ended"
    size = size_text(ended.byte_count) if ended else ""
    gain = f"  {_gain_text(ended.gain_ppm)}" if ended and ended.gain_ppm is not None else ""
    wrong = "  DOES NOT MATCH" if one.problems() else ""
    return (
        f"{one.number:>4}  {when:<20}  {size:>10}  {tokens_text(one.paid):>14}  {clean(one.name, 60)}"
        f"{gain}{wrong}"
    )


def _in_full(one: Purchase, signed: dict[bytes, Voucher]) -> str:
    lines = [f"{one.number}  {clean(one.name)}  {one.infohash.hex()}"]
    if one.ended is not None:
        ended, seconds = one.ended, one.ended.milliseconds / 1000
        lines.append(
            f"{time_text(ended.began)} to {time_text(ended.ended)}:"
            f" {size_text(ended.byte_count)} in {seconds:.1f} s{'' if one.done else ', not complete'}"
        )
    lines.append(f"paid {tokens_text(one.paid)} of {one.money_class.value}{_per_gib(one)}")
    lines += _quality(one)
    for channel in one.channels:
        lines += _channel_lines(channel, signed.get(channel.channel))
    lines.append(
        f"sum: {tokens_text(one.promised)} in vouchers, {tokens_text(one.paid)} paid,"
        f" {tokens_text(one.refunded)} of escrow came back"
    )
    lines += [f"note: {note}" for note in one.notes]
    lines += [f"DOES NOT MATCH: {said}" for said in one.broken]
    if not one.problems() and one.proved == one.paid:
        lines.append("every µtok is in an answer that the ledger signed")
    return "\n".join(lines)


def _channel_lines(one: Proved, voucher: Voucher | None) -> list[str]:
    lines = [f"  channel {one.channel.hex()}"]
    if one.statement is not None:
        body = one.said.statement if one.said and one.said.statement else one.statement
        lines.append(f"    payee     {body.payee_key.hex()}")
        lines.append(f"    escrow    {tokens_text(body.escrow)}, by the ledger's statement")
    lines.append(f"    vouchers  {tokens_text(one.promised)}")
    if voucher is not None:
        lines.append(f"    signed    {voucher.signature.hex()}")
    if one.said is not None:
        held = one.said.voucher
        by = f", by the payer's voucher over {tokens_text(held.cumulative)}" if held else ""
        when = f", {time_text(one.at)}" if one.at else ""
        lines.append(
            f"    ledger    {tokens_text(one.said.paid)} paid{by},"
            f" {tokens_text(one.said.refunded)} back{when}"
        )
    elif one.recorded is None:
        lines.append("    ledger    has not closed it yet")
    if one.receipt is not None:
        kept = one.receipt
        lines.append(
            f"    receipt   {tokens_text(kept.cumulative)} for {size_text(kept.byte_count)}, signed by the"
            f" payee at {time_text(kept.time)}"
        )
    elif one.promised:
        lines.append("    receipt   none: its payee gave none")
    lines += [f"    note: {said}" for said in one.missing]
    lines += [f"    DOES NOT MATCH: {said}" for said in one.broken]
    return lines


def _per_gib(one: Purchase) -> str:
    if one.ended is None or not one.ended.byte_count or not one.paid:
        return ""
    return f", {price_text(Price(one.paid.utok * MIB // one.ended.byte_count))} over all bytes"


def _quality(one: Purchase) -> list[str]:
    """How good the preview was, and what paying gained, where they are known."""
    ended, lines = one.ended, []
    if ended is not None and ended.predicted_ms:
        off = error_ppm(ended.predicted_ms, ended.milliseconds)
        said = f"predicted {ended.predicted_ms / 1000:.1f} s"
        if ended.predicted_paid is not None:
            said += f" and {tokens_text(ended.predicted_paid)}"
        lines.append(f"{said}: {off / 10_000:.0f} % off in time")
    if ended is not None and ended.gain_ppm is not None:
        lines.append(f"{_gain_text(ended.gain_ppm)}, as measured")
    return lines


def _gain_text(gain_ppm: int) -> str:
    return f"{gain_ppm / 1_000_000:.1f}x faster than free"


# --- for programs --------------------------------------------------------------------------------


def _as_json(one: Purchase, signed: dict[bytes, Voucher], in_full: bool) -> dict[str, object]:
    ended = one.ended
    made: dict[str, object] = {
        "number": one.number,
        "name": one.name,
        "infohash": one.infohash.hex(),
        "class": one.money_class.value,
        "began": time_text(ended.began) if ended else None,
        "ended": time_text(ended.ended) if ended else None,
        "complete": one.done,
        "bytes": ended.byte_count if ended else None,
        "seconds": ended.milliseconds / 1000 if ended else None,
        "paid_utok": one.paid.to_wire(),
        "proved_utok": one.proved.to_wire(),
        "voucher_utok": one.promised.to_wire(),
        "refunded_utok": one.refunded.to_wire(),
        "predicted_seconds": ended.predicted_ms / 1000 if ended and ended.predicted_ms else None,
        "predicted_utok": _wire(ended.predicted_paid if ended else None),
        "gain": ended.gain_ppm / 1_000_000 if ended and ended.gain_ppm is not None else None,
        "notes": one.notes,
        "problems": one.problems(),
    }
    if in_full:
        made["channels"] = [_channel_json(c, signed.get(c.channel)) for c in one.channels]
    return made


def _channel_json(one: Proved, voucher: Voucher | None) -> dict[str, object]:
    known = one.said.statement if one.said and one.said.statement else one.statement
    return {
        "channel": one.channel.hex(),
        "payee": known.payee_key.hex() if known else None,
        "escrow_utok": _wire(known.escrow if known else None),
        "voucher_utok": one.promised.to_wire(),
        "voucher_signature": voucher.signature.hex() if voucher else None,
        "paid_utok": one.paid.to_wire(),
        "refunded_utok": _wire(one.said.refunded if one.said else None),
        "ledger_answer": one.said is not None,
        "receipt": _receipt_json(one.receipt),
        "answered": time_text(one.at) if one.at else None,
        "notes": one.missing,
        "problems": one.broken,
    }


def _receipt_json(kept: KeptReceipt | None) -> dict[str, object] | None:
    """With the salt: whoever is shown it as well can check for which content the payee signed."""
    if kept is None:
        return None
    return {
        "cumulative_utok": kept.cumulative.to_wire(),
        "bytes": kept.byte_count,
        "salt": kept.salt.hex(),
        "time": time_text(kept.time),
        "signed_at": kept.time,
        "signature": kept.signature.hex(),
    }


def _wire(amount: Amount | None) -> str | None:
    return None if amount is None else amount.to_wire()


def _table(found: Sequence[Purchase]) -> tuple[Sequence[str], list[Sequence[Cell]]]:
    rows: list[Sequence[Cell]] = []
    for one in found:
        ended = one.ended
        predicted = ended.predicted_paid if ended else None
        rows.append((
            one.number, time_text(ended.ended) if ended else None, one.name, one.infohash.hex(),
            ended.byte_count if ended else None, _decimal(ended.milliseconds if ended else None, 3),
            one.money_class.value, one.paid, one.paid.utok, one.proved.utok, one.refunded.utok,
            _decimal(ended.predicted_ms if ended else None, 3),
            None if predicted is None else predicted.utok,
            _decimal(ended.gain_ppm if ended else None, 6),
            "yes" if one.done else "no", "; ".join(one.problems()) or None,
        ))  # fmt: skip
    return _COLUMNS, rows


def _channel_table(found: Sequence[Purchase]) -> tuple[Sequence[str], list[Sequence[Cell]]]:
    rows: list[Sequence[Cell]] = []
    for purchase in found:
        for one in purchase.channels:
            known = one.said.statement if one.said and one.said.statement else one.statement
            rows.append((
                purchase.number, one.channel.hex(), known.payee_key.hex() if known else None,
                purchase.money_class.value, known.escrow.utok if known else None, one.promised.utok,
                one.paid, one.paid.utok, one.said.refunded.utok if one.said else None,
                time_text(one.at) if one.at and one.said else None,
                one.receipt.cumulative.utok if one.receipt else None,
                one.receipt.byte_count if one.receipt else None, "; ".join(one.broken) or None,
            ))  # fmt: skip
    return _CHANNEL_COLUMNS, rows


def _decimal(number: int | None, decimals: int) -> Decimal | None:
    return None if number is None else Decimal(number).scaleb(-decimals)
