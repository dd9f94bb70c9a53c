"""Bindings: the long-lived keys of ask and open sign the session in which they are shown (SPEC.md, 3).

Without them somebody in the middle, with a session to each side, could repeat a seller's ask and a buyer's
channel. ``s`` of an ask says the same to everyone; its binding counts on one connection only.
"""

from __future__ import annotations

from dataclasses import replace

from speedpay.peer.messages import Ask, Open
from speedpay.signing import Domain, SigningKey, verify

Bound = Ask | Open


def _role(message: Bound) -> bytes:
    return b"\x00" if isinstance(message, Ask) else b"\x01"


def bound_key(message: Bound) -> bytes:
    """The key that must have signed the binding."""
    return message.payee_key if isinstance(message, Ask) else message.statement.payer_key


def bind(message: Bound, key: SigningKey, domain: Domain, meeting: bytes) -> Bound:
    return replace(message, binding=key.sign("session", domain, meeting + _role(message)))


def check_binding(message: Bound, domain: Domain, meeting: bytes) -> None:
    """Raises BadSignature unless the owner of the message's key is at the other end of this session."""
    name = "ask" if isinstance(message, Ask) else "open"
    verify(
        bound_key(message), "session", domain, meeting + _role(message), message.binding,
        f"{name}.binding",
    )  # fmt: skip
