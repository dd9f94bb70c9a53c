"""The names of the Python targets, for whoever must not import what they test before it is instrumented."""

from __future__ import annotations

PYTHON_TARGETS = (
    "messages",
    "sealed",
    "trade",
    "torrent",
    "settings",
    "wallet",
    "proof",
    "ledger",
    "actions",
)
