"""The life of an epoch on its way to the chain, as a table. A pair not in it is a mistake of ours.

The states are ``EpochState``. ``anchoring.py`` walks them; each step is one transaction, so whoever
starts after a crash finds one of these states in the database and goes on from there.
"""

from __future__ import annotations

from enum import StrEnum

from speedpay.errors import OutOfOrder
from speedpay.ledger_api.epochs import EpochState as State


class Step(StrEnum):
    """``LOSE``: its block has vanished. ``GIVE_UP``: the transaction can never be mined any more, or
    was mined and reverted; another may be signed, for the same content. ``SETTLE``: the content
    stands in a solid block, whichever transaction brought it there."""

    PUBLISH = "publish"
    STORE = "store"
    SEND = "send"
    SEE = "see"
    LOSE = "lose"
    GIVE_UP = "give_up"
    SETTLE = "settle"


class Attempt(StrEnum):
    """What became of one signed transaction. Of an epoch at most one is alive."""

    ALIVE = "alive"
    EXPIRED = "expired"
    REVERTED = "reverted"
    SETTLED = "settled"
    OVERTAKEN = "overtaken"


_NEXT: dict[tuple[State, Step], State] = {
    (State.CLOSED, Step.PUBLISH): State.PUBLISHED,
    (State.PUBLISHED, Step.STORE): State.SIGNED,
    (State.SIGNED, Step.SEND): State.SENT,
    # Killed after sending, or the answer was lost: then the chain knows more than we do.
    (State.SIGNED, Step.SEE): State.SEEN,
    (State.SIGNED, Step.GIVE_UP): State.PUBLISHED,
    (State.SENT, Step.SEE): State.SEEN,
    (State.SENT, Step.GIVE_UP): State.PUBLISHED,
    (State.SEEN, Step.LOSE): State.SENT,
    (State.SEEN, Step.GIVE_UP): State.PUBLISHED,
} | {(state, Step.SETTLE): State.SOLID for state in State if state is not State.SOLID}


def after(state: State, step: Step) -> State:
    """Raises OutOfOrder for a step that ``state`` does not allow."""
    try:
        return _NEXT[state, step]
    except KeyError:
        raise OutOfOrder(f"an epoch that is {state} has no step {step}", field="epoch") from None
