"""A wallet's files: its keystore, a transaction on its way, a payment, and proofs of its epochs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from unittest import mock

from speedpay.chain import protobuf
from speedpay.chain.answers import Receipt
from speedpay.chain.keys import ChainKey
from speedpay.chain.transaction import Signed, Unsigned
from speedpay.proof.evidence import CertifiedHead, Evidence
from speedpay.units import Amount
from speedpay.wallet import files, proofs
from speedpay.wallet.keystore import Keystore, Place
from speedpay.wallet.outbox import Job, Outbox
from speedpay.wallet.proofs import Proofs
from speedpay.wallet.receipts import NOTHING_GIVEN, Receipts
from speedpay.wallet.receipts import Receipt as Confirmed
from tests.crash.workload import NOW, Say, State, Workload
from tests.unit.proof.anchored import CHAIN_ID, VAULT, Epoch
from tests.vectors.generate import CERTIFICATE, DOMAIN

SEED, PASSPHRASE = bytes(range(64)), "correct horse"
PLACES = (
    Place("devnet", "http://127.0.0.1:1"),
    Place("devnet", "http://127.0.0.1:1", DOMAIN.ledger_id, bytes(16)),
)
KEY = ChainKey(hashlib.sha256(b"owner").digest())
WISH = {"to": "bob", "amount": "5"}
EPOCHS = 4
#: The oldest of the epochs is thrown away in the course of the work.
_KEPT = mock.patch.object(proofs, "KEPT", EPOCHS - 1)


def _transfer() -> Unsigned:
    value = {"owner_address": "41" + KEY.address.hex(), "to_address": "41" + "05" * 20, "amount": 5}
    raw_data = {
        "contract": [protobuf.parameter("TransferContract", value)],
        "ref_block_bytes": "dc40", "ref_block_hash": "30704b44b8a38ea9",
        "expiration": NOW * 1000, "timestamp": NOW * 1000,
    }  # fmt: skip
    txid = protobuf.transaction_id(raw_data)
    return Unsigned(txid, raw_data, protobuf.encode_raw(raw_data), NOW, 0, 0)


class _Chain:
    """It takes what it is sent, and says so; whatever it has taken is final."""

    def __init__(self, say: Say) -> None:
        self._say, self._taken = say, set[bytes]()

    def broadcast(self, signed: Signed) -> None:
        self._taken.add(signed.txid)
        self._say(f"sent {signed.txid.hex()}")

    def receipt(self, txid: bytes, *, solid: bool = False) -> Receipt | None:
        if txid not in self._taken:
            return None
        return Receipt(txid, 1, NOW, True, "SUCCESS", 0, 0, (), None, b"")

    def known(self, txid: bytes) -> bool:
        return txid in self._taken

    def expired(self, signed: Signed) -> bool:
        return False


def _evidence(number: int) -> Evidence:
    first = Epoch()
    epoch = first if number == 1 else first.with_head(epoch=number, prev=bytes([number] * 32))
    leaf = epoch.leaves[2]
    return Evidence(
        DOMAIN, CHAIN_ID, VAULT, leaf.account, "in order", epoch.proof(), CertifiedHead(epoch.signed,
        CERTIFICATE), epoch.anchor, payout=leaf.payout,
    )  # fmt: skip


EVIDENCE = [_evidence(number) for number in range(1, EPOCHS + 1)]


def _nothing(folder: Path) -> None:
    """There is no wallet yet."""


def _work(folder: Path, say: Say) -> None:
    keystore = Keystore(folder)
    if keystore.exists():
        unlocked = keystore.unlock(PASSPHRASE)
    else:
        unlocked = keystore.create(SEED, PASSPHRASE, PLACES[0], n=2**12)
    say("the words may be thrown away")
    if keystore.place() != PLACES[1]:
        keystore.update(unlocked, PLACES[1])
    say("the account is known")
    receipts = Receipts(folder / "a.receipts")
    for total in (10, 20):
        known = receipts.strongest(total, NOTHING_GIVEN)
        if known is None or known.total < Amount(total):
            receipts.keep(Confirmed(Amount(total), total, Amount(0), NOW + 100 * total))
        say(f"balance {total}")
    if not (folder / "paid").exists():
        outbox = _outbox(folder, say)
        job = outbox.job() or outbox.begin(WISH)
        outbox.carry(job, "transfer", _transfer)
        files.write(folder / "paid", b"")  # what the chain remembers of it
        say("paid")
    _outbox(folder, say).finish()
    kept = Proofs(folder, "a")
    with _KEPT:
        for evidence in EVIDENCE:
            assert evidence.head
            if (kept.epochs() or [0])[0] <= evidence.head.signed.head.epoch:
                kept.keep(evidence)
            kept.keep_seen(evidence)
            say(f"verified {evidence.head.signed.head.epoch}")


def _outbox(folder: Path, say: Say) -> Outbox:
    return Outbox(folder, "a.fund", _Chain(say), KEY, poll_s=0, clock=lambda: float(NOW))


def _job(folder: Path) -> Job | None:
    return _outbox(folder, lambda word: None).job()


def _state(folder: Path) -> State:
    """What whoever opens the files finds. Raises where one of them is damaged."""
    keystore, kept, job = Keystore(folder), Proofs(folder, "a"), _job(folder)
    seen = kept.seen()
    return {
        "place": keystore.place() if keystore.exists() else None,
        "receipts": Receipts(folder / "a.receipts")._read(),
        "job": None if job is None else job.to_json(),
        "paid": (folder / "paid").exists(),
        "epochs": {number: kept.of(number) for number in kept.epochs()},
        "seen": None if seen is None or seen.head is None else seen.head.signed.head.epoch,
    }


def _examine(folder: Path, heard: list[str]) -> None:
    """A wallet opens with its passphrase to its seed; what was sent is written down; proofs are whole."""
    keystore = Keystore(folder)
    if keystore.exists():
        assert keystore.unlock(PASSPHRASE)._seed == SEED
    job, found = _job(folder), _state(folder)
    sent = [word.removeprefix("sent ") for word in heard if word.startswith("sent ")]
    if sent and not found["paid"]:
        assert job is not None
        assert [Signed.from_stored(text).txid.hex() for text in job.signed.values()] == sent
    assert all(found["epochs"].values()), "a proof cannot be read"


_DURABLE: tuple[tuple[object, str], ...] = ((files, "write"), (files, "remove"))
WALLET = Workload("wallet", _nothing, _work, _state, _examine, _DURABLE)
