"""The whole cycle on a real network: deploy, mint, deposit, anchor, verify, claim.

One account does everything but freeze, so one faucet is enough. The tree has one leaf that owes and one
that owes nothing; the delays are the shortest that the vault takes. Each step that costs is reported
with its txid, energy and TRX. Money of a test network only; the contracts are left behind.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from speedpay.chain import artifact
from speedpay.chain.answers import Receipt
from speedpay.chain.deploy import TOKEN_FEE_LIMIT_SUN, VAULT_FEE_LIMIT_SUN, Parameters
from speedpay.chain.keys import ChainKey
from speedpay.chain.token import Token
from speedpay.chain.transaction import Unsigned
from speedpay.chain.tron import Tron, deployed_address
from speedpay.chain.vault import Vault
from speedpay.errors import ChainRefused, ChainUnreachable, ProofBroken
from speedpay.proof.balance import Anchored, BalanceProof, verify
from speedpay.proof.head import NO_HEAD, EpochHead, SignedHead
from speedpay.proof.leaf import Leaf
from speedpay.proof.sum_tree import Node, path_of, root_of
from speedpay.signing import Domain, SigningKey, ledger_id
from speedpay.units import ZERO, Amount

#: All steps together take 290 TRX at 100 sun for one energy; the rest is room for a dearer day.
NEEDED_SUN = 400_000_000
DEV_FAUCET_SUN = 1_000_000_000
DEPOSITED = Amount(100_000_000)
WITHDRAWN = Amount(40_000_000)


@dataclass(frozen=True, slots=True)
class Step:
    """``txid``: 32 bytes, None for a step that only reads; ``fee_sun``: what was burned."""

    name: str
    said: str
    txid: bytes | None = None
    block: int | None = None
    energy: int = 0
    fee_sun: int = 0


Report = Callable[[Step], None]


def parameters_for(tron: Tron) -> Parameters:
    """Short, and above what blocks and a public node's lag need."""
    if tron.network.genesis is None:
        return Parameters(min_interval=1, delay=3, silence=600, deposit_grace=600)
    return Parameters(min_interval=20, delay=60, silence=3600, deposit_grace=3600)


def run(tron: Tron, key: ChainKey, report: Report, timeout_s: float = 300.0) -> None:
    """Raises ChainRefused when the account lacks TRX or a step fails, ProofBroken when what the chain
    then holds is not what was sent, ChainUnreachable."""
    tron.check_network()
    if tron.network.genesis is None:
        tron.dev_faucet(key.address, DEV_FAUCET_SUN)
    held_sun = tron.trx_balance(key.address)
    if held_sun < NEEDED_SUN:
        raise ChainRefused(
            f"{key.base58} holds {Amount(held_sun)} TRX, and the test needs {Amount(NEEDED_SUN)}",
            field="balance", hint=f"ask a faucet of {tron.network.name} for TRX",
        )  # fmt: skip
    _Cycle(tron, key, report, timeout_s).run()


@dataclass(frozen=True, slots=True)
class _Cycle:
    tron: Tron
    key: ChainKey
    report: Report
    timeout_s: float

    def run(self) -> None:
        tron, me, terms = self.tron, self.key.address, parameters_for(self.tron)
        token = Token(tron, self._deployed(artifact.TOKEN, [me, terms.cap], TOKEN_FEE_LIMIT_SUN))
        # Nobody holds its key: this vault is never frozen by a guardian.
        guardian = ChainKey(secrets.token_bytes(32)).address
        arguments = [
            token.address, me, guardian, terms.min_interval, terms.delay, terms.silence,
            terms.deposit_grace,
        ]  # fmt: skip
        vault = Vault(tron, self._deployed(artifact.VAULT, arguments, VAULT_FEE_LIMIT_SUN))

        self._sent("mint", f"{DEPOSITED} tok", token.prepare_mint(me, me, DEPOSITED.utok))
        approve = token.prepare_approve(me, vault.address, DEPOSITED.utok)
        self._sent("approve", f"{DEPOSITED} tok to the vault", approve)
        account = secrets.token_bytes(16)
        deposit = vault.prepare_deposit(me, DEPOSITED, account)
        receipt = self._sent("deposit", f"{DEPOSITED} tok", deposit)
        (made,) = vault.deposits_in(receipt)
        _expect("deposit", (made.seq, made.account, made.amount), (1, account, DEPOSITED))

        proof, signed_head, domain, ledger = self._closed(vault, account)
        head_hash = signed_head.head.hash(domain)
        anchor = vault.prepare_anchor(me, signed_head.head, head_hash)
        receipt = self._sent("anchor", "epoch 1", anchor)
        anchored = self._final(vault, receipt)

        def verified(proof: BalanceProof) -> Amount:
            return verify(
                proof, signed_head, anchored, domain=domain, response_key=ledger.public,
                chain_id=tron.chain_id, vault=vault.address, account=account, payout=me,
                at_least=DEPOSITED,
            )  # fmt: skip

        total = verified(proof)
        self.report(Step("verify", f"{total} tok proved by block {anchored.block}"))
        self._until_final(vault, anchored)
        # Only now: before the delay is over, the vault refuses the truth as well.
        self._refused(vault, replace(proof, balance=proof.balance + Amount(1)), verified)
        before = token.balance_of(me)
        self._sent("claim", f"{WITHDRAWN} tok", vault.prepare_claim(me, proof))
        _expect("claim", token.balance_of(me) - before, WITHDRAWN.utok)
        _expect("claim", vault.paid_to(account), WITHDRAWN)

    def _deployed(self, name: str, arguments: list[object], bound_sun: int) -> bytes:
        unsigned = self.tron.prepare_deploy(
            self.key.address, artifact.load(name), arguments, bound_sun
        )
        receipt = self._sent(f"deploy {name.lower()}", f"{name}", unsigned)
        address = deployed_address(unsigned, self.key.address)
        _expect("deploy", receipt.contract, address)
        return address

    def _sent(self, name: str, said: str, unsigned: Unsigned) -> Receipt:
        signed = unsigned.sign(self.key)
        self.tron.broadcast(signed)
        receipt = self.tron.wait(signed, timeout_s=self.timeout_s)
        self.report(Step(name, said, signed.txid, receipt.block, receipt.energy, receipt.fee_sun))
        return receipt

    def _closed(
        self, vault: Vault, account: bytes
    ) -> tuple[BalanceProof, SignedHead, Domain, SigningKey]:
        """Epoch 1 of a ledger that lives as long as this test."""
        tron, me = self.tron, self.key.address
        ledger = SigningKey(secrets.token_bytes(32))
        domain = Domain(tron.network.name, ledger_id(ledger.public))
        salt, rest = secrets.token_bytes(32), Amount(DEPOSITED.utok - WITHDRAWN.utok)
        chain_id, its = tron.chain_id, vault.address
        leaves: list[Node] = [
            Leaf(chain_id, its, account, me, WITHDRAWN, rest, salt).node(),
            Leaf(chain_id, its, bytes(16), bytes(20), ZERO, ZERO, secrets.token_bytes(32)).node(),
        ]
        root = root_of(leaves)
        proof = BalanceProof(1, 0, account, me, WITHDRAWN, rest, salt, path_of(leaves, 0))
        head = EpochHead(
            epoch=1, closed_at=int(time.time()), chain_id=chain_id, vault=its, root=root.hash,
            liabilities=Amount(root.sum), credit=ZERO, leaf_count=len(leaves), journal_size=1,
            journal_root=hashlib.sha256(b"\x00").digest(), deposit_seq=1, file=bytes(20),
            prev=NO_HEAD,
        )  # fmt: skip
        return proof, SignedHead.sign(ledger, domain, head), domain, ledger

    def _final(self, vault: Vault, receipt: Receipt) -> Anchored:
        """The anchor as the chain holds it for good."""
        until = time.monotonic() + self.timeout_s
        while self.tron.receipt(receipt.txid, solid=True) is None:
            if time.monotonic() > until:
                raise ChainUnreachable(f"{receipt.txid.hex()} is not final")
            self.tron.pause()
        from_event = vault.anchor_of(1, receipt.txid)
        from_ring = vault.anchor_of(1)
        _expect("anchor", (from_ring.root, from_ring.head), (from_event.root, from_event.head))
        return from_event

    def _until_final(self, vault: Vault, anchored: Anchored) -> None:
        """Until the vault pays by this anchor: its time and the delay."""
        claimable = (anchored.time or 0) + vault.terms().delay
        until = time.monotonic() + self.timeout_s
        while self.tron.head().time_s < claimable:
            if time.monotonic() > until:
                raise ChainUnreachable("the chain's clock stands still")
            self.tron.pause()

    def _refused(
        self, vault: Vault, lie: BalanceProof, verified: Callable[[BalanceProof], Amount]
    ) -> None:
        """A proof of one µtok more: refused by our check, and by the contract before it costs."""
        try:
            verified(lie)
        except ProofBroken:
            pass
        else:
            raise ProofBroken("a proof of more than is owed was accepted", field="proof")
        try:
            vault.prepare_claim(self.key.address, lie)
        except ChainRefused as error:
            self.report(Step("lie", f"one µtok more is refused by proof and vault ({error.field})"))
        else:
            raise ProofBroken("the vault would pay more than is owed", field="vault")


def _expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise ProofBroken(f"the chain holds {found}, not {expected}", field=what)
