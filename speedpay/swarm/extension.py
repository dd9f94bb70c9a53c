"""Our messages, accounting and upload weights inside a libtorrent session.

A thin wrapper around the native module, which grafts itself onto any ``libtorrent.session``, also one
of another program. Nothing here blocks; events are fetched with ``drain`` when ``fd`` is readable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from speedpay.errors import NativeUnavailable
from speedpay.swarm.events import (
    BlocksReceived,
    BlocksSent,
    Flooded,
    InterestChanged,
    Message,
    PeerConnected,
    PeerEvent,
    PeerExtended,
    PeerGone,
    PieceFailed,
    PiecePassed,
)

if TYPE_CHECKING:
    from types import ModuleType

#: Longest message in either direction, bytes.
MAX_MESSAGE_BYTES = 4096

_HINT = "run ./scripts/setup, which builds it for this machine's libtorrent (Linux only)"

# In the order of the alternatives of Event in native/core.hpp.
_MAKERS: tuple[Callable[[Any], PeerEvent], ...] = (
    PeerConnected._make,
    PeerExtended._make,
    PeerGone._make,
    InterestChanged._make,
    Message._make,
    Flooded._make,
    BlocksReceived._make,
    BlocksSent._make,
    PiecePassed._make,
    PieceFailed._make,
)


def load_native() -> ModuleType:
    """The native module, checked against the libtorrent that is loaded.

    Raises NativeUnavailable when either is missing, or was built for another version or layout.
    """
    try:
        import libtorrent  # noqa: F401 - registers the types that the native module takes apart
    except ImportError as error:
        raise NativeUnavailable(
            f"libtorrent's Python binding cannot be loaded: {error}", hint=_HINT
        ) from error
    try:
        from speedpay.swarm import _native
    except ImportError as error:
        raise NativeUnavailable(
            f"the libtorrent extension is missing or was built for another system: {error}",
            hint=_HINT,
        ) from error
    try:
        _native.check_library()
    except RuntimeError as error:
        raise NativeUnavailable(
            f"the libtorrent extension does not fit: {error}", hint=_HINT
        ) from error
    return _native


class Extension:
    """One session's side channel to its peers.

    ``session`` is a ``libtorrent.session``, kept alive by the caller. Peers already connected are
    reported, and can be sent messages once they reconnect (their BEP 10 handshake is over).
    """

    def __init__(self, session: Any, message_name: str = "sp_pay") -> None:
        native = load_native()
        try:
            self._native = native.Extension(session, message_name)
        except RuntimeError as error:
            raise NativeUnavailable(
                f"the extension cannot join this session: {error}", hint=_HINT
            ) from error

    @property
    def fd(self) -> int:
        """An eventfd that is readable while events wait; −1 once closed."""
        return int(self._native.fileno())

    def drain(self) -> list[PeerEvent]:
        """Every event that waits, in the order in which it happened on each connection.

        Raises NativeUnavailable if the network thread ran out of memory and lost an event: from
        then on the counts cannot be trusted, and no more money may depend on them.
        """
        events, lost_count = self._native.drain()
        if lost_count:
            raise NativeUnavailable("the extension ran out of memory and lost count", hint=None)
        return [_MAKERS[kind](fields) for kind, fields in events]

    def send(self, connection: int, payload: bytes) -> None:
        """Send one message, in order with the others on this connection; at most 4,096 bytes.

        Silently dropped when the connection is gone, or before its ``PeerExtended``: the caller
        will read of either in ``drain``. Raises ValueError for a longer payload.
        """
        self._native.send(connection, payload)

    def set_weight(self, connection: int, weight: int) -> None:
        """The peer's part of the upload limit in proportion to others', 1 … 255; 1 by default.

        Without an upload limit on the session weights do nothing.
        """
        self._native.set_weight(connection, weight)

    def withhold(self, connection: int, on: bool) -> None:
        """Stop sending to the peer without choking it, or go on with the weight it had.

        All withheld peers share 10 bytes a second. What we send as messages waits as well; what the
        peer sends still arrives.
        """
        self._native.withhold(connection, on)

    def serve(self, connection: int, on: bool) -> None:
        """Never choke the peer while it wants data, beside the session's slots; or let the choker decide."""
        self._native.serve(connection, on)

    def allow(self, connection: int, more: int | None) -> None:
        """Withhold from the peer, at once and without another word, when so many bytes of payload have left
        beyond those of the ``BlocksSent`` that were drained before this call; None: any number."""
        self._native.allow(connection, more)

    def ban(self, connection: int) -> None:
        """Disconnect every peer of this connection's address, and whoever comes from there later.

        The last 4,096 addresses are kept. Not by libtorrent's address filter, which frees its record of
        the peer while its search for senders of bad blocks still points there: the next peer is given
        the memory, and is banned for blocks that it never sent.
        """
        self._native.ban(connection)

    def close(self) -> None:
        """No more events; peers get back their ordinary share. May be called twice."""
        self._native.close()
