"""Previews: what a swarm says, holds and gives, as ``market/preview.py`` takes it.

``Preview`` looks at one torrent; ``Forecast`` is the prediction that a paid download makes of itself in its
first seconds, to be held against what happened.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from speedpay.client.market import Market
from speedpay.market.preview import START_S, Prediction, Scene, Source, predict
from speedpay.peer.buyer import Buyer
from speedpay.peer.selection import MAX_PAID_CHANNELS
from speedpay.swarm.torrent import Holder, Torrent
from speedpay.units import Amount, Price

_log = logging.getLogger(__name__)
#: A paid download predicts this long after the first peer held what it wants.
FORECAST_S = 2.0
#: Without an answer by then nothing is predicted.
GIVE_UP_S = 10.0
#: What arrives first is no rate yet.
_SETTLE_S = 1.0
_Key = tuple[str, int]


class Preview:
    """One torrent's swarm as its peers show it."""

    def __init__(self, market: Market, torrent: Torrent) -> None:
        self._market = market
        self._torrent = torrent
        self._first_at: float | None = None
        self._base: dict[_Key, int] = {}
        self._base_at: float | None = None

    def ask(self, prices: Callable[[Price], Sequence[Price]], *, again: bool) -> None:
        """Ask every peer about ``prices(its ask)``, at most eight of which zero is the free lane; call it
        a few times a second. ``again``: also who has answered, once a second."""
        self._market.purchases.inquire(self._torrent.infohash, prices, again)

    def measure(self) -> None:
        """Notice what each peer has given so far; what came after the first second is a rate."""
        now, holders = time.monotonic(), self._torrent.holdings().holders
        if self._first_at is None:
            if any(holder.received_bytes for holder in holders):
                self._first_at = now
        elif self._base_at is None and now - self._first_at >= _SETTLE_S:
            self._base_at = now
            self._base = {_key(holder): holder.received_bytes for holder in holders}

    @property
    def measured_s(self) -> float:
        return 0.0 if self._base_at is None else time.monotonic() - self._base_at

    def scene(self, remaining_bytes: int, *, from_nothing: bool = False) -> Scene:
        """``from_nothing``: as it would be without the pieces that are here already."""
        holdings = self._torrent.holdings(from_nothing=from_nothing)
        answers = self._market.purchases.inquirer(self._torrent.infohash).answers
        met = {
            (peer.address, peer.port): peer
            for peer in self._market.peers.values()
            if peer.infohash == self._torrent.infohash
        }
        sources = []
        for holder in holdings.holders:
            peer, rate = met.get(_key(holder)), self._rate(holder)
            answer = answers.get(peer.connection) if peer else None
            ask = peer.ask.price if peer and peer.ask else None
            if answer is None:
                sources.append(Source(holder.complete, ask, measured=rate))
            else:
                sources.append(Source(
                    holder.complete, ask, answer.rates, answer.load, answer.uplink, rate
                ))  # fmt: skip
        return Scene(
            sources, remaining_bytes, holdings.stock_bytes, self.measured_s,
            places=MAX_PAID_CHANNELS,
        )  # fmt: skip

    def _rate(self, holder: Holder) -> int:
        elapsed = self.measured_s
        if elapsed <= 0:
            return 0
        return int((holder.received_bytes - self._base.get(_key(holder), 0)) / elapsed)


@dataclass(frozen=True, slots=True)
class Forecast:
    """``milliseconds``: from the first moment a peer held what was wanted to the last piece."""

    milliseconds: int
    paid: Amount
    prediction: Prediction


def forecast(preview: Preview, buyer: Buyer, elapsed_s: float) -> Forecast | None:
    """What a paid download of which ``elapsed_s`` are over says of the whole; None while nobody has
    answered."""
    scene = preview.scene(buyer.remaining_bytes)
    _log.debug("after %.1f s: %s", elapsed_s, scene)
    if not any(source.answered for source in scene.sources):
        return None
    prediction = predict(scene, buyer.explain().price, shade=buyer.shades)
    if prediction.seconds is None:
        return None
    seconds = elapsed_s + prediction.seconds - min(elapsed_s, START_S)
    return Forecast(int(seconds * 1000), buyer.spent + prediction.cost, prediction)


def _key(holder: Holder) -> _Key:
    return holder.address, holder.port
