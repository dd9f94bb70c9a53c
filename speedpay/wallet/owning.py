"""Changing the account's key: to one's own next key, or to somebody else's; and finding it again.

The order is in the keystore before the ledger hears of it, under one idempotency key, and both keys come
of the words. So whatever interrupts, the same command goes on: the ledger answers the same order as
before, also to the key that it has replaced by it, and only then the keystore goes over to the new key.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import replace

from speedpay.errors import AlreadyExists, NotAllowed, NotFound, SpeedpayError
from speedpay.ledger_api.client import LedgerClient
from speedpay.ledger_api.owners import Consent, HandOver
from speedpay.ledger_api.refusals import decides
from speedpay.ledger_api.signed import IDEMPOTENCY_KEY_BYTES, account_id
from speedpay.signing import Domain
from speedpay.units import ZERO, Amount
from speedpay.wallet.funds import open_account
from speedpay.wallet.keystore import Keystore, Unlocked
from speedpay.wallet.tenure import KeyChange, Tenure

#: How many changes of key are tried when only the words are left; each is one small question.
MOST_CHANGES = 64


def consent_of(opened: Unlocked, account: bytes, changes: int) -> Consent:
    """To take ``account`` with the key after so many changes; its tokens leave to the wallet's address."""
    keys = opened.keys_after(changes)
    return Consent.sign(keys.identity, _domain(opened), account, keys.chain.address)


def rotate(keystore: Keystore, opened: Unlocked, ledger: LedgerClient) -> Unlocked:
    """The account, held by the wallet's next key that has none. Raises what ``_carry`` raises.

    Who has seen a key may have made an account for it, so that it could never take this one.
    """
    account, tenure = opened.place.account, opened.place.tenure
    assert account is not None
    tried = range(tenure.changes + 1, MOST_CHANGES)
    if tenure.pending is not None:  # killed on the way: it may have been at a later key
        begun = (at for at in tried if consent_of(opened, account, at) == tenure.pending.consent)
        tried = range(next(begun, tried.start), MOST_CHANGES)
    for changes in tried:
        after = replace(tenure, changes=changes, pending=None)
        try:
            return _carry(keystore, opened, ledger, consent_of(opened, account, changes), after)
        except NotAllowed as error:
            if error.field != "to":
                raise
        opened = keystore.hold(opened, replace(tenure, pending=None))
    raise NotAllowed(f"none of the first {MOST_CHANGES} keys of these words is free", field="to")


def hand_over(
    keystore: Keystore, opened: Unlocked, ledger: LedgerClient, consent: Consent
) -> Unlocked:
    """The wallet, which has given its account away. Raises what ``_carry`` raises."""
    place = opened.place
    if consent.account != place.account:
        raise NotAllowed("is about another account than this wallet's", field="consent")
    consent.check(_domain(opened))
    given = replace(place.tenure, pending=None, given_to=consent.public_key)
    return _carry(keystore, opened, ledger, consent, given)


def _carry(
    keystore: Keystore, opened: Unlocked, ledger: LedgerClient, consent: Consent, after: Tenure
) -> Unlocked:
    """Raises AlreadyExists while another change is under way, what the ledger refuses (then nothing has
    changed), or that nothing is known: then the same command goes on."""
    tenure = opened.place.tenure
    pending = tenure.pending
    if pending is None:
        pending = KeyChange(consent, secrets.token_bytes(IDEMPOTENCY_KEY_BYTES))
        opened = keystore.hold(opened, replace(tenure, pending=pending))
    elif pending.consent != consent:
        raise AlreadyExists(
            f"the account is being handed over to {pending.consent.public_key.hex()}, and whether the"
            " ledger has done it is not known",
            hint="finish that first, by the same command as before",
        )
    key = opened.keys.identity
    try:
        ledger.hand_over(key, HandOver.sign(key, _domain(opened), consent), pending.idempotency_key)
    except SpeedpayError as error:
        if decides(error):
            keystore.hold(opened, replace(tenure, pending=None))
        raise
    return keystore.hold(opened, after)


def open_or_find(
    keystore: Keystore,
    opened: Unlocked,
    ledger: LedgerClient,
    account: bytes | None,
    clock: Callable[[], float] = time.time,
) -> tuple[Unlocked, Amount]:
    """The wallet with its account, and what was granted just now. ``account``: one that was handed over
    to this wallet; None: the one that its first key opens, by whatever key of the words has it today.

    Raises NotFound when none of them has it.
    """
    first = account_id(opened.keys_after(0).identity.public)
    if account is None:
        try:
            place, granted = open_account(ledger, opened.keys.identity, opened.place)
            return replace(opened, place=place), granted
        except NotAllowed as error:
            if error.field != "public_key":
                raise
            account = first
    changes = _changes_of(opened, ledger, account)
    found = ledger.identity
    assert found is not None  # it has answered
    since = None if account == first else opened.place.tenure.since or int(clock())
    opened = keystore.hold(opened, Tenure(changes, since=since))
    place = replace(opened.place, ledger_id=found.ledger_id, account=account)
    return replace(opened, place=place), ZERO


def _changes_of(opened: Unlocked, ledger: LedgerClient, account: bytes) -> int:
    for changes in range(MOST_CHANGES):
        try:
            ledger.balance(opened.keys_after(changes).identity, account)
            return changes
        except NotFound:
            continue
    raise NotFound(
        f"none of the first {MOST_CHANGES} keys of these words has the account {account.hex()}:"
        " it was handed over to somebody else, or never to this wallet",
        field="account",
    )


def _domain(opened: Unlocked) -> Domain:
    place = opened.place
    assert place.ledger_id is not None
    return Domain(place.network, place.ledger_id)
