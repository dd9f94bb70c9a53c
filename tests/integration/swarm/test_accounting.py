"""Bytes and messages are counted exactly, and both ends of a connection come to the same counts."""

from __future__ import annotations

from speedpay.swarm import events

MIB = 1024 * 1024


def test_64_mib_are_counted_to_the_byte_at_both_ends(lab, pair):
    seeder, leecher, torrent = pair(64 * MIB)
    lab.until(lambda: len(leecher.of(events.PiecePassed)) == 256)
    lab.until(lambda: seeder.sent_bytes() >= 64 * MIB)

    assert leecher.received_bytes() == 64 * MIB
    assert seeder.sent_bytes() == 64 * MIB
    assert leecher.of(events.BlocksReceived, asked=False) == []
    assert {event.piece for event in leecher.of(events.PiecePassed)} == set(range(256))
    assert leecher.of(events.PieceFailed) == []
    infohash = torrent.description.infohash
    assert {event.infohash for event in leecher.of(events.PiecePassed)} == {infohash}


def test_the_parts_of_every_piece_add_up_without_gap_or_overlap(lab, pair):
    _, leecher, _ = pair(8 * MIB)
    lab.until(lambda: len(leecher.of(events.PiecePassed)) == 32)
    for piece in range(32):
        parts = sorted(
            (event.start, event.length) for event in leecher.of(events.BlocksReceived, piece=piece)
        )
        end = 0
        for start, length in parts:
            assert start == end
            end += length
        assert end == 256 * 1024


def test_both_ends_agree_which_blocks_lie_between_which_messages(lab, pair):
    seeder, leecher, _ = pair(64 * MIB)
    lab.until(lambda: leecher.connection_to(seeder) and seeder.connection_to(leecher))
    bidder, asker = leecher.connection_to(seeder), seeder.connection_to(leecher)
    sent = [0, 0]

    def talk() -> bool:
        # A bid for each MiB, and an answer to each three quarters of a MiB, in the midst of the data.
        if leecher.received_bytes() >= (sent[0] + 1) * MIB:
            leecher.extension.send(bidder, b"bid %d" % sent[0])
            sent[0] += 1
        if seeder.sent_bytes() >= (sent[1] + 1) * MIB * 3 // 4:
            seeder.extension.send(asker, b"quote %d" % sent[1])
            sent[1] += 1
        return len(leecher.of(events.PiecePassed)) == 256

    lab.until(talk)
    lab.until(lambda: seeder.sent_bytes() == leecher.received_bytes())
    lab.until(lambda: len(leecher.messages(bidder)) == sent[1])
    lab.until(lambda: len(seeder.messages(asker)) == sent[0])

    assert min(sent) > 10
    by_counters = leecher.received_by_counters()
    assert len(by_counters) > 20, (
        "messages and data must have been interleaved for this to say much"
    )
    assert seeder.sent_by_counters() == by_counters


def test_blocks_stand_in_order_with_the_messages_around_them(lab, pair):
    seeder, leecher, _ = pair(16 * MIB)
    lab.until(lambda: leecher.connection_to(seeder) and seeder.connection_to(leecher))
    connection = seeder.connection_to(leecher)
    for number in range(200):
        seeder.extension.send(connection, b"%d" % number)
    lab.until(lambda: len(leecher.of(events.PiecePassed)) == 64)
    lab.until(lambda: len(leecher.of(events.Message)) == 200)

    messages = 0
    for event in leecher.seen:
        if isinstance(event, events.Message):
            messages += 1
        elif isinstance(event, events.BlocksReceived):
            assert event.message_sequence == messages


def test_a_piece_passes_only_after_all_its_blocks_were_reported(lab, pair):
    _, leecher, _ = pair(16 * MIB)
    lab.until(lambda: len(leecher.of(events.PiecePassed)) == 64)
    arrived: dict[int, int] = {}
    for event in leecher.seen:
        if isinstance(event, events.BlocksReceived):
            arrived[event.piece] = arrived.get(event.piece, 0) + event.length
        elif isinstance(event, events.PiecePassed):
            assert arrived[event.piece] == 256 * 1024


def test_blocks_cancelled_in_the_end_game_are_reported_as_not_asked_for(lab):
    # Two seeders, one slow: at the end its blocks are asked of the fast one too. Each block counts
    # as asked for once, except where both answered before the cancel; never more than was sent.
    torrent = lab.content(4 * MIB)
    fast, slow = lab.node(upload_rate_limit=4 * MIB), lab.node(upload_rate_limit=512 * 1024)
    leecher = lab.node()
    for seeder in (fast, slow):
        handle = seeder.add(torrent, torrent.save_dir)
        lab.until(lambda handle=handle, seeder=seeder: handle.status().is_seeding and seeder.port)
    handle = leecher.add(torrent, lab.dir("leecher"))
    for seeder in (fast, slow):
        handle.connect_peer((seeder.address, seeder.port))
    lab.until(lambda: handle.status().is_seeding)
    lab.until(lambda: leecher.received_bytes() == fast.sent_bytes() + slow.sent_bytes())
    asked = sum(event.length for event in leecher.of(events.BlocksReceived, asked=True))
    assert asked >= 4 * MIB
    wasted = handle.status(0).total_redundant_bytes
    assert leecher.received_bytes() == 4 * MIB + wasted


def test_connections_are_numbered_from_one_and_never_used_twice(lab, pair):
    seeder, leecher, torrent = pair(1 * MIB)
    lab.until(lambda: leecher.of(events.PeerExtended, connection=1))
    leecher.torrent.pause()
    lab.until(lambda: leecher.of(events.PeerGone, connection=1))
    leecher.torrent.resume()
    lab.until(lambda: leecher.session.get_torrents()[0].status().paused is False)
    leecher.torrent.connect_peer((seeder.address, seeder.port))
    lab.until(lambda: leecher.of(events.PeerConnected, connection=2))

    first = leecher.of(events.PeerConnected, connection=1)[0]
    assert first.infohash == torrent.description.infohash
    assert (first.address, first.port, first.outgoing) == (seeder.address, seeder.port, True)
    assert seeder.of(events.PeerConnected)[0].outgoing is False
    of_first = [event for event in leecher.seen if getattr(event, "connection", None) == 1]
    assert isinstance(of_first[0], events.PeerConnected)
    assert isinstance(of_first[-1], events.PeerGone)
    assert of_first[-1].reason


def test_interest_is_reported_by_both_sides(lab, pair):
    seeder, leecher, _ = pair(4 * MIB)
    lab.until(lambda: len(leecher.of(events.PiecePassed)) == 16)
    lab.until(
        lambda: (
            seeder.of(events.InterestChanged)
            and not seeder.of(events.InterestChanged)[-1].remote
            and not leecher.of(events.InterestChanged)[-1].local
        )
    )
    assert seeder.of(events.InterestChanged)[-1].local is False
