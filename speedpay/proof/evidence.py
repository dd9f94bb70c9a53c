"""The evidence file: what a user was told and what the chain holds, for anyone to check again.

``speedpay verify`` writes one whenever something does not match, and with ``--save`` also when all
does. It is JSON of at most ``MAX_EVIDENCE_BYTES``; bytes are lower-case hex, amounts decimal strings of
µtok, everything else as in the package's docstring. Reading is strict: two readers must never see two
different things in one file. ``scripts/verify_independent`` checks the same file without this package.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from speedpay.errors import BadSignature, Malformed, ProofBroken
from speedpay.proof.balance import Anchored, BalanceProof, broken, verify
from speedpay.proof.fields import Fields, parse
from speedpay.proof.head import EpochHead, SignedHead, contradiction
from speedpay.proof.leaf import ACCOUNT_BYTES, ADDRESS_BYTES
from speedpay.proof.sum_tree import HASH_BYTES
from speedpay.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Certificate, Domain
from speedpay.units import ZERO, Amount

VERSION = 1
MAX_EVIDENCE_BYTES = 16 * 1024
MAX_VERDICT_CHARS = 500
#: The verdict of a balance that is what it should be. Any other verdict is a sentence.
OK = "ok"


@dataclass(frozen=True, slots=True)
class CertifiedHead:
    """A signed head, and the certificate by which the ledger's root key answers for its signer."""

    signed: SignedHead
    certificate: Certificate

    def check(self, domain: Domain) -> EpochHead:
        """Raises ProofBroken unless ``domain``'s ledger signed the head, whenever that was."""
        try:
            # In force is judged when a head is fetched. Years later only the signatures count.
            self.certificate.check(domain, self.certificate.not_before)
            return self.signed.check(domain, self.certificate.response_key)
        except BadSignature as error:
            raise ProofBroken(error.message, field=error.field) from error


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is None was not to be had. ``other_head``: a second head that contradicts the first.

    ``account``, ``payout`` and ``at_least`` are what the user knew by himself, see ``balance.verify``.
    """

    domain: Domain
    chain_id: int
    vault: bytes
    account: bytes
    verdict: str
    proof: BalanceProof | None = None
    head: CertifiedHead | None = None
    anchor: Anchored | None = None
    other_head: CertifiedHead | None = None
    payout: bytes | None = None
    at_least: Amount = ZERO

    def check(self) -> Amount:
        """The one check, repeated from what is in the file; ``verdict`` is not believed.

        Raises ProofBroken. That the anchor is what the chain holds must be asked of a node.
        """
        if self.head is None:
            broken("head", "the ledger gave no signed head")
        head = self.head.check(self.domain)
        if self.other_head is not None:
            found = contradiction(head, self.other_head.check(self.domain), self.domain)
            if found:
                broken("other_head", found)
        if self.anchor is None:
            broken("anchor", f"the chain has no anchor of epoch {head.epoch}")
        if self.proof is None:
            broken("proof", f"the ledger gave no proof for this account in epoch {head.epoch}")
        return verify(
            self.proof, self.head.signed, self.anchor,
            domain=self.domain, response_key=self.head.certificate.response_key,
            chain_id=self.chain_id, vault=self.vault, account=self.account,
            payout=self.payout, at_least=self.at_least,
        )  # fmt: skip

    def to_json(self) -> bytes:
        """ASCII with line ends, for people as well."""
        made: dict[str, object] = {
            "version": VERSION,
            "network": self.domain.network,
            "ledger_id": self.domain.ledger_id.hex(),
            "chain_id": self.chain_id.to_bytes(32).hex(),
            "vault": self.vault.hex(),
            "account": self.account.hex(),
            "payout": _hex_or_none(self.payout),
            "at_least": self.at_least.to_wire(),
            "proof": None if self.proof is None else self.proof.to_bytes().hex(),
            "head": _head_to_json(self.head),
            "other_head": _head_to_json(self.other_head),
            "anchor": _anchor_to_json(self.anchor),
            "verdict": self.verdict[:MAX_VERDICT_CHARS],
        }
        return json.dumps(made, indent=1).encode("ascii") + b"\n"

    @classmethod
    def from_json(cls, text: bytes) -> Evidence:
        """Raises Malformed, with the field, for anything that ``to_json`` would not write."""
        fields = Fields(parse(text, MAX_EVIDENCE_BYTES, "evidence"), "evidence")
        if fields.integer("version") != VERSION:
            raise Malformed(f"is not {VERSION}", field="evidence.version")
        proof = fields.optional_hex("proof")
        head, other, anchor = (fields.optional(name) for name in ("head", "other_head", "anchor"))
        made = cls(
            Domain(fields.text("network", 32), fields.hex("ledger_id", HASH_BYTES)),
            int.from_bytes(fields.hex("chain_id", 32)),
            fields.hex("vault", ADDRESS_BYTES),
            fields.hex("account", ACCOUNT_BYTES),
            fields.text("verdict", MAX_VERDICT_CHARS),
            BalanceProof.from_bytes(proof) if proof is not None else None,
            _head_from_json(head) if head else None,
            _anchor_from_json(anchor) if anchor else None,
            _head_from_json(other) if other else None,
            fields.optional_hex("payout", ADDRESS_BYTES),
            fields.amount("at_least"),
        )
        fields.end()
        return made


def head_alone(
    head: CertifiedHead, domain: Domain, verdict: str, other: CertifiedHead | None = None
) -> Evidence:
    """What a head says by itself, or against another: about no account."""
    said = head.signed.head
    nobody = bytes(ACCOUNT_BYTES)
    return Evidence(domain, said.chain_id, said.vault, nobody, verdict, head=head, other_head=other)


def _hex_or_none(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _head_to_json(head: CertifiedHead | None) -> dict[str, object] | None:
    if head is None:
        return None
    certificate = head.certificate
    return {
        "body": head.signed.head.to_bytes().hex(),
        "signature": head.signed.signature.hex(),
        "response_key": certificate.response_key.hex(),
        "certificate": {
            "root_key": certificate.root_key.hex(),
            "not_before": certificate.not_before,
            "not_after": certificate.not_after,
            "signature": certificate.signature.hex(),
        },
    }


def _head_from_json(fields: Fields) -> CertifiedHead:
    body, signature = fields.hex("body"), fields.hex("signature", SIGNATURE_BYTES)
    response_key = fields.hex("response_key", PUBLIC_KEY_BYTES)
    inner = fields.optional("certificate")
    fields.end()
    if inner is None:
        fields.refuse("is missing", "certificate")
    certificate = Certificate(
        inner.hex("root_key", PUBLIC_KEY_BYTES), response_key, inner.integer("not_before"),
        inner.integer("not_after"), inner.hex("signature", SIGNATURE_BYTES),
    )  # fmt: skip
    inner.end()
    return CertifiedHead(SignedHead(EpochHead.from_bytes(body), signature), certificate)


def _anchor_to_json(anchor: Anchored | None) -> dict[str, object] | None:
    if anchor is None:
        return None
    return {
        "epoch": anchor.epoch,
        "root": anchor.root.hex(),
        "head": anchor.head.hex(),
        "liabilities": anchor.liabilities.to_wire(),
        "journal_size": anchor.journal_size,
        "deposit_seq": anchor.deposit_seq,
        "file": _hex_or_none(anchor.file),
        "time": anchor.time,
        "txid": _hex_or_none(anchor.txid),
        "block": anchor.block,
    }


def _anchor_from_json(fields: Fields) -> Anchored:
    made = Anchored(
        fields.integer("epoch"), fields.hex("root"), fields.hex("head"),
        fields.amount("liabilities"), fields.integer("journal_size"), fields.integer("deposit_seq"),
        fields.optional_hex("file"), fields.optional_integer("time"),
        fields.optional_hex("txid"), fields.optional_integer("block"),
    )  # fmt: skip
    fields.end()
    return made
