"""What ``verify``, ``fund``, ``withdraw`` and ``wallet chain`` share: the chain, the vault, the proofs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from speedpay.chain import address
from speedpay.chain.tron import Tron
from speedpay.chain.vault import Vault
from speedpay.cli.chain import tron_of
from speedpay.cli.output import Output, age_text, time_text
from speedpay.config import Settings
from speedpay.errors import (
    ChainRefused,
    LedgerFailed,
    LedgerUnreachable,
    NotFound,
    ProofBroken,
    SpeedpayError,
    WrongLedger,
    WrongNetwork,
)
from speedpay.ledger_api.bound import BoundVault
from speedpay.ledger_api.client import LedgerClient
from speedpay.units import MoneyClass
from speedpay.wallet.funds import Funds, name_of
from speedpay.wallet.keeping import keep_newest
from speedpay.wallet.keystore import Unlocked
from speedpay.wallet.opening import keystore_of
from speedpay.wallet.outbox import Outbox, Report, unheard
from speedpay.wallet.proofs import Proofs
from speedpay.wallet.receipts import NOTHING_GIVEN, Given

_ANOTHER_CHAIN = (
    "speedpay config show --origin; a chain that was begun anew has another ledger, and for that ledger"
    " a wallet in another folder: SPEEDPAY_HOME"
)
REFUSED = "the node refuses the transaction; waiting until it can never be taken, a minute or two"
_CLIENT_STORE = "client.db"
_LEAST_POLL_S = 0.2  # a devnet makes blocks faster than anybody must know of them


@dataclass(frozen=True, slots=True)
class OnChain:
    """The wallet's chain and the vault that it believes. ``on_first_use``: since just now, on the
    ledger's word alone."""

    tron: Tron
    vault: Vault
    bound: BoundVault
    on_first_use: bool = False


@contextmanager
def tron_for(settings: Settings, opened: Unlocked) -> Iterator[Tron]:
    """The chain of the wallet's own network."""
    # A node that does not answer is logged, with -v, and if no other does it is the command's error.
    logging.getLogger("speedpay.chain").addHandler(logging.NullHandler())
    with tron_of(replace(settings, network=opened.place.network)) as tron:
        yield tron


@contextmanager
def on_chain(
    settings: Settings, opened: Unlocked, ledger: LedgerClient | None
) -> Iterator[OnChain]:
    """With the vault of the wallet; the first one that it hears of is pinned for good.

    Raises WrongNetwork, WrongLedger, NotFound when nobody names a vault, ProofBroken when ledger and
    chain do not agree on it.
    """
    with tron_for(settings, opened) as tron:
        bound = _bound(settings, opened, tron, ledger)
        first = opened.place.chain is None and settings.vault is None
        yield OnChain(tron, Vault(tron, bound.vault), bound, first)


def say_vault(out: Output, chain: OnChain) -> None:
    """What is believed on first use is said once: after that nobody changes it, and nobody asks."""
    if chain.on_first_use:
        named = address.to_base58(chain.bound.vault)
        out.note(
            f"The ledger's vault is {named}, says the ledger; this wallet believes no other from now on."
            f'\nCompare it with what its operator publishes. To name it yourself: vault = "{named}"'
        )


def _bound(
    settings: Settings, opened: Unlocked, tron: Tron, ledger: LedgerClient | None
) -> BoundVault:
    known = opened.place.chain
    chosen = address.from_base58(settings.vault, "vault") if settings.vault else None
    if known is not None:
        if chosen is not None and chosen != known.vault:
            raise WrongLedger(
                f"the wallet is bound to the vault {address.to_base58(known.vault)}, the settings name"
                f" {settings.vault}",
                hint="speedpay config show --origin",
            )
        if tron.chain_id != known.chain_id:
            raise WrongNetwork(
                f"the node is on another {tron.network.name} than the wallet's vault",
                field="chain_nodes", hint=_ANOTHER_CHAIN,
            )  # fmt: skip
        return known
    named = _named_by_ledger(ledger) if chosen is None else None  # the user's word needs no other
    vault = chosen or (named.vault if named else None)
    if vault is None:
        raise NotFound(
            "the ledger is bound to no vault, so nothing of it is on a chain",
            hint='ask its operator, or name a vault: vault = "T…" in the settings',
        )
    try:
        found = BoundVault(tron.chain_id, vault, Vault(tron, vault).terms().token)
    except ChainRefused as error:
        raise ChainRefused(
            f"there is no vault at {address.to_base58(vault)}: {error.message}", field="vault"
        ) from error
    if named is not None and named != found:
        raise ProofBroken(
            "the ledger names another chain, vault or token than the chain itself", field="vault"
        )
    keystore = keystore_of(settings)
    keystore.update(opened, replace(keystore.place(), chain=found))
    return found


def _named_by_ledger(ledger: LedgerClient | None) -> BoundVault | None:
    if ledger is None:
        return None
    try:
        return ledger.identify().chain
    except (LedgerUnreachable, LedgerFailed) as error:
        error.hint = "this wallet knows no vault yet; the ledger must name it once, or the settings"
        raise


def proofs_of(settings: Settings, opened: Unlocked) -> Proofs:
    return Proofs(settings.home / "wallet", name_of(opened.place))


def promised(settings: Settings) -> Given:
    """Tokens that the client has promised in vouchers, from its own store."""
    path = settings.home / _CLIENT_STORE
    if not path.exists():
        return NOTHING_GIVEN
    from speedpay.client.store import Store

    store = Store(path)
    try:
        return Given(*store.given(MoneyClass.TOKEN))
    finally:
        store.close()


def outstanding(settings: Settings) -> int:
    """How many channels pay this wallet and are not closed yet."""
    path = settings.home / _CLIENT_STORE
    if not path.exists():
        return 0
    from speedpay.client.store import Store

    store = Store(path)
    try:
        return len(store.open_paid())
    finally:
        store.close()


def keep_proof(
    out: Output, settings: Settings, opened: Unlocked, ledger: LedgerClient, funds: Funds
) -> None:
    """The newest epoch's, while the ledger is asked anyway. Whatever fails is no error of the command."""
    place, key = opened.place, opened.keys.identity
    given = funds.given(promised(settings))
    try:
        warning = keep_newest(place, key, ledger, settings.home / "wallet", given)
    except ProofBroken as error:
        warning = str(error)
    except SpeedpayError:
        return
    if warning is not None:
        warn_of_leaf(out, warning)


def warn_of_leaf(out: Output, said: str) -> None:
    out.warn(f"{said}: speedpay verify")


def outbox_of(
    settings: Settings, opened: Unlocked, tron: Tron, kind: str, report: Report = unheard
) -> Outbox:
    """``kind``: fund, claim or send. One of each may be under way."""
    key = opened.keys.chain
    name = f"{key.base58}-{tron.chain_id:08x}.{kind}"
    poll_s = max(_LEAST_POLL_S, tron.network.poll_s)
    return Outbox(settings.home / "wallet", name, tron, key, poll_s=poll_s, report=report)


def when_text(unix_s: int) -> str:
    """A time of the past with its age."""
    return f"{time_text(unix_s)} ({age_text(max(0.0, time.time() - unix_s))} ago)"
