"""Whose the account is: ``wallet consent``, ``rotate-key`` and ``publish-key``, ``account hand-over``."""

from __future__ import annotations

import secrets
from dataclasses import replace

import click

from speedpay.chain import address
from speedpay.cli.chain_wallet import outstanding
from speedpay.cli.money import account_argument
from speedpay.cli.output import Output, examples, pass_output
from speedpay.cli.unlock import funds_of, ledger_of, unlock, wallet_options
from speedpay.client.locks import LOCKS, anybody
from speedpay.config import Settings, load
from speedpay.errors import AlreadyExists, NotAllowed
from speedpay.ledger_api.owners import Consent, Publish
from speedpay.ledger_api.signed import IDEMPOTENCY_KEY_BYTES
from speedpay.wallet import owning
from speedpay.wallet.opening import keystore_of
from speedpay.wallet.payout import Payout


@click.command(
    epilog=examples(
        "speedpay wallet new --without-account",
        "speedpay wallet consent 00112233445566778899aabbccddeeff",
    )
)
@click.argument("account", callback=account_argument)
@wallet_options
@pass_output
def consent(
    out: Output, account: bytes, ledger_url: str | None, passphrase_file: str | None
) -> None:
    """Print this wallet's consent to take ACCOUNT over from somebody.

    Give the text to its owner, for "speedpay account hand-over"; afterwards run "speedpay wallet open
    --account ACCOUNT". A wallet has one account, so this is for a wallet that has none yet.
    """
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    opened = unlock(out, settings, with_account=False)
    if opened.place.account is not None:
        raise AlreadyExists(
            "this wallet has an account already, and a wallet has one",
            hint="in another SPEEDPAY_HOME: speedpay wallet new --without-account",
        )
    with ledger_of(opened.place) as ledger:
        found = ledger.identify()
    if opened.place.ledger_id is None:
        place = replace(opened.place, ledger_id=found.ledger_id)
        opened = keystore_of(settings).update(opened, place)
    made = owning.consent_of(opened, account, opened.place.tenure.changes)
    obj = {
        "consent": made.to_text(), "account": account.hex(), "key": made.public_key.hex(),
        "payout": address.to_base58(made.payout),
    }  # fmt: skip
    out.result(obj, made.to_text())


@click.command("rotate-key", epilog=examples("speedpay wallet rotate-key"))
@wallet_options
@pass_output
def rotate_key(out: Output, ledger_url: str | None, passphrase_file: str | None) -> None:
    """Let the next key that the words give hold the account; the old one can do nothing any more.

    For a key that somebody may have seen. Words, account, balance, channels and payout address stay.
    Stop "get" and "seed" first, as they hold the old key. Interrupted, the same command goes on.
    """
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    opened = unlock(out, settings)
    with ledger_of(opened.place) as ledger:
        if opened.place.tenure.pending is None:
            _refuse_while_running(settings)
            Payout(settings.home / "wallet", opened.place, opened.keys).name(ledger)
        before = opened.keys.identity.public
        opened = owning.rotate(keystore_of(settings), opened, ledger)
    assert opened.place.account is not None
    after = opened.keys.identity.public
    obj = {
        "account": opened.place.account.hex(), "old_key": before.hex(), "key": after.hex(),
        "changes": opened.place.tenure.changes,
    }  # fmt: skip
    out.result(obj, f"key        {after.hex()}\nbefore     {before.hex()}, refused from now on")


def _refuse_while_running(settings: Settings) -> None:
    if anybody(settings.home / LOCKS):
        raise NotAllowed(
            "a speedpay program of this wallet is running, and holds the key that the account has now",
            hint="stop speedpay get and speedpay seed, then try again",
        )


@click.command(
    "publish-key",
    epilog=examples("speedpay wallet publish-key", "speedpay wallet publish-key --off"),
)
@click.option("--off", is_flag=True, help="Take it back: nobody else reads it from now on.")
@wallet_options
@pass_output
def publish_key(
    out: Output, off: bool, ledger_url: str | None, passphrase_file: str | None
) -> None:
    """Let everybody read the account's history at the ledger: kinds, amounts and times.

    Channels are not shown, nor other accounts, unless they are published too. Peers that have traded
    with you can tell by amounts and times which of it was with them, and so which account is yours.
    """
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    if not off:
        out.confirm("Show the account's whole history, past and future, to everybody?")
    opened = unlock(out, settings)
    account = opened.place.account
    assert account is not None
    with ledger_of(opened.place) as ledger:
        key = secrets.token_bytes(IDEMPOTENCY_KEY_BYTES)
        ledger.publish(opened.keys.identity, account, Publish(not off), key)
    said = "nobody but you" if off else f"everybody: speedpay history --of {account.hex()}"
    obj = {"account": account.hex(), "published": not off}
    out.result(obj, f"The history is read by {said}")


@click.group()
def account() -> None:
    """Give the account away."""


@account.command("hand-over", epilog=examples("speedpay account hand-over speedpay-consent-1:..."))
@click.argument("consent_text", metavar="CONSENT")
@wallet_options
@pass_output
def hand_over(
    out: Output, consent_text: str, ledger_url: str | None, passphrase_file: str | None
) -> None:
    """Give the account, with all that is and will be its, to the key of CONSENT. It cannot be taken back.

    CONSENT is what "speedpay wallet consent" printed for the new owner. Tokens leave to the address that
    this wallet has named: send or withdraw them first. Interrupted, the same command goes on.
    """
    taken = Consent.from_text(consent_text)
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    out.confirm(
        f"Give the account {taken.account.hex()}, and its money, to the key {taken.public_key.hex()}?"
    )
    opened = unlock(out, settings)
    with ledger_of(opened.place) as ledger:
        if opened.place.tenure.pending is None:
            _refuse_while_running(settings)
            if funds_of(settings, opened, ledger).unresolved() is not None:
                raise NotAllowed(
                    "a payment of this account is not finished", hint="speedpay balance tells which"
                )
            owed = outstanding(settings)
            if owed:
                raise NotAllowed(
                    f"channels that pay this account and are not redeemed yet: {owed}",
                    hint="only this wallet can redeem them: speedpay seed, until speedpay earnings says so",
                )
        owning.hand_over(keystore_of(settings), opened, ledger, taken)
    obj = {"account": taken.account.hex(), "key": taken.public_key.hex()}
    text = (
        f"The account {taken.account.hex()} belongs to the key {taken.public_key.hex()} now.\n"
        f"Its new owner runs: speedpay wallet open --account {taken.account.hex()}"
    )
    out.result(obj, text)
