"""Epochs and proofs, as they go over HTTP: what is asked, what is answered, by which call. Pure.

Read ``EpochView`` first. Nothing here is believed: ``speedpay/proof/balance.py`` checks it.
"""

from __future__ import annotations

from enum import StrEnum


class EpochState(StrEnum):
    """``CLOSED``: its head is signed and nobody has seen it. ``PUBLISHED``: its file is there and
    its head is given out. Then its anchor is signed, sent, seen in a block, and solid."""

    CLOSED = "closed"
    PUBLISHED = "published"
    SIGNED = "signed"
    SENT = "sent"
    SEEN = "seen"
    SOLID = "solid"
