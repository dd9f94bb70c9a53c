"""Our messages arrive whole and in order; who sends too much is cut off and cannot fill memory."""

from __future__ import annotations

import random

import pytest

from speedpay.peer.sale import VOUCHER_BURST
from speedpay.swarm import events
from speedpay.swarm.extension import Extension
from tests.vectors.generate import DOMAIN, MESSAGES
from tests.vectors.session import met

MIB = 1024 * 1024


def connected(lab, pair, size=1 * MIB):
    seeder, leecher, _ = pair(size)
    lab.until(lambda: leecher.connection_to(seeder) and seeder.connection_to(leecher))
    return seeder, leecher, seeder.connection_to(leecher), leecher.connection_to(seeder)


def test_messages_arrive_whole_and_in_order_in_both_directions(lab, pair):
    seeder, leecher, to_leecher, to_seeder = connected(lab, pair, 16 * MIB)
    noise = random.Random(1)
    up = [noise.randbytes(noise.choice((0, 1, 100, 700, 4096))) for _ in range(60)]
    down = [noise.randbytes(noise.choice((0, 1, 100, 700, 4096))) for _ in range(60)]
    # A little at a time: more than 128 KiB between two drains would count as a flood.
    for start in range(0, 60, 10):
        for number in range(start, start + 10):
            leecher.extension.send(to_seeder, up[number])
            seeder.extension.send(to_leecher, down[number])
        lab.until(
            lambda start=start: (
                len(seeder.messages(to_leecher)) == start + 10
                and len(leecher.messages(to_seeder)) == start + 10
            )
        )
    assert seeder.messages(to_leecher) == up
    assert leecher.messages(to_seeder) == down


def test_the_last_message_arrives_after_both_sides_have_everything(lab, pair):
    # Plain sessions close seed-to-seed connections; ours must stay for the last payment.
    seeder, leecher, to_leecher, to_seeder = connected(lab, pair, 4 * MIB)
    assert leecher.session.get_settings()["close_redundant_connections"]
    lab.until(lambda: leecher.torrent.status().is_seeding)
    lab.until(lambda: not leecher.of(events.InterestChanged)[-1].local)
    leecher.extension.send(to_seeder, b"the last voucher")
    lab.until(lambda: seeder.messages(to_leecher) == [b"the last voucher"])
    seeder.extension.send(to_leecher, b"ack")
    lab.until(lambda: leecher.messages(to_seeder) == [b"ack"])
    assert leecher.of(events.PeerGone) == []


def test_a_message_of_4097_bytes_is_refused_before_it_is_sent(lab, pair):
    _, leecher, _, to_seeder = connected(lab, pair)
    with pytest.raises(ValueError, match="4096"):
        leecher.extension.send(to_seeder, bytes(4097))


def test_a_message_to_an_unknown_or_dead_connection_is_dropped(lab, pair):
    seeder, leecher, _, to_seeder = connected(lab, pair)
    leecher.extension.send(999, b"nobody")
    leecher.torrent.pause()
    lab.until(lambda: leecher.of(events.PeerGone, connection=to_seeder))
    leecher.extension.send(to_seeder, b"too late")
    leecher.extension.set_weight(to_seeder, 9)
    leecher.extension.withhold(to_seeder, True)
    lab.until(lambda: seeder.of(events.PeerGone))
    assert seeder.of(events.Message) == []


def test_a_flood_between_two_drains_is_cut_off_and_reported_once(lab, pair):
    seeder, leecher, to_leecher, to_seeder = connected(lab, pair)
    for _ in range(40):
        leecher.extension.send(to_seeder, bytes(4096))
    # Not drained meanwhile: the block count of a torrent does not need our events.
    clients, lab.clients = lab.clients, [leecher]
    lab.until(lambda: leecher.torrent.status().is_seeding)
    lab.clients = clients
    lab.until(lambda: seeder.of(events.Flooded))
    delivered = len(seeder.of(events.Message))
    assert delivered * 4096 <= 128 * 1024
    leecher.extension.send(to_seeder, b"after the flood")
    seeder.extension.send(to_leecher, b"still heard")
    lab.until(lambda: leecher.messages(to_seeder) == [b"still heard"])
    assert len(seeder.of(events.Flooded)) == 1
    assert len(seeder.of(events.Message)) == delivered


def test_the_longest_burst_of_an_honest_peer_is_no_flood(lab, pair):
    seeder, leecher, to_leecher, to_seeder = connected(lab, pair)
    sealed = len(met(DOMAIN, "buyer").send(MESSAGES["voucher"]))
    for _ in range(int(VOUCHER_BURST)):
        leecher.extension.send(to_seeder, bytes(sealed))
    clients, lab.clients = lab.clients, [leecher]
    lab.until(lambda: leecher.torrent.status().is_seeding)
    lab.clients = clients
    lab.until(lambda: len(seeder.messages(to_leecher)) == VOUCHER_BURST)
    assert seeder.of(events.Flooded) == []


def test_weights_outside_1_to_255_are_refused(lab, pair):
    _, leecher, _, to_seeder = connected(lab, pair)
    for weight in (0, 256, -1):
        with pytest.raises(ValueError, match="weight"):
            leecher.extension.set_weight(to_seeder, weight)


def test_a_closed_extension_is_silent_and_may_be_closed_again(lab, pair):
    seeder, leecher, to_leecher, to_seeder = connected(lab, pair)
    leecher.extension.close()
    leecher.extension.close()
    assert leecher.extension.fd == -1
    assert leecher.extension.drain() == []
    leecher.extension.send(to_seeder, b"no")
    leecher.extension = None
    seeder.extension.send(to_leecher, b"ignored")
    lab.until(lambda: leecher.torrent.status().is_seeding)


def test_a_session_that_runs_already_can_be_joined(lab, pair):
    # As in a program of somebody else's: its torrents and peers were there before us.
    seeder, leecher, _ = pair(16 * MIB, leecher=lab.node(stock=True, download_rate_limit=2 * MIB))
    lab.until(lambda: leecher.torrent.status().total_payload_download)
    leecher.extension = Extension(leecher.session)
    lab.until(lambda: leecher.of(events.PeerConnected) and leecher.received_bytes())
    assert leecher.of(events.PeerConnected)[0].address == seeder.address
    lab.until(lambda: leecher.of(events.InterestChanged, connection=1, local=True))
    assert leecher.of(events.PeerExtended) == []

    # Our name goes into the next handshake.
    leecher.torrent.pause()
    lab.until(lambda: leecher.of(events.PeerGone, connection=1))
    leecher.torrent.resume()
    leecher.torrent.connect_peer((seeder.address, seeder.port))
    lab.until(lambda: leecher.connection_to(seeder) == 2 and seeder.connection_to(leecher))
    leecher.extension.send(2, b"hello")
    lab.until(lambda: seeder.messages(seeder.connection_to(leecher)) == [b"hello"])
