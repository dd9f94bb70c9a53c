"""The life of one sale between two peers, as a table. A pair not in it is an error."""

from __future__ import annotations

from enum import StrEnum

from speedpay.errors import OutOfOrder


class State(StrEnum):
    """``FREE`` is ordinary BitTorrent: any live state may fall back to it without disconnecting."""

    FREE = "free"
    PRICED = "priced"
    OPENING = "opening"
    ACTIVE = "active"
    PAUSED = "paused"
    STOPPED = "stopped"
    SETTLED = "settled"
    EXPIRED = "expired"


class Step(StrEnum):
    BID = "bid"
    LOCK = "lock"
    CONFIRM = "confirm"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    REFUSE = "refuse"
    SETTLE = "settle"
    EXPIRE = "expire"


_NEXT: dict[tuple[State, Step], State] = {
    (State.FREE, Step.BID): State.PRICED,
    (State.PRICED, Step.BID): State.PRICED,
    (State.PRICED, Step.LOCK): State.OPENING,
    (State.PRICED, Step.STOP): State.FREE,
    (State.PRICED, Step.REFUSE): State.FREE,
    (State.OPENING, Step.BID): State.OPENING,
    (State.OPENING, Step.CONFIRM): State.ACTIVE,
    (State.OPENING, Step.REFUSE): State.PRICED,
    (State.OPENING, Step.STOP): State.STOPPED,
    (State.ACTIVE, Step.BID): State.ACTIVE,
    (State.ACTIVE, Step.CONFIRM): State.ACTIVE,
    (State.ACTIVE, Step.PAUSE): State.PAUSED,
    (State.ACTIVE, Step.STOP): State.STOPPED,
    (State.PAUSED, Step.BID): State.PAUSED,
    (State.PAUSED, Step.CONFIRM): State.PAUSED,
    (State.PAUSED, Step.RESUME): State.ACTIVE,
    (State.PAUSED, Step.STOP): State.STOPPED,
    (State.STOPPED, Step.SETTLE): State.SETTLED,
    (State.SETTLED, Step.BID): State.PRICED,
    (State.EXPIRED, Step.BID): State.PRICED,
} | {
    (state, Step.EXPIRE): State.EXPIRED
    for state in (State.OPENING, State.ACTIVE, State.PAUSED, State.STOPPED)
}


def follow(state: State, step: Step) -> State:
    """The state after ``step``; OutOfOrder when this state does not know it."""
    try:
        return _NEXT[state, step]
    except KeyError:
        raise OutOfOrder(f"{step} does not follow {state}", field="message") from None
