"""The QR code of an address is what a reader needs: exact modules, square, with its quiet zone."""

from __future__ import annotations

import segno

from speedpay.cli.fund import qr_text

ADDRESS = "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH"
QUIET = 4
_ROWS = {"█": (0, 0), "▀": (0, 1), "▄": (1, 0), " ": (1, 1)}


def test_the_half_blocks_are_the_modules_of_the_code() -> None:
    lines = qr_text(ADDRESS).split("\n")
    drawn = [bytes(_ROWS[c][half] for c in line) for line in lines for half in (0, 1)]
    made = [bytes(row) for row in segno.make(ADDRESS, micro=False).matrix]
    size = len(made)
    assert [row[QUIET : QUIET + size] for row in drawn[QUIET : QUIET + size]] == made
    assert all(len(row) == size + 2 * QUIET for row in drawn)
    outside = [*drawn[:QUIET], *drawn[QUIET + size :]]
    assert len(outside) >= 2 * QUIET
    assert not any(map(any, outside))
    assert not any(any(row[:QUIET]) or any(row[QUIET + size :]) for row in drawn)
    assert max(map(len, lines)) <= 80, "it fits an ordinary terminal"
