"""Asking a ledger that may be away until it gives a definite answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from speedpay.errors import SpeedpayError
from speedpay.ledger_api.refusals import decides

T = TypeVar("T")
_FIRST_S, _LONGEST_S = 0.5, 30.0


async def until_answered(ask: Callable[[], Awaitable[T]], away: Callable[[str], None]) -> T:
    """Repeat ``ask`` while nobody knows whether it happened; it must be safe to repeat.

    A refusal of what was asked is an answer and is raised; one of the asking (too often, a wrong
    clock) says nothing of an earlier attempt whose answer was lost. ``away`` hears of each failure.
    """
    pause = _FIRST_S
    while True:
        try:
            return await ask()
        except SpeedpayError as error:
            if decides(error):
                raise
            away(str(error))
        await asyncio.sleep(pause)
        pause = min(_LONGEST_S, pause * 2)
