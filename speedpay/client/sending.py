"""What leaves for peers: messages, sealed and in the order in which both sides count them, and bans."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping

from speedpay.client.purchases import Purchases
from speedpay.client.upload import Peer, Upload
from speedpay.peer.messages import Bid, DemandMessage, Message, Pause
from speedpay.peer.sealing import Handshake
from speedpay.peer.seller import Seller
from speedpay.signing import SigningKey
from speedpay.swarm.session import Session

_log = logging.getLogger(__name__)
FRAME_BYTES = 6  # around each payload: length (4), BEP 10's 20, the extension's number


class Sender:
    """``peers`` is the market's own, by connection; ``note`` tells the user something."""

    def __init__(
        self,
        swarm: Session,
        peers: Mapping[int, Peer],
        purchases: Purchases,
        seller: Seller,
        upload: Upload,
        note: Callable[[str], None],
    ) -> None:
        self._swarm = swarm
        self._peers = peers
        self._purchases = purchases
        self._seller = seller
        self._upload = upload
        self._note = note
        #: What our messages took on the wire so far.
        self.byte_count = 0

    def hello(self, peer: Peer, handshake: Handshake) -> None:
        self._transmit(peer, peer.conversation.hello(handshake, secrets.token_bytes(32)))

    def send(self, peer: Peer, message: Message, by: SigningKey | None = None) -> None:
        if isinstance(message, DemandMessage) and peer.agreed != peer.infohash:
            # A hybrid torrent that we were given by one hash and share by the other: the seller would
            # have to take the receipt's content for another than it sold.
            self._purchases[peer.infohash].buyer.demanded.gone(peer.connection)
            return
        payload = peer.conversation.send(message, by)
        _log.debug("to %s:%d %s", peer.address, peer.port, message)
        self._transmit(peer, payload)
        number = peer.conversation.sent_count
        if isinstance(message, Bid):
            self._purchases[peer.infohash].buyer.bid_left(peer.connection, number)
        else:
            self._seller.left(peer.connection, number, message)
            if isinstance(message, Pause) and self._seller.has_channel(
                peer.connection, message.channel
            ):
                self._upload.paused(peer.connection)

    def _transmit(self, peer: Peer, payload: bytes) -> None:
        self.byte_count += len(payload) + FRAME_BYTES
        self._swarm.extension.send(peer.connection, payload)

    def ban(self, connection: int, reason: str) -> None:
        self.banned(connection, reason)
        self._swarm.extension.ban(connection)

    def banned(self, connection: int, reason: str) -> None:
        """Who sent all of a bad piece libtorrent has banned itself."""
        peer = self._peers.get(connection)
        if peer and not peer.banned:
            peer.banned = True  # what it said before it was cut off is not heard any more
            self._note(f"{peer.address} was banned: {reason}")
