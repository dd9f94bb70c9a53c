"""A token and a vault on one back end, called by their ABI, and trees to anchor.

``Contract.send`` and ``view`` take names and plain values: ints, ``bytes`` of the right size, lists. A
revert comes back as ``Refused`` with the error's name and arguments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from speedpay.chain.abi import decode, decode_event, encode, encode_call, selector, topic
from speedpay.proof.leaf import Leaf
from speedpay.proof.sum_tree import EMPTY, Node, path_of, root_of
from speedpay.units import Amount
from tests.contracts.backends import CHAIN_ID, Backend, Done, Reverted

ARTIFACTS = Path(__file__).resolve().parent.parent.parent / "speedpay/chain/artifacts"

OPERATOR, GUARDIAN, MINTER = b"\x0a" * 20, b"\x0b" * 20, b"\x0c" * 20
ALICE, BOB, CAROL, EVE = b"\xa1" * 20, b"\xb0" * 20, b"\xca" * 20, b"\xee" * 20
ACCOUNT_A, ACCOUNT_B, ACCOUNT_C = b"account of alice", b"account of bob..", b"account of carol"
CAP = 2**63 - 1


@dataclass(frozen=True)
class Times:
    """Seconds. Seven intervals are more than twice the delay, as the constructor demands."""

    min_interval: int = 600
    delay: int = 1_800
    silence: int = 86_400
    deposit_grace: int = 900


class Refused(Exception):
    """A custom error of a contract: its name, its arguments."""

    def __init__(self, name: str, arguments: tuple[Any, ...]) -> None:
        super().__init__(f"{name}{arguments}")
        self.name, self.arguments = name, arguments


@contextmanager
def refused(name: str, *arguments: Any) -> Iterator[None]:
    """The block must be refused by exactly this error; arguments are compared when any is given."""
    with pytest.raises(Refused) as caught:
        yield
    assert caught.value.name == name, caught.value
    if arguments:
        assert caught.value.arguments == arguments


@cache
def artifact(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ARTIFACTS / f"{name}.json").read_text())
    return loaded


def _signature(entry: dict[str, Any]) -> str:
    return f"{entry['name']}({','.join(_types(entry['inputs']))})"


def _types(values: list[dict[str, Any]]) -> list[str]:
    return [value["type"] for value in values]


@dataclass(frozen=True)
class Sent:
    """What a transaction did: its events by name, in order, and the energy it took."""

    events: list[tuple[str, dict[str, Any]]]
    energy: int

    def event(self, name: str) -> dict[str, Any]:
        found = [values for known, values in self.events if known == name]
        assert len(found) == 1, self.events
        return found[0]


class Contract:
    def __init__(
        self, backend: Backend, code: str, abi: list[dict[str, Any]], *made_with: Any
    ) -> None:
        by_kind: dict[str, list[dict[str, Any]]] = {}
        for entry in abi:
            by_kind.setdefault(entry["type"], []).append(entry)
        self._functions = {entry["name"]: entry for entry in by_kind.get("function", [])}
        self._errors = {selector(_signature(entry)): entry for entry in by_kind.get("error", [])}
        self._events = {topic(_signature(entry)): entry for entry in by_kind.get("event", [])}
        self._backend = backend
        wanted = _types(by_kind["constructor"][0]["inputs"]) if "constructor" in by_kind else []
        with self._named_errors():
            self.address, done = backend.deploy(bytes.fromhex(code) + encode(wanted, made_with))
        #: What making it did.
        self.made = self._sent(done)

    def send(self, name: str, *arguments: Any, by: bytes) -> Sent:
        return self._sent(self._call(by, name, arguments))

    def _sent(self, done: Done) -> Sent:
        return Sent(
            [self._event(log) for log in done.logs if log.address == self.address], done.energy
        )

    def view(self, name: str, *arguments: Any) -> Any:
        """The one value, or a tuple of them."""
        done = self._call(b"\x01" * 20, name, arguments)
        values = decode(_types(self._functions[name]["outputs"]), done.returned)
        return values[0] if len(values) == 1 else values

    def _call(self, by: bytes, name: str, arguments: Sequence[Any]) -> Done:
        data = encode_call(_signature(self._functions[name]), arguments)
        with self._named_errors():
            return self._backend.call(by, self.address, data)

    def _event(self, log: Any) -> tuple[str, dict[str, Any]]:
        entry = self._events[log.topics[0]]
        indexed = [value["indexed"] for value in entry["inputs"]]
        values = decode_event(_signature(entry), indexed, log.topics, log.data)
        names = [value["name"] for value in entry["inputs"]]
        return entry["name"], dict(zip(names, values, strict=True))

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except Reverted as reverted:
            entry = self._errors.get(reverted.data[:4])
            if entry is None:
                # Errors of another contract, such as the token's seen through the vault.
                raise Refused(reverted.data[:4].hex() or "nothing", ()) from None
            arguments = decode(_types(entry["inputs"]), reverted.data[4:])
            raise Refused(entry["name"], arguments) from None


@dataclass(frozen=True)
class Tree:
    """The leaves of one epoch. ``claim`` gives the arguments of ``Vault.claim`` for one of them."""

    leaves: tuple[Leaf, ...]

    @property
    def root(self) -> Node:
        return root_of([leaf.node() for leaf in self.leaves])

    def claim(self, position: int, epoch: int) -> list[Any]:
        path = path_of([leaf.node() for leaf in self.leaves], position)
        leaf = self.leaves[position]
        return [
            leaf.account, leaf.payout, leaf.withdrawable.utok, leaf.balance.utok, leaf.salt,
            epoch, position, [node.hash for node in path], [node.sum for node in path],
        ]  # fmt: skip


#: Where each argument stands in a claim, for tests that change one of them.
CLAIM = {
    name: place
    for place, name in enumerate(
        [
            "account",
            "payout",
            "withdrawable",
            "balance",
            "salt",
            "epoch",
            "position",
            "hashes",
            "sums",
        ]
    )
}


def changed(claim: list[Any], **values: Any) -> list[Any]:
    copy = list(claim)
    for name, value in values.items():
        copy[CLAIM[name]] = value
    return copy


@dataclass
class Deployed:
    """``vault`` and ``token`` may be any contracts with these functions: a planted bug, a hostile token."""

    backend: Backend
    token: Contract
    vault: Contract
    times: Times = field(default_factory=Times)

    @classmethod
    def fresh(
        cls, backend: Backend, times: Times | None = None, **kinds: dict[str, Any]
    ) -> Deployed:
        """``token``, ``vault``: artefacts (``abi``, ``bytecode``) other than those checked in."""
        times = times or Times()
        token_kind = kinds.get("token", artifact("Token"))
        vault_kind = kinds.get("vault", artifact("Vault"))
        token = Contract(backend, token_kind["bytecode"], token_kind["abi"], MINTER, CAP)
        vault = Contract(
            backend, vault_kind["bytecode"], vault_kind["abi"], token.address, OPERATOR, GUARDIAN,
            times.min_interval, times.delay, times.silence, times.deposit_grace,
        )  # fmt: skip
        return cls(backend, token, vault, times)

    # ---------------------------------------------------------------------------------------- money

    def deposit(self, amount: int, account: bytes = ACCOUNT_A, by: bytes = ALICE) -> Sent:
        """Mints, approves and deposits."""
        self.token.send("mint", by, amount, by=MINTER)
        self.token.send("approve", self.vault.address, amount, by=by)
        return self.vault.send("deposit", amount, account, by=by)

    def held(self, holder: bytes | None = None) -> int:
        """µtok of a holder; of the vault without one."""
        held: int = self.token.view("balanceOf", holder or self.vault.address)
        return held

    # ---------------------------------------------------------------------------------------- epochs

    def leaf(
        self,
        account: bytes = ACCOUNT_A,
        payout: bytes = ALICE,
        withdrawable: int = 0,
        balance: int = 0,
        *,
        vault: bytes | None = None,
        chain_id: int = CHAIN_ID,
    ) -> Leaf:
        return Leaf(
            chain_id, vault or self.vault.address, account, payout,
            Amount(withdrawable), Amount(balance), b"\x5a" * 32,
        )  # fmt: skip

    def anchor(self, tree: Tree | None = None, *, by: bytes = OPERATOR, **values: Any) -> Sent:
        """Anchors the next epoch over the tree, covering all deposits, or with other ``values``."""
        root = tree.root if tree else EMPTY
        arguments = {
            "epoch": self.vault.view("lastEpoch") + 1,
            "root": root.hash,
            "head": b"\x4e" * 32,
            "liabilities": root.sum,
            "journal_size": 0,
            "deposit_seq": self.vault.view("depositCount"),
            "file": b"\xf1" * 20,
        } | values
        return self.vault.send("anchor", *arguments.values(), by=by)

    def anchor_later(self, tree: Tree | None = None, **values: Any) -> Sent:
        self.wait(self.times.min_interval)
        return self.anchor(tree, **values)

    def final(self, tree: Tree) -> int:
        """Anchors the tree and waits until it can be claimed against; its epoch."""
        self.anchor_later(tree)
        self.wait(self.times.delay)
        epoch: int = self.vault.view("lastEpoch")
        return epoch

    def wait(self, seconds: int) -> None:
        self.backend.now_s += seconds
