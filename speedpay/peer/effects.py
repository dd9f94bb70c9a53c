"""What the two sides of a sale ask the client to do, in order. Values only; the client's loop performs them.

Everything that must be durable comes before the message that reveals it: the loop stores first, then
sends.
"""

from __future__ import annotations

from dataclasses import dataclass

from speedpay.channel.payee import PayeeChannel
from speedpay.channel.payer import PayerChannel
from speedpay.channel.receipt import PayeeReceipt
from speedpay.channel.voucher import SignedStatement
from speedpay.peer.messages import Message
from speedpay.signing import SigningKey
from speedpay.units import Amount


@dataclass(frozen=True, slots=True)
class Send:
    """``by``: the key that binds an ask or an open to the connection (``peer/binding.py``)."""

    connection: int
    message: Message
    by: SigningKey | None = None


@dataclass(frozen=True, slots=True)
class LockEscrow:
    """Ask the ledger for a channel to ``payee_key``; answered by ``Buyer.locked`` or ``lock_refused``."""

    connection: int
    payee_key: bytes
    amount: Amount


@dataclass(frozen=True, slots=True)
class AddEscrow:
    connection: int
    channel: bytes
    amount: Amount


@dataclass(frozen=True, slots=True)
class SavePayer:
    """The payer's channel with the total it has signed, before that voucher is sent."""

    channel: PayerChannel


@dataclass(frozen=True, slots=True)
class SavePayee:
    """The payee's channel with the voucher it accepted, before that is acknowledged.

    ``opened`` is the ledger's signed statement where that is new.
    """

    channel: PayeeChannel
    opened: SignedStatement | None


@dataclass(frozen=True, slots=True)
class SaveReceipt:
    """A payee's receipt, and the salt (32 bytes) with which its buyer can show what was bought."""

    receipt: PayeeReceipt
    salt: bytes


@dataclass(frozen=True, slots=True)
class Redeem:
    """Redeem this channel's best voucher; ``close``: the seller is done with it."""

    channel: bytes
    close: bool = True


@dataclass(frozen=True, slots=True)
class RenewStatement:
    """A seller does not believe the key that signed this channel's statement: ask the ledger for it again.
    Answered by ``Buyer.renewed``."""

    channel: bytes


@dataclass(frozen=True, slots=True)
class AwaitClose:
    """The buyer has stopped this channel: look at the ledger until the payee has closed it."""

    channel: bytes


@dataclass(frozen=True, slots=True)
class Withhold:
    connection: int
    on: bool


@dataclass(frozen=True, slots=True)
class Allow:
    """Withhold by itself once so many bytes more have left than the seller has heard of; None: any number."""

    connection: int
    more: int | None


@dataclass(frozen=True, slots=True)
class Ban:
    connection: int
    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know; one plain sentence."""

    text: str


Effect = (
    Send | LockEscrow | AddEscrow | SavePayer | SavePayee | SaveReceipt | Redeem | RenewStatement
    | AwaitClose | Withhold | Allow | Ban | Note
)  # fmt: skip
