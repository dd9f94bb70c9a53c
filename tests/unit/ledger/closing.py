"""A desk whose ledger closes epochs for a vault that exists only by name; proofs are checked."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from speedpay.ledger.epochs import Epoch
from speedpay.ledger.keeper import Keeper
from speedpay.ledger.leaves import Vault
from speedpay.ledger_api import calls, epochs
from speedpay.ledger_api.shapes import Send
from speedpay.proof.balance import Anchored, BalanceProof, verify
from speedpay.units import Amount
from tests.unit.ledger.desk import TOKEN, Desk, Person, fresh

CHAIN_ID = 0xC0FFEE
VAULT = Vault(CHAIN_ID.to_bytes(32), os.urandom(20), os.urandom(20))


@dataclass
class Closing(Desk):
    vault: Vault = field(default=VAULT)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.keeper = self.new_keeper()
        self.keeper.bind(self.vault)

    def new_keeper(self) -> Keeper:
        service = self.service
        return Keeper(self.folder, service.database, service.keys, service.now)

    def restart(self) -> None:
        self.service.close()
        super().__post_init__()
        self.keeper = self.new_keeper()

    def close(self) -> Epoch:
        """Close the next epoch and publish it."""
        return self.keeper.publish(self.close_only().number)

    def close_only(self) -> Epoch:
        return self.keeper.close(self.closed() + 1)

    def closed(self) -> int:
        return max((int(str(row[0])) for row in self.everything()["epochs"]), default=0)

    def send(self, payer: Person, payee: Person, utok: int) -> None:
        order = Send(payee.account, TOKEN, Amount(utok))
        self.ask(calls.send(payer.key, payer.account, order, fresh()))

    def proof(self, who: Person, number: int) -> BalanceProof | None:
        return self.ask(epochs.proof(who.key, who.account, number))

    def verified(self, who: Person, number: int) -> BalanceProof:
        """As a user would: the ledger's answers, and an anchor of the head that the ledger signed."""
        view, found = self.ask(epochs.epoch(number)), self.proof(who, number)
        assert found is not None
        head, certificate = view.head.signed.head, view.head.certificate
        certificate.check(self.service.domain, head.closed_at)
        anchored = Anchored(
            head.epoch, head.root, head.hash(self.service.domain), head.liabilities,
            head.journal_size, head.deposit_seq, head.file,
        )  # fmt: skip
        total = verify(
            found, view.head.signed, anchored, domain=self.service.domain,
            response_key=certificate.response_key, chain_id=CHAIN_ID, vault=self.vault.address,
            account=who.account,
        )  # fmt: skip
        assert total == found.total
        return found
