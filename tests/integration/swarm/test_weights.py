"""Weights divide an upload limit, and withholding stops one peer without losing it."""

from __future__ import annotations

from speedpay.swarm import events

KIB = 1024
MIB = 1024 * KIB
LIMIT = 6 * MIB


def two_leechers(lab):
    """A seeder that has begun to serve two; ``raise_limit`` then gives it LIMIT to divide."""
    torrent = lab.content(64 * MIB)
    # An idle limiter saves up three seconds' worth, which no weight divides: let that be little.
    seeder = lab.node(upload_rate_limit=128 * KIB, send_buffer_low_watermark=128 * KIB)
    at_seeder = seeder.add(torrent, torrent.save_dir)
    lab.until(lambda: at_seeder.status().is_seeding and seeder.port)
    leechers = [lab.node(), lab.node()]
    for number, leecher in enumerate(leechers):
        handle = leecher.add(torrent, lab.dir(f"leecher {number}"))
        handle.connect_peer((seeder.address, seeder.port))
    lab.until(lambda: all(leecher.received_bytes() > 0 for leecher in leechers))
    return seeder, *leechers


def until_divided(lab, larger, smaller, least, most):
    """Wait for a stretch of 3 MiB to the larger in which the two shares have about that ratio."""
    before = larger.received_bytes(), smaller.received_bytes()

    def divided():
        nonlocal before
        now = larger.received_bytes(), smaller.received_bytes()
        if now[0] - before[0] < 3 * MIB:
            return False
        ratio = (now[0] - before[0]) / max(1, now[1] - before[1])
        before = now
        return least < ratio < most

    lab.until(divided)


def raise_limit(seeder):
    seeder.session.apply_settings({"upload_rate_limit": LIMIT})


def test_weights_of_1_and_4_divide_the_upload_about_1_to_4(lab):
    seeder, one, four = two_leechers(lab)
    seeder.extension.set_weight(seeder.connection_to(one), 1)
    seeder.extension.set_weight(seeder.connection_to(four), 4)
    raise_limit(seeder)
    until_divided(lab, four, one, 2.7, 5.3)


def test_weights_can_be_reversed_while_blocks_flow(lab):
    seeder, first, second = two_leechers(lab)
    to_first, to_second = seeder.connection_to(first), seeder.connection_to(second)
    seeder.extension.set_weight(to_first, 1)
    seeder.extension.set_weight(to_second, 8)
    raise_limit(seeder)
    until_divided(lab, second, first, 5, 11)
    seeder.extension.set_weight(to_first, 8)
    seeder.extension.set_weight(to_second, 1)
    until_divided(lab, first, second, 5, 11)


def test_a_withheld_peer_gets_next_to_nothing_stays_and_resumes(lab):
    seeder, held, other = two_leechers(lab)
    connection = seeder.connection_to(held)
    seeder.extension.set_weight(connection, 9)
    seeder.extension.withhold(connection, True)
    raise_limit(seeder)
    sent, received, start = (
        seeder.sent_bytes(connection),
        held.received_bytes(),
        other.received_bytes(),
    )
    lab.until(lambda: other.received_bytes() > start + 10 * MIB)
    # What waits in the send buffer is not counted as sent; what the kernel had taken still arrives.
    assert seeder.sent_bytes(connection) - sent < 80 * KIB
    assert held.received_bytes() - received < 200 * KIB

    # The peer can still pay.
    held.extension.send(held.connection_to(seeder), b"voucher")
    lab.until(lambda: seeder.messages(connection) == [b"voucher"])

    seeder.extension.withhold(connection, False)
    received = held.received_bytes()
    lab.until(lambda: held.received_bytes() > received + 2 * MIB, timeout_s=3)
    assert seeder.of(events.PeerGone) == held.of(events.PeerGone) == other.of(events.PeerGone) == []


def test_the_spare_of_a_withheld_peer_goes_to_the_others(lab):
    seeder, held, other = two_leechers(lab)
    seeder.extension.withhold(seeder.connection_to(held), True)
    raise_limit(seeder)
    start = other.received_bytes()
    lab.until(lambda: other.received_bytes() > start + 3 * LIMIT, timeout_s=5)


def test_peers_of_one_weight_share_alike(lab):
    seeder, first, second = two_leechers(lab)
    for leecher in (first, second):
        seeder.extension.set_weight(seeder.connection_to(leecher), 50)
    raise_limit(seeder)
    until_divided(lab, first, second, 0.75, 1.33)


def test_closing_the_extension_gives_every_peer_its_ordinary_share_back(lab):
    seeder, held, _ = two_leechers(lab)
    seeder.extension.withhold(seeder.connection_to(held), True)
    raise_limit(seeder)
    received = held.received_bytes()
    seeder.extension.close()
    seeder.extension = None
    lab.until(lambda: held.received_bytes() > received + 2 * MIB)
