"""The words and keys of the standards come out, ours never change, and nothing shows a secret."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mnemonic import Mnemonic
from tronpy.keys import PublicKey

from speedpay.errors import InvalidSetting, Malformed
from speedpay.signing import SigningKey
from speedpay.wallet.derivation import private_key
from speedpay.wallet.keys import Keys, new_words, seed_from_words

ABANDON = "abandon " * 11 + "about"
ABANDON_SEED = bytes.fromhex(
    "5eb00bbddcf069084889a8ab9155568165f5c453ccb85e70811aaed6f6da5fc1"
    "9a5ac40b389cd370d086206dec8aa6c43daea6690f20ad3d8d48b2d2ce9e38e4"
)
SWARM = bytes(range(20))

# BIP-39's own vectors: entropy, words, seed with the BIP-39 passphrase "TREZOR".
BIP39 = [
    (
        "00" * 16,
        ABANDON,
        "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf1"
        "41630c7a3c4ab7c81b2f001698e7463b04",
    ),
    (
        "7f" * 16,
        "legal winner thank year wave sausage worth useful legal winner thank yellow",
        "2e8905819b8723fe2c1d161860e5ee1830318dbf49a83bd451cfb8440c28bd6fa457fe1296106559a3c80937a1c106"
        "9be3a3a5bd381ee6260e8d9739fce1f607",
    ),
    (
        "ff" * 16,
        "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo wrong",
        "ac27495480225222079d7be181583751e86f571027b0497b5b5d11218e0a8a13332572917f0f8e5a589620c6f15b11"
        "c61dee327651a14c34e18231052e48c069",
    ),
]


@pytest.mark.parametrize(("entropy", "words", "seed"), BIP39)
def test_the_vectors_of_bip39_come_out(entropy: str, words: str, seed: str) -> None:
    assert Mnemonic("english").to_mnemonic(bytes.fromhex(entropy)) == words
    assert Mnemonic.to_seed(words, "TREZOR").hex() == seed
    assert seed_from_words(words) == Mnemonic.to_seed(words)


def test_the_seed_of_twelve_words_is_the_one_other_wallets_compute() -> None:
    assert seed_from_words(ABANDON) == ABANDON_SEED


def test_the_payout_address_is_the_one_other_tron_wallets_show() -> None:
    keys = Keys.from_seed(ABANDON_SEED)
    uncompressed = PublicKey(_uncompressed(keys.payout.public))
    assert uncompressed.to_base58check_address() == "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH"
    assert keys.chain.base58 == "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH"
    assert keys.chain.public == keys.payout.public


def _uncompressed(compressed: bytes) -> bytes:
    import coincurve

    return coincurve.PublicKey(compressed).format(compressed=False)[1:]


def test_derived_keys_never_change() -> None:
    """Golden: a change here takes the money of everyone who restores from words."""
    keys = Keys.from_seed(ABANDON_SEED)
    assert {
        "payout": keys.payout.public.hex(),
        "identity": keys.identity.public.hex(),
        "channel": keys.channel_key(SWARM, b"peer").public.hex(),
        "channel, v2 swarm": keys.channel_key(bytes(range(32)), b"peer").public.hex(),
        "payee": keys.payee_key(SWARM).public.hex(),
        "salt key": keys.salt_key(bytes(32)).hex(),
    } == {
        "payout": "03ff21f8e64d3a3c0198edfbb7afdc79be959432e92e2f8a1984bb436a414b8edc",
        "identity": "0370f4a8d584d93dabc7b6c30f62607996fd4d0b4d782a9d22c97b5ba26b535340",
        "channel": "02e3b00e995be39b052f48626f553dcca0c6d9778b4b14fae3db521da89d6e501d",
        "channel, v2 swarm": "02d6337d871c5a9753a301804b8f1687e2b818deef13ba40a43ac7d889ad797870",
        "payee": "03c0485f2f2617caf225de870b229562598436d36a9fa3eae7f5ebc76e5f93412d",
        "salt key": "56db6851b062dbeb517ecb72f8121142bd11a0bec390a28bcb5b159e476d7e7e",
    }


def test_a_pseudonym_is_what_the_docstring_says() -> None:
    """Computed a second time from the description alone."""
    from speedpay.signing import SigningKey

    root = private_key(ABANDON_SEED, "m/44'/195'/2'")
    message = b"speedpay/v1/pseudonym/channel\x00" + b"\x14" + SWARM + b"\x04peer" + b"\x00"
    secret = hmac.new(root, message, hashlib.sha256).digest()
    assert (
        SigningKey(secret).public == Keys.from_seed(ABANDON_SEED).channel_key(SWARM, b"peer").public
    )


def test_a_salt_key_is_what_the_docstring_says_and_another_at_each_ledger() -> None:
    root = private_key(ABANDON_SEED, "m/44'/195'/2'")
    ledger = bytes(range(32))
    expected = hmac.new(root, b"speedpay/v1/salt-key\x00" + ledger, hashlib.sha256).digest()
    keys = Keys.from_seed(ABANDON_SEED)
    assert keys.salt_key(ledger) == expected
    assert keys.salt_key(bytes(32)) != expected
    assert expected.hex() not in repr(keys)
    with pytest.raises(Malformed, match="ledger_id"):
        keys.salt_key(bytes(31))


@given(
    st.lists(
        st.tuples(st.sampled_from([20, 32]).flatmap(lambda n: st.binary(min_size=n, max_size=n)),
                  st.binary(max_size=255)),
        min_size=2, max_size=4, unique=True,
    )
)  # fmt: skip
def test_swarms_and_peers_never_share_a_key(places: list[tuple[bytes, bytes]]) -> None:
    keys = Keys.from_seed(ABANDON_SEED)
    channel_keys = {keys.channel_key(swarm, peer).public for swarm, peer in places}
    payee_keys = {keys.payee_key(swarm).public for swarm, _ in places}
    assert len(channel_keys) == len(places)
    assert len(payee_keys) == len({swarm for swarm, _ in places})
    assert not channel_keys & payee_keys
    assert keys.identity.public not in channel_keys | payee_keys


@pytest.mark.parametrize("count", [12, 15, 18, 21, 24])
def test_new_words_make_a_wallet_and_are_new_each_time(count: int) -> None:
    first, second = new_words(count), new_words(count)
    assert len(first.split()) == count
    assert first != second
    assert Keys.from_seed(seed_from_words(first))


def test_case_and_spacing_of_words_do_not_matter() -> None:
    assert seed_from_words(f"  {ABANDON.upper().replace(' ', '  ')}\n") == ABANDON_SEED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not 0"),
        ("abandon " * 11, "not 11"),
        ("abandon " * 12, "checksum"),
        (ABANDON.replace("about", "secretword"), "word 12 is not in"),
        ("about " + "abandon " * 11, "checksum"),
        ("абандон " * 12, "word 1 is not in"),
        ("\x00" * 12, "not 1"),
    ],
)
def test_wrong_words_are_refused_without_repeating_them(text: str, message: str) -> None:
    with pytest.raises(InvalidSetting, match=message) as caught:
        seed_from_words(text)
    assert caught.value.field == "words"
    assert "abandon" not in str(caught.value)
    assert "secretword" not in str(caught.value)


@pytest.mark.parametrize("infohash", [b"", bytes(19), bytes(21), bytes(33)])
def test_a_swarm_without_a_whole_infohash_is_refused(infohash: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        Keys.from_seed(ABANDON_SEED).payee_key(infohash)
    assert caught.value.field == "infohash"


def test_a_peer_tag_above_255_bytes_is_refused() -> None:
    with pytest.raises(Malformed) as caught:
        Keys.from_seed(ABANDON_SEED).channel_key(SWARM, bytes(256))
    assert caught.value.field == "peer_tag"


def test_keys_show_no_secret() -> None:
    keys = Keys.from_seed(ABANDON_SEED)
    shown = repr(keys) + repr(keys.identity) + repr(keys.payout) + repr(keys.chain)
    for path in ("m/44'/195'/0'/0/0", "m/44'/195'/1'", "m/44'/195'/2'"):
        assert private_key(ABANDON_SEED, path).hex() not in shown


def test_a_changed_key_is_a_hardened_child_and_nothing_else_changes() -> None:
    keys = [Keys.from_seed(ABANDON_SEED, changes) for changes in range(3)]
    assert len({one.identity.public for one in keys}) == 3
    for changes in (1, 2):
        child = private_key(ABANDON_SEED, f"m/44'/195'/1'/{changes}'")
        assert keys[changes].identity.public == SigningKey(child).public
    assert len({one.payout.public for one in keys}) == 1
    assert len({one.payee_key(SWARM).public for one in keys}) == 1
    assert len({one.salt_key(bytes(32)) for one in keys}) == 1
