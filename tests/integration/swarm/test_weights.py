"""Weights divide an upload limit, and withholding stops one peer without losing it."""

from __future__ import annotations

from speedpay.swarm import events

KIB = 1024
MIB = 1024 * KIB
LIMIT = 4 * MIB


def two_leechers(lab):
    torrent = lab.content(64 * MIB)
    seeder = lab.node(upload_rate_limit=LIMIT)
    at_seeder = seeder.add(torrent, torrent.save_dir)
    lab.until(lambda: at_seeder.status().is_seeding and seeder.port)
    leechers = [lab.node(), lab.node()]
    for number, leecher in enumerate(leechers):
        handle = leecher.add(torrent, lab.dir(f"leecher {number}"))
        handle.connect_peer((seeder.address, seeder.port))
    lab.until(lambda: all(leecher.received_bytes() > 0 for leecher in leechers))
    return seeder, *leechers


def test_weights_of_1_and_4_divide_the_upload_about_1_to_4(lab):
    seeder, one, four = two_leechers(lab)
    seeder.extension.set_weight(seeder.connection_to(one), 1)
    seeder.extension.set_weight(seeder.connection_to(four), 4)
    # An idle limiter has saved up three seconds' worth, which no weight divides.
    lab.until(lambda: one.received_bytes() + four.received_bytes() > 4 * LIMIT)
    before = one.received_bytes(), four.received_bytes()
    lab.until(lambda: four.received_bytes() > before[1] + 8 * MIB)
    ratio = (four.received_bytes() - before[1]) / (one.received_bytes() - before[0])
    assert 2.8 < ratio < 5.7


def test_weights_can_be_reversed_while_blocks_flow(lab):
    seeder, first, second = two_leechers(lab)
    to_first, to_second = seeder.connection_to(first), seeder.connection_to(second)
    seeder.extension.set_weight(to_first, 1)
    seeder.extension.set_weight(to_second, 8)
    lab.until(lambda: first.received_bytes() + second.received_bytes() > 4 * LIMIT)
    seeder.extension.set_weight(to_first, 8)
    seeder.extension.set_weight(to_second, 1)
    start = first.received_bytes()
    lab.until(lambda: first.received_bytes() > start + 2 * MIB)
    before = first.received_bytes(), second.received_bytes()
    lab.until(lambda: first.received_bytes() > before[0] + 4 * MIB)
    ratio = (first.received_bytes() - before[0]) / (second.received_bytes() - before[1])
    assert ratio > 4


def test_a_withheld_peer_gets_next_to_nothing_stays_and_resumes(lab):
    seeder, held, other = two_leechers(lab)
    connection = seeder.connection_to(held)
    seeder.extension.set_weight(connection, 9)
    seeder.extension.withhold(connection, True)
    enqueued, start = seeder.sent_bytes(connection), other.received_bytes()
    lab.until(lambda: other.received_bytes() > start + 6 * MIB)
    # What libtorrent had read from disk for the peer still goes into its send buffer.
    assert seeder.sent_bytes(connection) - enqueued < 640 * KIB
    received, start = held.received_bytes(), other.received_bytes()
    lab.until(lambda: other.received_bytes() > start + 4 * MIB)
    assert held.received_bytes() - received < 80 * KIB

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
    start = other.received_bytes()
    lab.until(lambda: other.received_bytes() > start + 8 * MIB, timeout_s=3.5)


def test_peers_of_one_weight_share_alike(lab):
    seeder, first, second = two_leechers(lab)
    for leecher in (first, second):
        seeder.extension.set_weight(seeder.connection_to(leecher), 50)
    before = first.received_bytes(), second.received_bytes()
    lab.until(lambda: first.received_bytes() > before[0] + 4 * MIB)
    ratio = (first.received_bytes() - before[0]) / (second.received_bytes() - before[1])
    assert 0.7 < ratio < 1.4


def test_closing_the_extension_gives_every_peer_its_ordinary_share_back(lab):
    seeder, held, _ = two_leechers(lab)
    seeder.extension.withhold(seeder.connection_to(held), True)
    received = held.received_bytes()
    seeder.extension.close()
    seeder.extension = None
    lab.until(lambda: held.received_bytes() > received + 2 * MIB)
