"""Who learns what about a user: tables, which ``speedpay privacy`` prints and tests hold against the code.

Each row says one thing in a sentence and names what carries it. ``tests/unit/client/test_privacy.py``
compares the names with the fields of the peer messages, of the ledger's calls and answers, with the
columns of its database and the calldata of the contracts: what is new somewhere is explained here, or
the test fails. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Observer(StrEnum):
    PEER = "peer"
    NETWORK = "network"
    LEDGER = "ledger"
    CHAIN = "chain"
    TRACKER = "tracker"


#: As they are named to the user.
TITLES: dict[Observer, str] = {
    Observer.PEER: "A peer of a swarm",
    Observer.NETWORK: "Whoever watches your network",
    Observer.LEDGER: "The ledger's operator",
    Observer.CHAIN: "Whoever reads the chain",
    Observer.TRACKER: "A tracker, or a node of the DHT,",
}


@dataclass(frozen=True, slots=True)
class Row:
    """``carried_by``: "message: field field" one a line; empty for what needs no field of ours."""

    says: str
    carried_by: str = ""

    def fields(self) -> tuple[str, ...]:
        """``message.field`` of each."""
        found: list[str] = []
        for line in self.carried_by.split("\n"):
            holder, _, names = line.strip().partition(":")
            found += [f"{holder}.{name}" for name in names.split()]
        return tuple(found)


KNOWS: dict[Observer, tuple[Row, ...]] = {
    Observer.PEER: (
        Row(
            "Your IP address and port, and that you want or have this torrent: as in all of BitTorrent."
        ),
        Row(
            "That you use speedpay, with which ledger, and one key of this connection.",
            """hello: versions ledger network ephemeral
               error: code reference""",
        ),
        Row(
            "If you sell: your price, the least escrow, the free share of your upload, how busy you are,"
            " and the key that is paid. That key is the same for all buyers of this torrent and whenever you"
            " come back, so they can recognise you there; in another torrent it is another.",
            """ask: ask_id payee_key price classes min_escrow free_pool valid_until signature binding
               quote: bid_id price hold_kb expected_share load
               prospect: inquiry_id rates load uplink""",
        ),
        Row(
            "If you buy: what you offer, and roughly how much you still want (to a power of two).",
            """bid: bid_id price wanted_kb valid_s
               inquiry: inquiry_id prices""",
        ),
        Row(
            "If it sells to you or buys from you: the channel between you two, its escrow and the key that"
            " pays, which is fresh for each channel. While a channel is open, up to a day, you are known"
            " again by it when you come back.",
            """open: statement signature signed binding
               topup: statement signature
               statement: channel payer_key payee_key nonce money_class escrow expiry claim_s fee""",
        ),
        Row(
            "What was paid in that channel, and for how many bytes.",
            """voucher: channel cumulative signature verified_bytes refused_bytes
               ack: channel cumulative window
               pause: channel cumulative byte_count
               resume: channel cumulative byte_count
               stop: channel cumulative byte_count
               demand: channel salt commitment
               receipt: channel cumulative byte_count commitment time signature""",
        ),
        Row(
            "If you have published your history: which account is yours, by the amounts and times of what"
            " you traded with it."
        ),
        Row(
            "The newest heads of the ledger that you have seen, which are the same for everybody.",
            """head: head signature response_key not_before not_after root_key certificate other
               epoch_head: epoch closed_at chain_id vault root liabilities credit leaf_count journal_size
               epoch_head: journal_root deposit_seq file prev""",
        ),
    ),
    Observer.NETWORK: (
        Row(
            "The addresses of your peers and of your ledger, and when and how much you exchange with each."
        ),
        Row(
            "Of peers: which torrent it is, and that you use speedpay with which ledger, unless the"
            " connection is encrypted. Payment messages after hello are sealed: it sees when they pass, and"
            " their length in steps of 64 bytes."
        ),
        Row(
            "Of the ledger: all that you ask it and that it answers, your account and balance too, while its"
            " address begins with http://. Requests are signed, not hidden."
        ),
    ),
    Observer.LEDGER: (
        Row(
            "Your account, its keys, and when it was opened and asked. Of your IP address nothing is stored"
            " but a keyed hash of its block when you open the account, for two days; while you ask, it is"
            " seen.",
            """accounts: id opened_at
               account_keys: public_key account added_at
               handovers: old_key new_key account payout left_payout given consent time
               openings: block day count
               OpenAccount: public_key
               HandOver: old_key consent given
               Consent: account public_key payout signature
               OpenedAccount: account granted
               headers: speedpay-account speedpay-time speedpay-key speedpay-signature
               GET: /v1/ledger
               POST: /v1/accounts /v1/accounts/{account}/key""",
        ),
        Row(
            "What you hold, and every transfer of your account with its time and amount; whom you send to.",
            """balances: account class balance
               transfers: sequence time kind debit credit class amount reference prev hash
               idempotency: account key request_hash status answer time
               refusals: account key request_hash answer time
               Send: to money_class amount
               Balance: token credit token_in_escrow credit_in_escrow journal_head time
               History: entries before
               HistoryEntry: sequence time kind money_class amount incoming other reference
               JournalHead: sequence hash
               Inclusion: entry salt path
               GET: /v1/accounts/{account}/balance /v1/accounts/{account}/history
               GET: /v1/journal/inclusion/{number}
               POST: /v1/transfers""",
        ),
        Row(
            "Every channel that you open: its two keys, escrow, and what was paid and when; once it is"
            " redeemed, which account was paid. So it knows which accounts pay which, and that channels to"
            " one payee key are about one torrent of one seller, though not which torrent.",
            """channels: id payer payer_key payee_key nonce class escrow paid paid_before signed refunded
               channels: voucher payee assignment state expiry claim_s claim_from fee_ppm
               OpenChannel: payer_key payee_key nonce money_class escrow lifetime_s
               TopUp: amount lifetime_s
               Redemption: channel voucher assignment close
               ChannelView: signed_statement state paid refunded voucher
               Outcome: channel amount fee refund paid state error
               GET: /v1/channels/{channel}
               POST: /v1/channels /v1/channels/{channel}/topups /v1/channels/{channel}/voucher
               POST: /v1/redemptions""",
        ),
        Row(
            "Your address on the chain, what you brought from there and took out.",
            """payouts: account payout salt_key public_key signature named_at
               deposits: seq txid log_index account sender amount total block transfer
               withdrawals: number account key amount released asked_at epoch state
               claims: txid log_index account payout amount paid epoch block
               NamePayout: address salt_key public_key signature
               Withdraw: amount
               Ordered: number journal_head
               Withdrawal: number amount asked_at state released epoch position ahead expected
               Withdrawals: withdrawals withdrawable claimed limit interval_s trouble
               DepositView: seq txid log_index sender amount block
               Deposits: deposits next_block
               GET: /v1/accounts/{account}/withdrawals /v1/accounts/{account}/deposits
               POST: /v1/accounts/{account}/payout /v1/withdrawals""",
        ),
        Row(
            "Your leaf of each epoch: balance and payout address behind a salt.",
            """dirty: account
               leaves: position account payout withdrawable balance salt version
               former_leaves: epoch position payout withdrawable balance salt version
               GET: /v1/accounts/{account}/proof""",
        ),
        Row(
            "Whether you let everybody read your history: kinds, amounts and times, no channels, and other"
            " accounts only when they are published too.",
            """published: account since
               Publish: on
               POST: /v1/accounts/{account}/publication""",
        ),
        Row(
            "Of nobody in particular: its own keys, epochs, trees and anchors.",
            """ledger: id network ledger_id uptime_s beat_at
               epochs: number closed_at root liabilities credit leaf_count journal_size journal_root
               epochs: deposit_seq prev head body signature response_key node state txid block
               certificates: response_key not_after not_before root_key signature
               tree_nodes: id body
               former_nodes: epoch node
               journal_nodes: level position hash
               chain_binding: id chain_id vault token
               chain_watch: id next_block solid_time delay_s low_trx frozen_epoch alarms seen_at
               anchor_attempts: epoch attempt txid raw signed_at expires_at state ended_at reason
               anchors: epoch time
               LedgerIdentity: network ledger_id certificates revocations welcome fee_ppm claim_s time chain
               BoundVault: chain_id vault token
               EpochView: head state txid block publisher
               ChainHealth: closed anchor age_s interval_s limit queued queue_length next_block low_trx
               ChainHealth: frozen_epoch alarms
               LastAnchor: epoch txid block time
               GET: /v1/epochs/latest /v1/epochs/{number} /v1/journal/consistency /v1/ledger/chain""",
        ),
    ),
    Observer.CHAIN: (
        Row(
            "If you fund: your address, the amount, and the account, so that the two are linked.",
            """approve: spender amount
               deposit: amount account
               Deposited: seq account from amount total
               refund: seq
               Refunded: seq to amount
               Approval: owner spender value""",
        ),
        Row(
            "If you withdraw: the account, the address, the amount, and what its leaf held at that epoch."
            " From then on its place in the tree is known, and with it the sum of its leaf in every epoch's"
            " file.",
            """claim: account payout withdrawable balance salt epoch position hashes sums
               Claimed: account payout amount paid epoch""",
        ),
        Row(
            "If it is the node that you ask: your IP address, with what you look up and send.",
        ),
        Row(
            "What moves at your address, as of any address.",
            """transfer: to amount
               transferFrom: from to amount
               Transfer: from to value""",
        ),
        Row(
            "Of nobody in particular: the sum of what the ledger owes, one root an epoch, who runs it.",
            """anchor: epoch root head liabilities journalSize depositSeq file
               Anchored: epoch root head liabilities journalSize depositSeq file chain
               Frozen: epoch depositSeq by
               proposeOperator: proposed
               OperatorProposed: by proposed acceptableFrom
               OperatorChanged: from to
               mint: to amount
               proposeMinter: proposed
               MinterProposed: by proposed
               MinterChanged: from to""",
        ),
    ),
    Observer.TRACKER: (
        Row(
            "Your IP address and port, and which torrents you announce: nothing of ours goes there."
        ),
    ),
}

KNOWS_NOT: dict[Observer, tuple[str, ...]] = {
    Observer.PEER: (
        "your account, its balance, or your channels with others: the keys that it sees are derived one by"
        " one, and by them nobody can tell that two are of one wallet. By your IP address they may.",
    ),
    Observer.NETWORK: ("what you pay a peer.",),
    Observer.LEDGER: (
        "what you download: no torrent, file name, size, byte count or price reaches it. But a peer that"
        " trades with you knows the torrent and the channel: if it and the ledger tell each other, they"
        " know both.",
    ),
    Observer.CHAIN: ("whom you pay, and for what: payments are inside the ledger.",),
    Observer.TRACKER: ("that you pay or are paid.",),
}
