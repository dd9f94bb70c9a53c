"""How long a download would take and what it would cost, free and at several prices.

A model of flows: sellers said what they would give at each price (``peer/inquirer.py``), seeds have all that
we want, other peers only what they have got from seeds before us. Every result is a range with words for
how sure it is; nothing here is promised to anybody.

The constants are measured in swarms of real clients on loopback (docs/market.md, Preview).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from speedpay.market.shading import enough, least
from speedpay.units import MAX_UTOK, MIB, NO_PRICE, ZERO, Amount, Price

#: Of the upload that is due, what arrives as verified payload.
EFFICIENCY = 0.92
#: Until peers have unchoked us, pieces are under way and sales are open, seconds.
START_S = 1.8
#: From the last full flow to the last piece, seconds: it is with the slowest of those asked.
TAIL_S = 0.8
#: Of what seeds give to others, the part that reaches us through them and that we still lack then.
NOVELTY = 0.7
#: A rate that was measured for so long counts beside what sellers said.
MEASURE_S = 3.0
_STEPS = 200


class Certainty(StrEnum):
    """How sure a prediction is."""

    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Source:
    """A connected peer. ``rates``: price → bytes a second that it expects to give us; empty while it has
    not said. ``ask``: the least it takes, None from who does not sell. ``uplink``: bytes a second, 0 unknown.
    ``seed``: it holds all that we want. ``measured``: bytes a second that came from it unpaid."""

    seed: bool
    ask: Price | None = None
    rates: Mapping[Price, int] | None = None
    load: int = 0
    uplink: int = 0
    measured: int = 0

    @property
    def answered(self) -> bool:
        return self.rates is not None

    @property
    def known(self) -> bool:
        return bool(self.rates) and self.uplink > 0

    def sells_at(self, price: Price) -> bool:
        return bool(price) and self.ask is not None and price >= self.ask

    def committed(self, price: Price, shade: bool) -> Price:
        """What is bid here when the most is ``price``."""
        if not shade or self.ask is None:
            return price
        said = enough(self.rates or {}, price)
        return price if said is None else min(price, max(said, least(self.ask, price)))

    def rate(self, price: Price) -> int:
        """What it said of this price, or of the nearest below; else what was measured."""
        if not self.known or self.rates is None:
            return self.measured
        at = max((p for p in self.rates if p <= price), default=None)
        return self.measured if at is None else self.rates[at]


@dataclass(frozen=True, slots=True)
class Scene:
    """What is known when the prediction is made. ``stock_bytes``: what peers that are no seeds hold, taken
    together, and we lack. ``measured_s``: for how long we have downloaded unpaid. ``download_limit`` in
    bytes a second, None without one. ``places``: how many sellers are paid at once."""

    sources: Sequence[Source]
    remaining_bytes: int
    stock_bytes: int
    measured_s: float = 0.0
    download_limit: int | None = None
    places: int = 8


@dataclass(frozen=True, slots=True)
class Prediction:
    """Seconds from the first flow to the last verified piece, None when nothing is known; ``low`` and
    ``high`` are None with it, and ``high`` alone when it may never end. Costs are whole µtok."""

    price: Price
    seconds: float | None
    low_s: float | None
    high_s: float | None
    cost: Amount
    low_cost: Amount
    high_cost: Amount
    certainty: Certainty
    why: str


@dataclass(frozen=True, slots=True)
class _Flow:
    """Bytes a second: of seeds, of other peers, and what seeds put into other peers."""

    seeds: float
    others: float
    inflow: float


def predict(scene: Scene, price: Price, *, shade: bool) -> Prediction:
    """What buying at ``price`` would take and cost; at zero, the free lane. ``shade``: less is committed
    where that is as fast."""
    flow = _flow(scene, price)
    seconds = _seconds(scene, flow, EFFICIENCY, NOVELTY, START_S + TAIL_S)
    measured = _measured(scene) if not price and scene.measured_s >= MEASURE_S else 0
    if measured:
        by_measure = TAIL_S + scene.remaining_bytes / measured
        seconds = by_measure if seconds is None else (seconds + by_measure) / 2
    if price and seconds is not None and scene.measured_s >= MEASURE_S:
        # Nobody is served worse for paying; and the free lane has been seen.
        seconds = min(seconds, predict(scene, NO_PRICE, shade=False).seconds or seconds)
    certainty, why = _sureness(scene, price, bool(measured))
    if seconds is None:
        low = _seconds(scene, _best(scene, price), 1.0, math.inf, 0.0)
        high_cost = price.cost_ceil(scene.remaining_bytes)
        return Prediction(price, None, low, None, ZERO, ZERO, high_cost, Certainty.NONE, why)
    low = _seconds(scene, _best(scene, price), 1.0, math.inf, START_S / 3)
    high = _seconds(scene, _worst(scene, price), 0.75, NOVELTY / 2, 2 * (START_S + TAIL_S))
    if measured:
        low = min(by_measure, low or by_measure)
        high = None if high is None else max(by_measure, high)
    low = seconds if low is None else min(low, seconds)
    high = None if high is None else max(high, seconds)
    likely, least_cost = _costs(scene, price, shade, seconds)
    most = price.cost_ceil(scene.remaining_bytes) if likely else ZERO
    return Prediction(price, seconds, low, high, likely, least_cost, most, certainty, why)


def _costs(scene: Scene, price: Price, shade: bool, seconds: float) -> tuple[Amount, Amount]:
    """What the bytes of those we pay cost, and the least that this may come to."""
    paid = _paid(scene, price)
    rates = {id(s): s.rate(price if id(s) in paid else NO_PRICE) for s in scene.sources}
    total, cost = sum(rates.values()), 0
    for source in scene.sources:
        if id(source) in paid and total:
            byte_count = scene.remaining_bytes * rates[id(source)] // total
            cost += byte_count * source.committed(price, shade).utok_per_mib
    # Before the first sale is open bytes are free.
    early = min(Fraction(9, 10), Fraction(START_S) / Fraction(max(seconds, START_S)))
    least_cost = int(cost * (1 - early) * Fraction(9, 10)) // MIB
    return Amount(min(MAX_UTOK, -(-cost // MIB))), Amount(min(MAX_UTOK, least_cost))


def error_ppm(predicted_ms: int, took_ms: int) -> int:
    """How far a prediction was from what happened, in millionths of what happened."""
    return abs(predicted_ms - took_ms) * 1_000_000 // max(1, took_ms)


def _flow(scene: Scene, price: Price) -> _Flow:
    paid = _paid(scene, price)
    seeds = others = inflow = 0.0
    for source in scene.sources:
        sold = id(source) in paid
        rate = source.rate(price if sold else NO_PRICE)
        if source.seed:
            seeds += rate
            inflow += (
                max(0, source.uplink - rate) if source.known else rate * max(0, source.load - 1)
            )
        else:
            others += rate
    return _Flow(seeds, others, inflow)


def _best(scene: Scene, price: Price) -> _Flow:
    """As ``_flow``, but who has not said what it gives may give as much as the mean of the others, and
    who does not know its uplink all that it gives to everybody."""
    flow = _flow(scene, price)
    known = [source.rate(price) for source in scene.sources if source.known]
    silent = sum(not source.known for source in scene.sources)
    more = silent * sum(known) / len(known) if known else 0.0
    more += sum(s.measured * max(0, s.load - 1) for s in scene.sources if not s.known)
    return _Flow(flow.seeds + more, flow.others, math.inf)


def _worst(scene: Scene, price: Price) -> _Flow:
    """As ``_flow``, but a seller that gave much less in the free lane than it had said keeps doing so."""
    if scene.measured_s < MEASURE_S:
        return _flow(scene, price)
    doubted = [_doubted(source) for source in scene.sources]
    return _flow(_with(scene, doubted), price)


def _doubted(source: Source) -> Source:
    said = source.rates.get(NO_PRICE, 0) if source.rates else 0
    if not source.known or not source.rates or source.measured >= said:
        return source
    # A free peer waits for its turn; half of what was said is no sign of anything.
    part = max(2 * source.measured / said, 0.25)
    rates = {price: int(rate * min(1.0, part)) for price, rate in source.rates.items()}
    return Source(source.seed, source.ask, rates, source.load, source.uplink, source.measured)


def _with(scene: Scene, sources: Sequence[Source]) -> Scene:
    return Scene(
        sources, scene.remaining_bytes, scene.stock_bytes, scene.measured_s, scene.download_limit,
        scene.places,
    )  # fmt: skip


def _paid(scene: Scene, price: Price) -> set[int]:
    """Whom we would pay: the fastest, as many as there are places."""
    selling = [source for source in scene.sources if source.sells_at(price)]
    selling.sort(key=lambda source: -source.rate(price))
    return {id(source) for source in selling[: scene.places]}


def _seconds(
    scene: Scene, flow: _Flow, efficiency: float, novelty: float, around_s: float
) -> float | None:
    """Until ``remaining_bytes`` are here; None when that never happens.

    Seeds give all the time. Others give as fast as they can from their stock, which grows by the novel
    part of what seeds give them: the more we have, the less of it is new to us.
    """
    left = total = float(scene.remaining_bytes)
    if not left:
        return 0.0
    stock, seconds = min(float(scene.stock_bytes), left), 0.0
    limit = math.inf if scene.download_limit is None else float(scene.download_limit)
    unbounded = math.isinf(flow.inflow) or math.isinf(novelty)
    fastest = min((flow.seeds + flow.others) * efficiency, limit)
    if fastest <= 0:
        return None
    step = total / fastest / _STEPS
    for _ in range(20 * _STEPS):
        if not unbounded:
            stock = min(left, stock + flow.inflow * novelty * (left / total) * step)
        from_others = flow.others * efficiency * step
        from_others = min(from_others, left if unbounded else stock)
        got = min(flow.seeds * efficiency * step + from_others, limit * step)
        if got <= 0 and not (flow.inflow and novelty):
            return None
        stock -= min(stock, from_others)
        if got >= left:
            return seconds + step * left / got + around_s
        left, seconds = left - got, seconds + step
    return None


def _measured(scene: Scene) -> int:
    return sum(source.measured for source in scene.sources)


def _sureness(scene: Scene, price: Price, measured: bool) -> tuple[Certainty, str]:
    """The words, and what they rest on."""
    sources = scene.sources
    total = sum(source.rate(price) for source in sources)
    known = sum(source.rate(price) for source in sources if source.known)
    of_seeds = sum(source.rate(price) for source in sources if source.known and source.seed)
    answered = sum(source.answered for source in sources)
    said = [f"{answered} of {len(sources)} peers answered"]
    unknown = sum(source.answered and not source.uplink for source in sources)
    if unknown:
        said.append(f"{unknown} did not know their uplink")
    if measured:
        said.append(f"measured for {scene.measured_s:.0f} s")
    if not any(source.seed for source in sources) and scene.stock_bytes < scene.remaining_bytes:
        said.append("nobody here has all of it")
    if price and not any(source.sells_at(price) for source in sources):
        said.append("nobody sells at this price")
    if not total:
        certainty = Certainty.NONE
    elif known * 10 >= total * 9 and (of_seeds * 2 >= total or measured):
        certainty = Certainty.GOOD
    elif known * 2 >= total or measured:
        certainty = Certainty.FAIR
    else:
        certainty = Certainty.POOR
    return certainty, ", ".join(said)
