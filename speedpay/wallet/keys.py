"""Twelve words, and every key of a user derived from them.

::

    words ── BIP-39 ── seed ── BIP-32 ─┬─ m/44'/195'/0'/0/0   payout address on the chain
                                       ├─ m/44'/195'/1'       identity: the account at the ledger,
                                       ├─ m/44'/195'/1'/n'    and after its n-th change of key
                                       └─ m/44'/195'/2'       root of the pseudonyms
                                             ├─ HMAC-SHA256   one key a swarm and peer
                                             └─ HMAC-SHA256   one salt key a ledger

Peers see pseudonyms only. A pseudonym comes from the root by HMAC, not by BIP-32, because a swarm
has a 20- or 32-byte name and BIP-32 indices have 31 bits: truncated names would collide. HMAC is a
pseudo-random function, so two pseudonyms tell nothing of each other, and the words alone are
enough to make all of them again.

Changed identity keys are hardened: whoever has stolen one, which is why one changes it, can compute
neither the next from it nor the one before.

The salt key is no key of a curve: owner and ledger derive from it the salts that hide a leaf of the
anchored tree. The owner makes it of the words, so that a leaf can be made again from them.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata

from mnemonic import Mnemonic

from speedpay.chain.keys import ChainKey
from speedpay.errors import InvalidSetting, Malformed
from speedpay.signing import HASH_BYTES, SigningKey
from speedpay.wallet.derivation import private_key

SEED_BYTES = 64
_PAYOUT = "m/44'/195'/0'/0/0"
_IDENTITY = "m/44'/195'/1'"
_PSEUDONYMS = "m/44'/195'/2'"
_ENTROPY_BITS_OF_WORDS = {12: 128, 15: 160, 18: 192, 21: 224, 24: 256}
_MAX_PEER_TAG_BYTES = 255
_ENGLISH = "english"


def new_words(count: int = 12) -> str:
    """Fresh words from the system's randomness."""
    words: str = Mnemonic(_ENGLISH).generate(_ENTROPY_BITS_OF_WORDS[count])
    return words


def seed_from_words(text: str) -> bytes:
    """The 64-byte seed of BIP-39, without a BIP-39 passphrase.

    Forgives case and spacing. Raises InvalidSetting without repeating any word: the message may
    end in a log.
    """
    words = unicodedata.normalize("NFKD", text).lower().split()
    if len(words) not in _ENTROPY_BITS_OF_WORDS:
        raise InvalidSetting(f"must be 12, 15, 18, 21 or 24 words, not {len(words)}", field="words")
    book = Mnemonic(_ENGLISH)
    known = set(book.wordlist)
    for position, word in enumerate(words, start=1):
        if word not in known:
            raise InvalidSetting(f"word {position} is not in the BIP-39 list", field="words")
    if not book.check(" ".join(words)):
        raise InvalidSetting(
            "the checksum does not match: a word is wrong or two are swapped", field="words"
        )
    return Mnemonic.to_seed(" ".join(words))


class Keys:
    """All keys of one user. It never shows a secret: not in repr, not in an exception."""

    __slots__ = ("_pseudonyms", "chain", "identity", "payout")

    def __init__(
        self, payout: SigningKey, chain: ChainKey, identity: SigningKey, pseudonyms: bytes
    ) -> None:
        # One secret: ``payout`` signs statements of ours, each under its kind, ``chain`` transactions.
        self.payout = payout
        self.chain = chain
        self.identity = identity
        self._pseudonyms = pseudonyms

    @classmethod
    def from_seed(cls, seed: bytes, changes: int = 0) -> Keys:
        """``changes``: how often the account's key has been changed."""
        if len(seed) != SEED_BYTES:
            raise Malformed(f"must be {SEED_BYTES} bytes", field="seed")
        payout = private_key(seed, _PAYOUT)
        return cls(
            SigningKey(payout),
            ChainKey(payout),
            SigningKey(private_key(seed, f"{_IDENTITY}/{changes}'" if changes else _IDENTITY)),
            private_key(seed, _PSEUDONYMS),
        )

    def channel_key(self, infohash: bytes, peer_tag: bytes) -> SigningKey:
        """The payer's key of a channel: fresh per swarm and peer.

        ``peer_tag`` is whatever tells this peer from the others, at most 255 bytes; the peer's
        payee key is the natural choice, as it outlives a connection.
        """
        if len(peer_tag) > _MAX_PEER_TAG_BYTES:
            raise Malformed(f"must be at most {_MAX_PEER_TAG_BYTES} bytes", field="peer_tag")
        return self._pseudonym(b"channel", infohash, peer_tag)

    def payee_key(self, infohash: bytes) -> SigningKey:
        """The key that is paid in this swarm: the same for all its payers, another in the next."""
        return self._pseudonym(b"payee", infohash, b"")

    def salt_key(self, ledger_id: bytes) -> bytes:
        """32 bytes shared with that ledger, another at each: HMAC-SHA256(root, "speedpay/v1/salt-key" 0
        ledger id). No pseudonym's message begins so."""
        if len(ledger_id) != HASH_BYTES:
            raise Malformed(f"must be {HASH_BYTES} bytes", field="ledger_id")
        message = b"speedpay/v1/salt-key\x00" + ledger_id
        return hmac.digest(self._pseudonyms, message, hashlib.sha256)

    def _pseudonym(self, label: bytes, infohash: bytes, tag: bytes) -> SigningKey:
        """HMAC-SHA256(root, "speedpay/v1/pseudonym/<label>" 0 len(infohash) infohash len(tag) tag i)

        with i = 0, 1, … (one byte) until the result is a valid secret. Retrying rather than
        reducing keeps the keys uniform; a retry has a chance of 2^-127, so i is 0 in practice.
        """
        if len(infohash) not in (20, 32):
            raise Malformed("must be 20 or 32 bytes", field="infohash")
        message = (
            b"speedpay/v1/pseudonym/" + label + b"\x00"
            + bytes([len(infohash)]) + infohash + bytes([len(tag)]) + tag
        )  # fmt: skip
        for attempt in range(256):
            secret = hmac.digest(self._pseudonyms, message + bytes([attempt]), hashlib.sha256)
            try:
                return SigningKey(secret)
            except Malformed:
                continue
        raise AssertionError("256 HMACs in a row lay outside the curve's order")

    def __repr__(self) -> str:
        return f"Keys(identity={self.identity.public.hex()})"
