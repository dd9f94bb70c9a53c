"""The ledger as one object: who it is, who is asking, time passing, watching over its books.

routes.py says what can be asked of it; nothing here knows about HTTP.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from speedpay.errors import BadSignature, BooksBroken, Stale
from speedpay.ledger import (
    accounts,
    book,
    epochs,
    expiry,
    head_certificates,
    idempotency,
    invariants,
    migrations,
    owners,
)
from speedpay.ledger.accounts import Owner
from speedpay.ledger.channels import CLAIM_S
from speedpay.ledger.database import Database
from speedpay.ledger.keys import LedgerKeys, Voice
from speedpay.ledger.last_head import LastHead
from speedpay.ledger.limits import PER_ACCOUNT, PER_ADDRESS, Buckets, bucket, is_loopback
from speedpay.ledger_api.answers import LedgerIdentity
from speedpay.ledger_api.bound import BoundVault
from speedpay.ledger_api.owners import HandOver
from speedpay.ledger_api.signed import (
    ACCOUNT_BYTES,
    ACCOUNT_HEADER,
    TIME_HEADER,
    TIME_TOLERANCE_S,
    Head,
    account_id,
    check_request,
    check_request_time,
    header_bytes,
)
from speedpay.signing import PUBLIC_KEY_BYTES, Domain
from speedpay.units import Amount, Share

_log = logging.getLogger("speedpay.ledger")
_WELCOME = Amount(10_000_000)
_NO_FEE = Share(0)
_WITHDRAWALS = Amount(1_000_000_000)
#: The curve's generator. Against it the signature of a request for no account is checked, so that such a
#: request takes as long as one that is signed by a wrong key.
_NOBODYS_KEY = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")


@dataclass(frozen=True, slots=True)
class Settings:
    """``unlimited_loopback``: no rates for clients on this machine, for demos with many of them.

    ``withdrawals_per_epoch``: what all accounts together may take out at each close; published.
    """

    network: str = "devnet"
    welcome: Amount = _WELCOME
    openings_per_block_and_day: int = 20
    fee: Share = _NO_FEE
    claim_s: int = CLAIM_S
    unlimited_loopback: bool = False
    epoch_interval_s: int = 600
    withdrawals_per_epoch: Amount = _WITHDRAWALS


class Service:
    """One process's view of one data directory; others may serve the same at the same time."""

    def __init__(
        self,
        directory: Path,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self.keys = LedgerKeys(directory, settings.network, self.now())
        self.keys.look_after(self.now())
        self.keys.refuse_if_ended(self.now())
        self.domain: Domain = self.keys.domain
        self.database = Database(directory / "ledger.sqlite")
        #: HOST:PORT of a peer that has the epochs' files, told to whoever asks for an epoch.
        self.publisher: str | None = None
        self._vault: BoundVault | None = None
        self._addresses = Buckets(PER_ADDRESS, monotonic)
        self._accounts = Buckets(PER_ACCOUNT, monotonic)
        try:
            migrations.bring_up_to_date(self.database, self.domain, self.now())
            with self.database.write() as connection:
                head_certificates.complete(connection, self.keys)
            with self.database.read() as connection:
                LastHead(directory, self.domain).check(connection)
        except BaseException:
            self.database.close()
            raise

    def now(self) -> int:
        return int(self._clock())

    def close(self) -> None:
        self.database.close()

    def voice(self) -> Voice:
        self.keys.look_after(self.now())
        return self.keys.voice()

    def identity(self) -> LedgerIdentity:
        now = self.now()
        voice = self.voice()
        return LedgerIdentity(
            self.settings.network, self.domain.ledger_id, voice.named.in_force(now),
            voice.revocations,
            self.settings.welcome, self.settings.fee.ppm, self.settings.claim_s, now,
            self._bound_vault(),
        )  # fmt: skip

    def _bound_vault(self) -> BoundVault | None:
        """It never changes once there is one."""
        if self._vault is None:
            with self.database.read() as connection:
                bound = epochs.binding(connection)
            if bound:
                chain_id = int.from_bytes(bound.chain_id)
                self._vault = BoundVault(chain_id, bound.address, bound.token)
        return self._vault

    def opening(self, address: str) -> accounts.Opening:
        block = None
        if not (self.settings.unlimited_loopback and is_loopback(address)):
            block = accounts.address_block(self.keys.block_salt, address, self.now())
        return accounts.Opening(
            self.settings.welcome, block, self.settings.openings_per_block_and_day
        )

    def bound_address(self, address: str, cost: float = 1.0) -> None:
        """Raises OverLimit. ``cost``: in ordinary requests."""
        if not (self.settings.unlimited_loopback and is_loopback(address)):
            self._addresses.take(bucket(address), "address", cost)

    def owner(self, head: Head, body: bytes, address: str) -> Owner:
        """The account that signed this request, and by which key. Whoever uses this asks once more in
        the transaction of what is done: ``accounts.must_hold``.

        Raises Stale, OverLimit, and one NotFound for no account and for a signature that is not its
        owner's: nobody learns by asking which accounts there are.
        """
        account = header_bytes(head.account, ACCOUNT_BYTES, ACCOUNT_HEADER)
        self._in_time(head)
        with self.database.read() as connection:
            key = accounts.key_of(connection, account, _NOBODYS_KEY)
        assert key
        try:
            check_request(key, self.domain, head, body)
        except BadSignature:
            key = _NOBODYS_KEY
        if key == _NOBODYS_KEY:
            raise accounts.nobody()
        self._bound_account(head, address)
        return Owner(account, key)

    def opener(self, head: Head, body: bytes, public_key: bytes) -> Owner:
        """The account that ``public_key`` is about to open, or has; the key itself signs."""
        account = header_bytes(head.account, ACCOUNT_BYTES, ACCOUNT_HEADER)
        self._in_time(head)
        if account != account_id(public_key):
            raise BadSignature("is not the account of this key", field=ACCOUNT_HEADER)
        check_request(public_key, self.domain, head, body)
        with self.database.read() as connection:
            return Owner(accounts.account_of(connection, public_key) or account, public_key)

    def giver(self, head: Head, body: bytes, address: str, order: HandOver) -> Owner:
        """The account that is handed over, signed by the key that has it, or had it until just that."""
        account = header_bytes(head.account, ACCOUNT_BYTES, ACCOUNT_HEADER)
        self._in_time(head)
        try:
            check_request(order.old_key, self.domain, head, body)
        except BadSignature as error:
            raise accounts.nobody() from error
        with self.database.read() as connection:
            owners.may_give(connection, order)
        self._bound_account(head, address)
        return Owner(account, order.old_key)

    def _bound_account(self, head: Head, address: str) -> None:
        if not (self.settings.unlimited_loopback and is_loopback(address)):
            self._accounts.take(head.account, ACCOUNT_HEADER)

    def channel_key(self, head: Head, body: bytes) -> bytes:
        """The channel key (33 bytes) that signed this request in its own name."""
        key = header_bytes(head.account, PUBLIC_KEY_BYTES, ACCOUNT_HEADER)
        self._in_time(head)
        check_request(key, self.domain, head, body)
        return key

    def _in_time(self, head: Head) -> None:
        skew_s = check_request_time(head, self.now())
        if abs(skew_s) > TIME_TOLERANCE_S:
            raise Stale(
                f"is {abs(skew_s)} s {'ahead of' if skew_s > 0 else 'behind'} the ledger's clock",
                field=TIME_HEADER,
            )

    def tick(self) -> None:
        """Let time pass: uptime, expiries, what may be forgotten. Called every ``BEAT_S``."""
        now = self.now()
        self.keys.look_after(now)
        with self.database.write() as connection:
            uptime_s = expiry.beat(connection, now)
            expiry.begin_claims(connection, now, uptime_s)
            accounts.forget_openings(connection, now)
            idempotency.forget_refusals(connection, now)
        settled = 1
        while settled:
            with self.database.write() as connection:
                settled = expiry.end_claims(connection, now, uptime_s)

    def check_books(self) -> None:
        """Raises BooksBroken, and writes no more, when money was made or lost."""
        with self.database.read() as connection:
            broken = invariants.quick(connection)
        if broken:
            self.database.stop("its books do not balance")
            for one in broken:
                _log.critical("%s", one)
            raise BooksBroken(str(broken[0]), hint="run: speedpay ledger fsck")

    def issue(self, account: bytes, amount: Amount, reference: bytes) -> None:
        """Tokens for a deposit seen on chain; no HTTP route leads here."""
        with self.database.write() as connection:
            book.issue(connection, account, amount, reference, self.now())
