"""Without an upload limit weights divide a real bottleneck too: processes in network namespaces, and tbf.

Needs root and iproute2, as CI has; elsewhere the first error says so.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "scripts"))
from bottleneck import MIB, Setup, jain, run

CARRIES = 5_000_000


def test_a_governed_seeder_divides_what_its_uplink_carries_and_leaves_little_of_it_idle() -> None:
    weights = (1, 3, 9, 27)
    measured = run(Setup(weights, 7.0, ((0.0, CARRIES),), competing_s=7.0, content_bytes=64 * MIB))
    # Bounds that a busy machine keeps; ./scripts/bench swarm --only governor measures them.
    shares = measured.rates(3.0, 6.5)
    assert measured.link_rate(3.0, 6.5) > 0.85 * CARRIES
    assert jain([share / weight for share, weight in zip(shares, weights, strict=True)]) > 0.93
    # The limit that it set was measured, and counts no headers.
    assert 0.8 * CARRIES < measured.uplink[-1][1] < 1.02 * CARRIES
