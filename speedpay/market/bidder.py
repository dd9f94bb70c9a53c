"""The automatic bid: bid = consumption × balance ÷ remaining KB, and a new one only above 10 %.

Applied to the live balance at every tick the formula compounds: each payment of an unchanged price
changes the next bid, stalling raises it, and its value tells everyone the wallet's size. So the product
consumption × balance is anchored once, when the user plans a download, as that torrent's *allowance*;
at that moment both forms are equal to the digit. ``Formula.PUBLISHED`` keeps the live form.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction

from speedpay.errors import Malformed
from speedpay.units import KIB, MAX_UTOK, MIB, NO_PRICE, ZERO, Amount, Price, Share

_PPM = 1_000_000
#: The divisor never falls below 2 % of the download or 8 MiB, or the last blocks would cost any price.
FLOOR_DIVISOR = 50
FLOOR_BYTES = 8 * MIB
#: A plan's bids never pass 1.5 × its first one: a seller gains nothing by stalling.
RISE_NUMERATOR, RISE_DENOMINATOR = 3, 2
REBID_INTERVAL_S = 5.0
REBIDS_PER_MINUTE = 6


class Formula(StrEnum):
    ANCHORED = "anchored"
    PUBLISHED = "published"


class Clamp(StrEnum):
    """Which rule made the bid differ from the raw quotient."""

    NONE = "none"
    REMAINING_FLOOR = "remaining floor"
    FIRST_BID = "1.5 × first bid"
    USER_CAP = "your cap"
    FIXED = "your fixed price"


class Stop(StrEnum):
    """Why nothing is bid. The download goes on in the free lane."""

    COMPLETE = "nothing remains"
    SPENT = "the allowance is spent"
    PAUSED = "paused"


def published_bid(consumption: Share, balance: Amount, remaining_kb: int | Fraction) -> Price:
    """The published formula, exact until one rounding down to whole µtok per MiB.

    ``remaining_kb``: wanted and not yet verified bytes ÷ 1,024, above zero (Malformed otherwise).
    """
    if remaining_kb <= 0:
        raise Malformed("must be above zero", field="remaining_kb")
    per_kb = Fraction(consumption.ppm * balance.utok, _PPM) / remaining_kb
    return Price(min(MAX_UTOK, int(per_kb * (MIB // KIB))))


@dataclass(frozen=True, slots=True)
class Plan:
    """What the user decided for one torrent. Only the user's own act makes a new one.

    ``wanted_bytes``: selected files. ``remaining_at_plan``: of these, not yet verified when planned.
    ``fixed``: a price of the user's own instead of the formula. ``cap``: the most that is ever bid.
    ``max_spend``: a hard limit beside the allowance. ``weight``: the part of the consumption that is this
    torrent's; the weights of torrents that are downloaded together add up to 1.
    """

    consumption: Share
    balance: Amount
    wanted_bytes: int
    remaining_at_plan: int
    formula: Formula = Formula.ANCHORED
    fixed: Price | None = None
    cap: Price | None = None
    max_spend: Amount | None = None
    first_bid: Price | None = None
    weight: Fraction = Fraction(1)

    @property
    def allowance(self) -> Amount:
        """The most this torrent may cost: s × balance × weight, rounded down to whole µtok, or the user's
        hard limit if that is less. Rounded down each, allowances never add up to more than s × balance."""
        ppm = _PPM if self.fixed is not None else self.consumption.ppm
        share = Amount(int(Fraction(ppm * self.balance.utok, _PPM) * self.weight))
        return share if self.max_spend is None else min(share, self.max_spend)

    def start(self) -> Plan:
        """This plan with its first bid on record; from then on bids are held against it."""
        if self.first_bid is not None or self.remaining_at_plan == 0:
            return self
        first = explain(self, ZERO, self.balance, self.remaining_at_plan).price
        # A first bid of zero (no money yet) on record would hold every later one at zero.
        return replace(self, first_bid=first) if first else self

    def replan(self, newer: Plan) -> Plan:
        """The user asks for something else, on a repeated command: ``newer``, held by the same first bid if
        both follow the formula, and by the same hard limit unless another is given. What was spent stays
        spent (``explain`` gets it as an argument)."""
        by_formula = self.fixed is None and newer.fixed is None
        return replace(
            newer,
            first_bid=self.first_bid if by_formula else None,
            max_spend=self.max_spend if newer.max_spend is None else newer.max_spend,
        )

    def to_json(self) -> dict[str, str | int | None]:
        """What the store keeps: amounts as decimal strings of base units, prices and bytes as integers."""

        def price(value: Price | None) -> int | None:
            return None if value is None else value.utok_per_mib

        return {
            "consumption_ppm": self.consumption.ppm,
            "balance": self.balance.to_wire(),
            "wanted_bytes": self.wanted_bytes,
            "remaining_at_plan": self.remaining_at_plan,
            "formula": self.formula.value,
            "fixed": price(self.fixed),
            "cap": price(self.cap),
            "max_spend": None if self.max_spend is None else self.max_spend.to_wire(),
            "first_bid": price(self.first_bid),
            "weight": f"{self.weight.numerator}/{self.weight.denominator}",
        }

    @classmethod
    def from_json(cls, value: object) -> Plan:
        """Raises Malformed, naming the field, unless ``value`` is what ``to_json`` gives."""
        if not isinstance(value, dict) or set(value) | {"weight"} != _PLAN_KEYS:
            raise Malformed("does not have the fields of a plan", field="plan")
        weight = value.get("weight", "1/1")  # plans of before had none
        if not isinstance(weight, str) or not _WEIGHT.fullmatch(weight) or Fraction(weight) > 1:
            raise Malformed("must be a fraction above 0, at most 1", field="plan.weight")

        def whole(name: str) -> int:
            found = value[name]
            if type(found) is not int or found < 0:
                raise Malformed("must be a whole number", field=f"plan.{name}")
            return found

        def price(name: str) -> Price | None:
            return None if value[name] is None else Price(whole(name))

        def limit(name: str) -> Amount | None:
            return None if value[name] is None else Amount.from_wire(value[name], f"plan.{name}")

        if value["formula"] not in list(Formula):
            raise Malformed("is not a known formula", field="plan.formula")
        return cls(
            Share(whole("consumption_ppm")), Amount.from_wire(value["balance"], "plan.balance"),
            whole("wanted_bytes"), whole("remaining_at_plan"), Formula(value["formula"]),
            price("fixed"), price("cap"), limit("max_spend"), price("first_bid"),
            Fraction(weight),
        )  # fmt: skip


_PLAN_KEYS = {
    "consumption_ppm", "balance", "wanted_bytes", "remaining_at_plan", "formula", "fixed", "cap",
    "max_spend", "first_bid", "weight",
}  # fmt: skip
_WEIGHT = re.compile(r"[1-9][0-9]{0,8}/[1-9][0-9]{0,8}")


def parts_of_one(weights: Sequence[int]) -> list[Fraction]:
    """Each weight's exact part of their sum; together they are 1."""
    total = sum(weights)
    return [Fraction(weight, total) for weight in weights]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A bid with all that led to it. ``price`` is what may be committed; zero when ``stop`` is set.

    ``raw``: left ÷ remaining before any clamp. ``published``: the formula on the live balance.
    """

    plan: Plan
    spent: Amount
    balance: Amount
    left: Amount
    remaining_bytes: int
    divisor_bytes: int
    raw: Price
    published: Price
    price: Price
    clamp: Clamp
    stop: Stop | None

    def __str__(self) -> str:
        if self.stop is not None:
            return f"no bid: {self.stop}"
        if self.clamp is Clamp.FIXED:
            return f"{self.price} tok/GiB: {Clamp.FIXED.value}"
        if self.plan.formula is Formula.PUBLISHED:
            source = f"{self.plan.consumption} × {self.balance} tok"
        else:
            source = f"{self.left} of {self.plan.allowance} tok left"
        text = (
            f"{self.price} tok/GiB ({self.price.utok_per_mib} µtok/MiB): {source}"
            f" ÷ {-(-self.remaining_bytes // KIB)} KB = {self.raw.utok_per_mib} µtok/MiB"
        )
        if self.clamp is not Clamp.NONE:
            text += f", held by: {self.clamp}"
        return text + f"; the published formula says {self.published.utok_per_mib}"


def explain(
    plan: Plan, spent: Amount, balance: Amount, remaining_bytes: int, paused: bool = False
) -> Explanation:
    """The bid for this moment.

    ``spent``: settled and signed so far, fees included. ``balance``: usable money now, own locked but
    unspent escrow included (else each escrow would lower the next bid).
    """
    left = plan.allowance.minus_or_zero(spent)
    if remaining_bytes <= 0 or paused or not left:
        why = Stop.COMPLETE if remaining_bytes <= 0 else Stop.PAUSED if paused else Stop.SPENT
        return Explanation(
            plan, spent, balance, left, remaining_bytes, 0,
            NO_PRICE, NO_PRICE, NO_PRICE, Clamp.NONE, why,
        )  # fmt: skip
    published = published_bid(
        plan.consumption, balance, Fraction(remaining_bytes, KIB) / plan.weight
    )
    divisor = remaining_bytes
    if plan.formula is Formula.ANCHORED:
        floor = min(plan.wanted_bytes, max(plan.wanted_bytes // FLOOR_DIVISOR, FLOOR_BYTES))
        divisor = max(remaining_bytes, floor)
        raw = _left_over(plan, spent, remaining_bytes)
        price, clamp = _left_over(plan, spent, divisor), Clamp.NONE
        if divisor > remaining_bytes:
            clamp = Clamp.REMAINING_FLOOR
        if plan.first_bid is not None:
            ceiling = Price(plan.first_bid.utok_per_mib * RISE_NUMERATOR // RISE_DENOMINATOR)
            if price > ceiling:
                price, clamp = ceiling, Clamp.FIRST_BID
    else:
        raw, price, clamp = published, published, Clamp.NONE
    if plan.fixed is not None:
        raw, price, clamp = plan.fixed, plan.fixed, Clamp.FIXED
    if plan.cap is not None and price > plan.cap:
        price, clamp = plan.cap, Clamp.USER_CAP
    stop = None if price else Stop.SPENT
    return Explanation(
        plan, spent, balance, left, remaining_bytes, divisor, raw, published, price, clamp, stop
    )


def _left_over(plan: Plan, spent: Amount, byte_count: int) -> Price:
    """(A − spent) ÷ bytes with A = s × balance × weight unrounded: the plan's bid is the formula's."""
    exact = Fraction(plan.consumption.ppm * plan.balance.utok, _PPM) * plan.weight
    if plan.max_spend is not None:
        exact = min(exact, Fraction(plan.max_spend.utok))
    return Price(min(MAX_UTOK, int(max(Fraction(0), exact - spent.utok) * MIB / byte_count)))


@dataclass(frozen=True, slots=True)
class Bidding:
    """The bid in force and when new ones were sent: the 10 % rule and its timing.

    ``sent_at``: the times of rebids in the last minute, seconds on any steady clock.
    """

    price: Price | None = None
    sent_at: tuple[float, ...] = ()

    def allows(self, price: Price, now: float) -> bool:
        """Whether ``price`` is a new bid: the first one, or more than 10 % away, and not too soon."""
        if self.price is None:
            return True
        if abs(price.utok_per_mib - self.price.utok_per_mib) * 10 <= self.price.utok_per_mib:
            return False
        recent = [at for at in self.sent_at if now - at < 60.0]
        return len(recent) < REBIDS_PER_MINUTE and all(
            now - at >= REBID_INTERVAL_S for at in recent
        )

    def sent(self, price: Price, now: float) -> Bidding:
        return Bidding(price, (*(at for at in self.sent_at if now - at < 60.0), now))
