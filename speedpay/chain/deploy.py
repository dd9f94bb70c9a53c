"""Token and vault on a network, step by step, in a folder that remembers every step.

``deployment.json`` in the folder holds the network, the parameters, the addresses and each signed
transaction, written before it is sent: a run that was killed goes on with the same bytes. The keys lie
beside it, one file each: operator (deploys, anchors), guardian (freezes), minter (makes tokens).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speedpay.chain import artifact
from speedpay.chain.address import from_base58, to_base58
from speedpay.chain.answers import Receipt
from speedpay.chain.carry import carry
from speedpay.chain.keyfile import held, load_key, load_or_make_key, read_private, write_private
from speedpay.chain.keys import ChainKey
from speedpay.chain.transaction import Signed, Unsigned
from speedpay.chain.tron import Tron, deployed_address
from speedpay.errors import InvalidSetting, Malformed, NotFound
from speedpay.units import MAX_UTOK

DEPLOYMENT_FILE = "deployment.json"
OPERATOR, GUARDIAN, MINTER = "operator", "guardian", "minter"
#: By what they take, 403,000 and 2,080,000 energy at 100 sun each, and twice that for a dear day.
TOKEN_FEE_LIMIT_SUN = 100_000_000
VAULT_FEE_LIMIT_SUN = 500_000_000
VERSION = 1

#: ("token", txid, receipt) when a step is in a final block.
Report = Callable[[str, bytes, Receipt], None]


@dataclass(frozen=True, slots=True)
class Parameters:
    """Seconds, by the rules of the vault's constructor: 7 × min_interval > 2 × delay, silence above
    delay and above two intervals. ``cap``: µtok that may ever be minted.

    The defaults are for an anchor every ten minutes. An interval a little shorter leaves room for one
    that came late; the delay is the time in which a guardian must see a false root and freeze.
    """

    min_interval: int = 540
    delay: int = 1800
    silence: int = 7200
    deposit_grace: int = 3600
    cap: int = 10**15

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) is not int or not 0 < value <= MAX_UTOK:
                raise Malformed("must be a whole number above zero", field=name)
        if 7 * self.min_interval <= 2 * self.delay:
            raise InvalidSetting("must be less than 3.5 times the interval", field="delay")
        if self.silence <= max(self.delay, 2 * self.min_interval):
            raise InvalidSetting("must be above the delay and two intervals", field="silence")


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a finished deployment file says. ``genesis``: 32 bytes; addresses: 20 bytes; ``block``:
    that of the vault, from which its events are to be read."""

    network: str
    genesis: bytes
    token: bytes
    vault: bytes
    operator: bytes
    guardian: bytes
    minter: bytes
    parameters: Parameters
    block: int


def keys_of(folder: Path) -> tuple[dict[str, ChainKey], list[str]]:
    """The three keys, and the names of those that were made now."""
    keys, made = {}, []
    for name in (OPERATOR, GUARDIAN, MINTER):
        keys[name], is_new = load_or_make_key(folder / f"{name}.key")
        made += [name] * is_new
    return keys, made


def key_of(folder: Path, name: str) -> ChainKey:
    return load_key(folder / f"{name}.key")


def load(folder: Path) -> Deployment:
    """Raises NotFound until the deployment is finished, Malformed for what no deployment wrote."""
    kept = _read(folder / DEPLOYMENT_FILE)
    if kept is None or "block" not in kept.get("vault", {}):
        raise NotFound(f"{folder} holds no finished deployment", hint="run: speedpay chain deploy")
    try:
        return Deployment(
            network=kept["network"],
            genesis=bytes.fromhex(kept["genesis"]),
            token=from_base58(kept["token"]["address"], "token.address"),
            vault=from_base58(kept["vault"]["address"], "vault.address"),
            operator=from_base58(kept["keys"][OPERATOR], "keys.operator"),
            guardian=from_base58(kept["keys"][GUARDIAN], "keys.guardian"),
            minter=from_base58(kept["keys"][MINTER], "keys.minter"),
            parameters=Parameters(**kept["parameters"]),
            block=kept["vault"]["block"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed("is not what a deployment writes", field=DEPLOYMENT_FILE) from error


def deploy(
    tron: Tron, folder: Path, keys: dict[str, ChainKey], parameters: Parameters, report: Report,
    timeout_s: float = 600.0,
) -> Deployment:  # fmt: skip
    """Deploys what the folder does not say is deployed. The operator's key pays for both contracts.

    Raises InvalidSetting when the folder's deployment was begun with other parameters, keys or on
    another chain; ChainRefused and ChainUnreachable as they come, and then another run goes on.
    """
    with held(folder / ".lock"):
        begun = {
            "version": VERSION, "network": tron.network.name, "genesis": tron.genesis.hex(),
            "parameters": asdict(parameters),
            "keys": {name: key.base58 for name, key in keys.items()},
        }  # fmt: skip
        kept = _read(folder / DEPLOYMENT_FILE) or begun
        for name, value in begun.items():
            if kept.get(name) != value:
                raise InvalidSetting(
                    f"a deployment with another {name} was begun in {folder}",
                    field=name, hint="give another folder",
                )  # fmt: skip
        operator, steps = keys[OPERATOR], _Steps(tron, folder / DEPLOYMENT_FILE, kept, timeout_s)
        token = steps.deployed(
            "token", operator, report,
            lambda: tron.prepare_deploy(
                operator.address, artifact.load(artifact.TOKEN),
                [keys[MINTER].address, parameters.cap], TOKEN_FEE_LIMIT_SUN,
            ),
        )  # fmt: skip
        arguments = [
            token, operator.address, keys[GUARDIAN].address, parameters.min_interval,
            parameters.delay, parameters.silence, parameters.deposit_grace,
        ]  # fmt: skip
        steps.deployed(
            "vault", operator, report,
            lambda: tron.prepare_deploy(
                operator.address, artifact.load(artifact.VAULT), arguments, VAULT_FEE_LIMIT_SUN
            ),
        )  # fmt: skip
    return load(folder)


@dataclass(frozen=True, slots=True)
class _Steps:
    """``kept``: what the file says; every change is written before anything follows from it."""

    tron: Tron
    file: Path
    kept: dict[str, Any]
    timeout_s: float

    def deployed(
        self, name: str, key: ChainKey, report: Report, prepare: Callable[[], Unsigned]
    ) -> bytes:
        """The contract's address, once it is there for good."""
        step = self.kept.setdefault(name, {})
        if "block" in step:
            return from_base58(step["address"], f"{name}.address")

        def store(text: str) -> None:
            step.clear()
            if text:
                step.update(signed=text, txid=Signed.from_stored(text).txid.hex())
            self.write()

        signed, receipt = carry(
            self.tron, key, prepare, step.get("signed"), store, timeout_s=self.timeout_s
        )
        address = deployed_address(signed, key.address)
        if receipt.contract != address:
            raise Malformed("is not where this transaction puts it", field=f"{name}.address")
        step.update(address=to_base58(address), block=receipt.block)
        self.write()
        report(name, signed.txid, receipt)
        return address

    def write(self) -> None:
        write_private(self.file, json.dumps(self.kept, indent=1).encode() + b"\n")


def _read(file: Path) -> dict[str, Any] | None:
    try:
        content = read_private(file)
    except NotFound:
        return None
    try:
        kept = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Malformed("is not JSON", field=str(file)) from error
    if not isinstance(kept, dict) or kept.get("version") != VERSION:
        raise Malformed(f"is not a deployment of version {VERSION}", field=str(file))
    return kept
