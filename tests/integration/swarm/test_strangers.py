"""Peers that do what no honest client does, played by hand over a socket."""

from __future__ import annotations

import socket
import struct

import pytest

from speedpay.swarm import events
from speedpay.swarm.bencoding import decode, encode
from speedpay.swarm.extension import Extension

MIB = 1024 * 1024
BLOCK = 16 * 1024
THEIR_ID = 99  # under which we are to send our messages

CHOKE, UNCHOKE, INTERESTED, NOT_INTERESTED, BITFIELD, REQUEST, PIECE, CANCEL = (
    0, 1, 2, 3, 5, 6, 7, 8,
)  # fmt: skip
HAVE_ALL, HAVE_NONE, REJECT, EXTENDED = 14, 15, 16, 20


class Stranger:
    """One BitTorrent connection, byte by byte (BEP 3, 6, 10)."""

    def __init__(self, node, torrent, *, fast=True, names=None):
        self.socket = socket.create_connection((node.address, node.port), timeout=60)
        self.buffer = b""
        reserved = bytes([0, 0, 0, 0, 0, 0x10, 0, 0x04 if fast else 0])
        infohash = torrent.description.infohash
        self.socket.sendall(
            b"\x13BitTorrent protocol" + reserved + infohash + b"-XX0000-stranger...."
        )
        while len(self.buffer) < 68:
            self.read()
        self.buffer = self.buffer[68:]
        self.our_id = 0
        self.extended(0, encode({b"m": {b"sp_pay": THEIR_ID} if names is None else names}))
        self.our_id = decode(self.wait(EXTENDED)[1:], "handshake")[b"m"][b"sp_pay"]

    def send(self, kind, payload=b""):
        self.socket.sendall(struct.pack(">IB", len(payload) + 1, kind) + payload)

    def extended(self, number, payload):
        self.send(EXTENDED, bytes([number]) + payload)

    def wait(self, kind):
        """The payload of the next message of that kind; others are passed over."""
        while True:
            while len(self.buffer) >= 4:
                size = struct.unpack(">I", self.buffer[:4])[0]
                if len(self.buffer) < 4 + size:
                    break
                message, self.buffer = self.buffer[4 : 4 + size], self.buffer[4 + size :]
                if message and message[0] == kind:
                    return message[1:]
            self.read()

    def read(self):
        chunk = self.socket.recv(65536)
        assert chunk, "the connection was closed"
        self.buffer += chunk


@pytest.fixture
def meet(lab):
    """A node that seeds or lacks the content, and a stranger connected to it."""
    strangers = []

    def make(*, seeding, fast=True):
        torrent = lab.content(MIB)
        node = lab.node()
        node.torrent = node.add(torrent, torrent.save_dir if seeding else lab.dir("leecher"))
        lab.until(lambda: node.port and (not seeding or node.torrent.status().is_seeding))
        lab.until(lambda: node.torrent.status().state not in (1, 7))  # done checking
        strangers.append(Stranger(node, torrent, fast=fast))
        lab.until(lambda: node.of(events.PeerExtended))
        data = (torrent.save_dir / "content.bin").read_bytes()
        return node, strangers[-1], data

    yield make
    for stranger in strangers:
        stranger.socket.close()


def test_a_message_above_4096_bytes_is_a_flood_and_nothing_more_is_delivered(lab, meet):
    node, stranger, _ = meet(seeding=True)
    stranger.extended(stranger.our_id, bytes(4096))
    lab.until(lambda: node.of(events.Message))
    stranger.extended(stranger.our_id, bytes(4097))
    lab.until(lambda: node.of(events.Flooded))
    stranger.extended(stranger.our_id, bytes(500_000))
    stranger.extended(stranger.our_id, b"small again")
    stranger.send(INTERESTED)
    lab.until(lambda: node.of(events.InterestChanged))
    assert len(node.of(events.Message)) == 1
    assert len(node.of(events.Flooded)) == 1
    assert node.of(events.PeerGone) == []


def test_a_hundred_thousand_empty_messages_are_a_flood_too(lab, meet):
    node, stranger, _ = meet(seeding=True)
    empty = struct.pack(">IBB", 2, EXTENDED, stranger.our_id)
    # Nobody drains while they come in; the reject says that the node has read them all.
    stranger.socket.sendall(empty * 100_000)
    stranger.send(REQUEST, struct.pack(">III", 99, 0, BLOCK))
    stranger.wait(REJECT)
    lab.until(lambda: node.of(events.Flooded))
    assert len(node.of(events.Message)) == 128 * 1024 // 64
    assert len(node.of(events.Flooded)) == 1


def test_a_message_that_comes_in_crumbs_is_delivered_whole(lab, meet):
    node, stranger, _ = meet(seeding=True)
    stranger.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    payload = bytes(range(256))
    whole = struct.pack(">IBB", len(payload) + 2, EXTENDED, stranger.our_id) + payload
    for byte in whole:
        stranger.socket.sendall(bytes([byte]))
    lab.until(lambda: node.of(events.Message))
    assert node.of(events.Message) == [events.Message(1, 1, payload)]


def test_our_messages_go_to_the_number_the_peer_chose_last_and_stop_at_zero(lab, meet):
    node, stranger, _ = meet(seeding=True)
    node.extension.send(1, b"one")
    assert stranger.wait(EXTENDED) == bytes([THEIR_ID]) + b"one"
    stranger.extended(0, encode({b"m": {b"sp_pay": 7}}))
    stranger.extended(0, encode({b"m": {}}))  # says nothing about us, changes nothing
    stranger.extended(stranger.our_id, b"mark")
    lab.until(lambda: len(node.of(events.Message)) == 1)
    node.extension.send(1, b"two")
    assert stranger.wait(EXTENDED) == b"\x07two"
    stranger.extended(0, encode({b"m": {b"sp_pay": 0}}))
    stranger.extended(stranger.our_id, b"mark")
    lab.until(lambda: len(node.of(events.Message)) == 2)
    node.extension.send(1, b"never")
    stranger.extended(0, encode({b"m": {b"sp_pay": 8}}))
    stranger.extended(stranger.our_id, b"mark")
    lab.until(lambda: len(node.of(events.Message)) == 3)
    node.extension.send(1, b"three")
    assert stranger.wait(EXTENDED) == b"\x08three"
    assert len(node.of(events.PeerExtended)) == 1


@pytest.mark.parametrize("names", [{b"sp_pay": -1}, {b"sp_pay": 256}, {b"sp_pay": b"x"}, {}, b"m"])
def test_a_handshake_without_a_valid_number_for_us_is_an_ordinary_peer(lab, names):
    torrent = lab.content(MIB)
    node = lab.node()
    handle = node.add(torrent, torrent.save_dir)
    lab.until(lambda: node.port and handle.status().is_seeding)
    stranger = Stranger(node, torrent, names=names)
    stranger.send(INTERESTED)
    lab.until(lambda: node.of(events.InterestChanged, remote=True))
    assert node.of(events.PeerExtended) == []
    stranger.socket.close()


def test_a_block_nobody_asked_for_is_reported_as_such(lab, meet):
    node, stranger, data = meet(seeding=False)
    stranger.send(HAVE_NONE)
    stranger.send(PIECE, struct.pack(">II", 2, BLOCK) + data[2 * 256 * 1024 + BLOCK :][:BLOCK])
    lab.until(lambda: node.of(events.BlocksReceived))
    assert node.of(events.BlocksReceived) == [
        events.BlocksReceived(1, 2, BLOCK, BLOCK, asked_after=0, message_sequence=0, asked=False)
    ]


def serve_first(stranger, data):
    """Answer the node's first request; returns it."""
    piece, start, length = struct.unpack(">III", stranger.wait(REQUEST))
    block = data[piece * 256 * 1024 + start :][:length]
    stranger.send(PIECE, struct.pack(">II", piece, start) + block)
    return piece, start, length


def test_a_block_sent_twice_was_asked_for_once(lab, meet):
    node, stranger, data = meet(seeding=False)
    stranger.send(HAVE_ALL)
    stranger.send(UNCHOKE)
    piece, start, length = serve_first(stranger, data)
    again = data[piece * 256 * 1024 + start :][:length]
    stranger.send(PIECE, struct.pack(">II", piece, start) + again)
    lab.until(lambda: len(node.of(events.BlocksReceived, piece=piece, start=start)) == 2)
    asked = [event.asked for event in node.of(events.BlocksReceived, piece=piece, start=start)]
    assert asked == [True, False]


def test_what_a_choke_dropped_was_not_asked_for_when_it_comes_after_all(lab, meet):
    # Without the FAST extension a choke answers every request with nothing.
    node, stranger, data = meet(seeding=False, fast=False)
    stranger.send(BITFIELD, b"\xf0")
    stranger.send(UNCHOKE)
    piece, start, length = struct.unpack(">III", stranger.wait(REQUEST))
    stranger.send(CHOKE)
    block = data[piece * 256 * 1024 + start :][:length]
    stranger.send(PIECE, struct.pack(">II", piece, start) + block)
    lab.until(lambda: node.of(events.BlocksReceived))
    assert node.of(events.BlocksReceived)[0].asked is False


def test_a_rejected_request_no_longer_stands(lab, meet):
    node, stranger, data = meet(seeding=False)
    stranger.send(HAVE_ALL)
    stranger.send(UNCHOKE)
    piece, start, length = struct.unpack(">III", stranger.wait(REQUEST))
    stranger.send(REJECT, struct.pack(">III", piece, start, length))
    stranger.send(CHOKE)
    block = data[piece * 256 * 1024 + start :][:length]
    stranger.send(PIECE, struct.pack(">II", piece, start) + block)
    lab.until(lambda: node.of(events.BlocksReceived, piece=piece))
    assert node.of(events.BlocksReceived)[0].asked is False


@pytest.mark.parametrize("start", [0, BLOCK, 2**31 - BLOCK, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_reject_of_absurd_length_costs_nothing(lab, meet, start):
    """libtorrent hands it to plugins before it looks at the numbers."""
    node, stranger, _ = meet(seeding=False)
    stranger.send(HAVE_ALL)
    stranger.send(UNCHOKE)
    stranger.wait(REQUEST)
    for length in (2**31 - 1, 2**31 - BLOCK, 2**31, 2**32 - 1, 0):
        stranger.send(REJECT, struct.pack(">III", 3, start, length))
    stranger.extended(stranger.our_id, b"still there")
    lab.until(lambda: node.of(events.Message))
    assert node.messages(1) == [b"still there"]


def test_a_block_counts_under_the_messages_that_were_ahead_of_its_request(lab, meet):
    node, stranger, data = meet(seeding=True)
    stranger.send(INTERESTED)
    stranger.wait(UNCHOKE)
    stranger.send(REQUEST, struct.pack(">III", 0, 0, BLOCK))
    stranger.wait(PIECE)
    stranger.extended(stranger.our_id, b"bid")
    stranger.extended(stranger.our_id, b"bid")
    stranger.send(REQUEST, struct.pack(">III", 0, BLOCK, BLOCK))
    stranger.send(REQUEST, struct.pack(">III", 0, BLOCK, BLOCK))
    assert stranger.wait(PIECE)[8:] == data[BLOCK : 2 * BLOCK]
    stranger.wait(PIECE)
    lab.until(lambda: node.sent_bytes() == 3 * BLOCK)
    assert node.sent_by_counters() == {(0, 0): BLOCK, (2, 0): 2 * BLOCK}


def test_a_refused_request_is_not_counted_as_sent(lab, meet):
    node, stranger, _ = meet(seeding=True)
    stranger.send(INTERESTED)
    stranger.wait(UNCHOKE)
    for piece, start, length in ((0, 0, 2**30), (99, 0, BLOCK), (0, 2**31 - 1, BLOCK), (0, 0, 0)):
        stranger.send(REQUEST, struct.pack(">III", piece, start, length))
        stranger.wait(REJECT)
    stranger.send(REQUEST, struct.pack(">III", 1, 0, BLOCK))
    stranger.wait(PIECE)
    lab.until(lambda: node.sent_bytes())
    assert node.sent_bytes() == BLOCK


def test_interest_that_flaps_does_not_fill_the_queue(lab, meet):
    node, stranger, _ = meet(seeding=True)
    flap = struct.pack(">IB", 1, INTERESTED) + struct.pack(">IB", 1, NOT_INTERESTED)
    stranger.socket.sendall(flap * 20_000)
    stranger.extended(stranger.our_id, b"end")
    while not node.of(events.Message):
        node.drain()
    assert len(node.of(events.InterestChanged)) < 20_000
    assert node.of(events.InterestChanged)[-1].remote is False


def test_a_peer_that_our_handshake_did_not_tell_of_us_is_sent_nothing(lab):
    torrent, node = lab.content(MIB), lab.node(stock=True)
    handle = node.add(torrent, torrent.save_dir)
    lab.until(lambda: node.port and handle.status().is_seeding)
    with socket.create_connection((node.address, node.port), timeout=60) as raw:
        reserved = bytes([0, 0, 0, 0, 0, 0x10, 0, 0x04])
        raw.sendall(
            b"\x13BitTorrent protocol"
            + reserved
            + torrent.description.infohash
            + b"-XX0000-early......."
        )
        heard = b""
        while b"1:md" not in heard:  # until its BEP 10 handshake is there
            heard += raw.recv(65536)
            assert heard
        node.extension = Extension(node.session)
        lab.until(lambda: node.of(events.PeerConnected))
        late = bytes([EXTENDED, 0]) + encode({b"m": {b"sp_pay": THEIR_ID}})
        raw.sendall(struct.pack(">I", len(late)) + late + struct.pack(">IB", 1, INTERESTED))
        lab.until(lambda: node.of(events.InterestChanged))
        assert node.of(events.PeerExtended) == []


def test_a_connection_that_is_cut_anywhere_in_the_handshake_leaves_no_trace(lab):
    torrent = lab.content(MIB)
    node = lab.node()
    added = node.add(torrent, torrent.save_dir)
    # While it checks its files libtorrent takes no peers.
    lab.until(lambda: node.port and added.status().is_seeding)
    whole = b"\x13BitTorrent protocol" + bytes(8) + torrent.description.infohash + bytes(20)
    for end in range(0, len(whole), 3):
        # From another address than the stranger's: libtorrent takes one connection from each, and may
        # learn of the end of these after the stranger has come.
        with socket.create_connection(
            (node.address, node.port), timeout=60, source_address=("127.0.0.2", 0)
        ) as raw:
            raw.sendall(whole[:end])
    stranger = Stranger(node, torrent)
    lab.until(lambda: node.of(events.PeerExtended))
    stranger.socket.close()
    lab.until(lambda: node.of(events.PeerGone))
    assert node.of(events.PeerConnected)[0].connection == 1
    assert len(node.of(events.PeerConnected)) == len(node.of(events.PeerGone)) == 1
