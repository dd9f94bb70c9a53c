"""The one file that holds the seed: encrypted, checked, and never half written.

Two lines and a checksum, all ASCII::

    {"speedpay_wallet":1,"network":…,"account":…,"scrypt":{…},"nonce":…}    in the clear
    <AES-256-GCM of the 64-byte seed, hex>                                  line 1 is its header
    sha256 <of the two lines above, with their line ends>

The key is scrypt(passphrase). The header is authenticated: whoever rewrites the ledger's address in
it makes the seed unreadable instead of sending us to another ledger. The checksum comes before the
key derivation, so that a damaged disk is never reported as a wrong passphrase, nor the reverse.
"""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from speedpay.errors import (
    AlreadyExists,
    InvalidSetting,
    KeystoreDamaged,
    KeystoreLocked,
    NotFound,
    SpeedpayError,
)
from speedpay.ledger_api.bound import BoundVault
from speedpay.wallet import files
from speedpay.wallet.keys import SEED_BYTES, Keys
from speedpay.wallet.tenure import FIRST, Hex16, HexAddress, StoredTenure, Tenure

SCRYPT_N = 2**17  # OWASP's first choice for scrypt with r=8, p=1: 128 MiB, about 0.3 s
_SCRYPT_R, _SCRYPT_P = 8, 1
# What we accept from a file. Above: 256 MiB, so that a planted file cannot eat the memory. Below:
# nothing weaker than what the tests write. A lower n in the header gives no attacker the seed, as
# another n is another key.
_MIN_N, _MAX_N = 2**12, 2**18
_SALT_BYTES, _NONCE_BYTES, _TAG_BYTES = 16, 12, 16
MAX_FILE_BYTES = 64 * 1024
MIN_PASSPHRASE, MAX_PASSPHRASE = 8, 1024

Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
HexNonce = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{24}\Z")]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the account is. ``ledger_id`` and ``account`` are None until the ledger answered."""

    network: str
    ledger_url: str
    ledger_id: bytes | None = None  # 32 bytes; once set, no other ledger is believed
    account: bytes | None = None  # 16 bytes
    chain: BoundVault | None = None  # once known, no other vault is believed
    tenure: Tenure = FIRST

    @property
    def has_account(self) -> bool:
        """Opened, and not given away since."""
        return self.account is not None and self.tenure.given_to is None


@dataclass(frozen=True, slots=True)
class Unlocked:
    """An opened keystore. Holds secrets, so it does not show them."""

    place: Place
    keys: Keys
    _seed: bytes = field(repr=False)
    _sealing_key: bytes = field(repr=False)
    _scrypt: _ScryptParameters = field(repr=False)

    def keys_after(self, changes: int) -> Keys:
        """As they are after that many changes of the account's key."""
        return Keys.from_seed(self._seed, changes)


class _ScryptParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    n: int
    r: int
    p: int
    salt: Hex16


class _Chain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    chain_id: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    vault: HexAddress
    token: HexAddress


# omit_defaults: a wallet from before there was a chain reads as the bytes that it was.
class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    speedpay_wallet: int
    network: Annotated[str, msgspec.Meta(max_length=32)]
    ledger_url: Annotated[str, msgspec.Meta(max_length=2048)]
    ledger_id: Hex32 | None
    account: Hex16 | None
    scrypt: _ScryptParameters
    nonce: HexNonce
    chain: _Chain | None = None
    tenure: StoredTenure | None = None

    def place(self) -> Place:
        return Place(
            self.network,
            self.ledger_url,
            bytes.fromhex(self.ledger_id) if self.ledger_id else None,
            bytes.fromhex(self.account) if self.account else None,
            self._bound_vault(),
            self.tenure.read(self.account) if self.tenure else FIRST,
        )

    def _bound_vault(self) -> BoundVault | None:
        found = self.chain
        if found is None:
            return None
        return BoundVault(found.chain_id, bytes.fromhex(found.vault), bytes.fromhex(found.token))


class Keystore:
    """The wallet's file in ``folder``. ``unlock`` is slow on purpose; ``place`` is not."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keystore"
        self._lock = folder / "keystore.lock"

    def exists(self) -> bool:
        return self.path.exists()

    def place(self) -> Place:
        """The clear part. Raises NotFound, KeystoreDamaged, or KeystoreLocked if others may read
        the file."""
        return self._read()[0].place()

    def create(self, seed: bytes, passphrase: str, place: Place, n: int = SCRYPT_N) -> Unlocked:
        """Saves a new wallet. Raises AlreadyExists rather than touch one that is there.

        ``n`` is the cost of guessing a passphrase; only tests have a reason to lower it.
        """
        check_new_passphrase(passphrase)
        parameters = _ScryptParameters(
            n=n, r=_SCRYPT_R, p=_SCRYPT_P, salt=secrets.token_hex(_SALT_BYTES)
        )
        keys = Keys.from_seed(seed, place.tenure.changes)
        unlocked = Unlocked(place, keys, seed, _derive(passphrase, parameters), parameters)
        with files.locked(self._lock):
            self.refuse_if_there()
            files.write(self.path, _seal(unlocked))
        return unlocked

    def unlock(self, passphrase: str) -> Unlocked:
        """Raises KeystoreLocked for a wrong passphrase, KeystoreDamaged for a damaged file."""
        header, header_line, sealed = self._read()
        sealing_key = _derive(passphrase, header.scrypt)
        try:
            seed = AESGCM(sealing_key).decrypt(bytes.fromhex(header.nonce), sealed, header_line)
        except InvalidTag as error:
            raise KeystoreLocked(
                "the passphrase is wrong", hint="try again, or: speedpay wallet restore"
            ) from error
        place = header.place()
        keys = Keys.from_seed(seed, place.tenure.changes)
        return Unlocked(place, keys, seed, sealing_key, header.scrypt)

    def update(self, unlocked: Unlocked, place: Place) -> Unlocked:
        """Saves another place for the same seed: what the ledger told us about the account.

        Its tenure stays what the file says: another command may have changed the key meanwhile.
        """
        with files.locked(self._lock):
            changed = _held(unlocked, replace(place, tenure=self._same(unlocked).tenure))
            files.write(self.path, _seal(changed))
        return changed

    def hold(self, unlocked: Unlocked, tenure: Tenure) -> Unlocked:
        """Saves how the account is held from now on. Raises AlreadyExists when another command has
        saved something else than ``unlocked`` says."""
        with files.locked(self._lock):
            place = self._same(unlocked)
            if place.tenure != unlocked.place.tenure:
                raise AlreadyExists("another command changes the key of this account just now")
            files.write(self.path, _seal(_held(unlocked, replace(place, tenure=tenure))))
        return _held(unlocked, replace(unlocked.place, tenure=tenure))

    def _same(self, unlocked: Unlocked) -> Place:
        """What the file says, if it is still the same wallet."""
        header = self._read()[0]
        if header.scrypt != unlocked._scrypt:
            raise AlreadyExists("another wallet has taken this one's place meanwhile")
        return header.place()

    def refuse_if_there(self) -> None:
        if self.path.exists() or self.path.is_symlink():
            raise AlreadyExists(
                f"there is a wallet already: {self.path}",
                hint="speedpay wallet show, or set SPEEDPAY_HOME to another folder",
            )

    def _read(self) -> tuple[_Header, bytes, bytes]:
        """Header, the header's exact line, sealed seed; every check that needs no passphrase."""
        try:
            content, mode = files.read(self.path, MAX_FILE_BYTES)
        except NotFound as error:
            raise NotFound(
                "there is no wallet yet", hint="speedpay wallet new, or: speedpay wallet restore"
            ) from error
        if mode & 0o077:
            raise KeystoreLocked(
                f"other users of this machine may open {self.path}",
                hint=f"chmod 600 {self.path}",
            )
        try:
            return _parse(content)
        except ValueError as error:  # every reason is the same to the user: not what was saved
            raise KeystoreDamaged(
                f"the wallet file is damaged: {self.path}",
                hint=f"mv {self.path} {self.path}.damaged, then: speedpay wallet restore",
            ) from error


def check_new_passphrase(passphrase: str) -> None:
    if not MIN_PASSPHRASE <= len(passphrase) <= MAX_PASSPHRASE:
        raise InvalidSetting(
            f"must have {MIN_PASSPHRASE} to {MAX_PASSPHRASE} characters", field="passphrase"
        )


def _derive(passphrase: str, parameters: _ScryptParameters) -> bytes:
    # NFKD, as for the words: the same keys pressed on another system are the same passphrase.
    secret = unicodedata.normalize("NFKD", passphrase).encode("utf-8", "surrogatepass")
    try:
        kdf = Scrypt(
            bytes.fromhex(parameters.salt), 32, n=parameters.n, r=parameters.r, p=parameters.p
        )
        key: bytes = kdf.derive(secret)
    except MemoryError as error:
        needed_mib = 128 * parameters.n * parameters.r // 2**20
        raise SpeedpayError(f"opening the wallet needs {needed_mib} MiB of memory") from error
    return key


def _seal(unlocked: Unlocked) -> bytes:
    place = unlocked.place
    nonce = secrets.token_bytes(_NONCE_BYTES)
    header_line = msgspec.json.encode(
        _Header(
            speedpay_wallet=1,
            network=place.network,
            ledger_url=place.ledger_url,
            ledger_id=place.ledger_id.hex() if place.ledger_id else None,
            account=place.account.hex() if place.account else None,
            scrypt=unlocked._scrypt,
            nonce=nonce.hex(),
            chain=_chain(place.chain),
            tenure=StoredTenure.of(place.tenure),
        )
    )
    sealed = AESGCM(unlocked._sealing_key).encrypt(nonce, unlocked._seed, header_line)
    body = header_line + b"\n" + sealed.hex().encode() + b"\n"
    return body + _checksum_line(body)


def _held(unlocked: Unlocked, place: Place) -> Unlocked:
    return replace(unlocked, place=place, keys=unlocked.keys_after(place.tenure.changes))


def _chain(bound: BoundVault | None) -> _Chain | None:
    if bound is None:
        return None
    return _Chain(bound.chain_id, bound.vault.hex(), bound.token.hex())


def _checksum_line(body: bytes) -> bytes:
    return b"sha256 " + hashlib.sha256(body).hexdigest().encode() + b"\n"


def _parse(content: bytes) -> tuple[_Header, bytes, bytes]:
    """Raises ValueError unless ``content`` is exactly what ``_seal`` writes."""
    if len(content) > MAX_FILE_BYTES:
        raise ValueError("larger than any wallet")
    lines = content.split(b"\n")
    if len(lines) != 4:
        raise ValueError("not three lines")
    header_line, sealed_line = lines[:2]
    if content != (body := header_line + b"\n" + sealed_line + b"\n") + _checksum_line(body):
        raise ValueError("the checksum does not match")
    header = msgspec.json.decode(header_line, type=_Header)
    # One object has one spelling: this also refuses duplicate fields, which JSON allows.
    if msgspec.json.encode(header) != header_line:
        raise ValueError("not in canonical form")
    if header.speedpay_wallet != 1:
        raise ValueError("another version of the format")
    scrypt = header.scrypt
    if not _MIN_N <= scrypt.n <= _MAX_N or scrypt.n & (scrypt.n - 1):
        raise ValueError("scrypt's n is out of range")
    if (scrypt.r, scrypt.p) != (_SCRYPT_R, _SCRYPT_P):
        raise ValueError("scrypt's r and p are out of range")
    sealed = bytes.fromhex(sealed_line.decode("ascii"))
    if len(sealed) != SEED_BYTES + _TAG_BYTES or sealed.hex().encode() != sealed_line:
        raise ValueError("the sealed seed has the wrong size")
    return header, header_line, sealed
