"""Money and prices as integers with a type; the only place that divides money.

1 token = 1,000,000 µtok. A price is whole µtok per MiB. KB and KiB are both 1,024 bytes. Amounts
never go below zero and never above 2^63 − 1 (a signed 64-bit column). People type and read tokens,
and tokens per GiB; JSON and the wire carry base units as decimal strings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from speedpay.errors import Malformed

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
UTOK_PER_TOKEN = 1_000_000
MAX_UTOK = 2**63 - 1

_BASE_UNITS = re.compile(r"0|[1-9][0-9]{0,18}")


class MoneyClass(StrEnum):
    """*token* is backed by deposits on chain; *credit* is granted and never withdrawable."""

    TOKEN = "token"
    CREDIT = "credit"


@dataclass(frozen=True, slots=True, order=True)
class Amount:
    """A non-negative number of µtok. Mixing it with int, bool or float is a TypeError."""

    utok: int

    def __post_init__(self) -> None:
        if type(self.utok) is not int:
            raise TypeError(f"an Amount holds an int, not {type(self.utok).__name__}")
        if not 0 <= self.utok <= MAX_UTOK:
            raise Malformed(f"{self.utok} is outside 0 … 2^63-1 µtok", field="amount")

    def __add__(self, other: Amount) -> Amount:
        if type(other) is not Amount:
            return NotImplemented
        return Amount(self.utok + other.utok)

    def __sub__(self, other: Amount) -> Amount:
        """Raises Malformed below zero: check first, or use ``minus_or_zero``."""
        if type(other) is not Amount:
            return NotImplemented
        return Amount(self.utok - other.utok)

    def __bool__(self) -> bool:
        return self.utok > 0

    def minus_or_zero(self, other: Amount) -> Amount:
        return Amount(max(0, self.utok - other.utok))

    def times(self, count: int) -> Amount:
        return Amount(self.utok * count)

    def part_floor(self, numerator: int, denominator: int) -> Amount:
        """self × numerator ÷ denominator, exact until one rounding down."""
        return Amount(self.utok * numerator // denominator)

    def bytes_at_floor(self, price: Price) -> int:
        """How many whole bytes this buys at ``price``; 2^63−1 when the price is zero."""
        return self.utok * MIB // price.utok_per_mib if price.utok_per_mib else MAX_UTOK

    @classmethod
    def from_wire(cls, text: object, field: str = "amount") -> Amount:
        """A canonical decimal string of base units: no sign, point, exponent or leading zero."""
        if not isinstance(text, str) or not _BASE_UNITS.fullmatch(text) or int(text) > MAX_UTOK:
            raise Malformed("must be a string of decimal digits, 0 … 2^63-1 (µtok)", field=field)
        return cls(int(text))

    def to_wire(self) -> str:
        return str(self.utok)

    @classmethod
    def from_tokens(cls, text: str, field: str = "amount") -> Amount:
        """What a person types: ``"1.25"`` tokens, at most six decimals."""
        return cls(_decimal_to_base(text, field))

    def __str__(self) -> str:
        whole, part = divmod(self.utok, UTOK_PER_TOKEN)
        return f"{whole}.{part:06d}".rstrip("0").rstrip(".") if part else str(whole)


ZERO = Amount(0)


@dataclass(frozen=True, slots=True, order=True)
class Price:
    """Whole µtok per MiB."""

    utok_per_mib: int

    def __post_init__(self) -> None:
        if type(self.utok_per_mib) is not int:
            raise TypeError(f"a Price holds an int, not {type(self.utok_per_mib).__name__}")
        if not 0 <= self.utok_per_mib <= MAX_UTOK:
            raise Malformed(f"{self.utok_per_mib} is outside 0 … 2^63-1 µtok/MiB", field="price")

    def __bool__(self) -> bool:
        return self.utok_per_mib > 0

    def cost_floor(self, byte_count: int) -> Amount:
        """What the bytes cost, rounded down; 2^63−1 for anything above it."""
        return Amount(min(MAX_UTOK, self.utok_per_mib * byte_count // MIB))

    def cost_ceil(self, byte_count: int) -> Amount:
        """What the bytes cost, rounded up; 2^63−1 for anything above it."""
        return Amount(min(MAX_UTOK, -(-self.utok_per_mib * byte_count // MIB)))

    @classmethod
    def from_tokens_per_gib(cls, text: str, field: str = "price") -> Price:
        """What a person types: tokens per GiB, rounded down to whole µtok per MiB."""
        return cls(_decimal_to_base(text, field) // 1024)

    def __str__(self) -> str:
        """Tokens per GiB."""
        return str(Amount(min(MAX_UTOK, self.utok_per_mib * 1024)))


NO_PRICE = Price(0)


@dataclass(frozen=True, slots=True)
class Value:
    """Bytes × price summed exactly, in µtok·byte/MiB; divided once, rounding down."""

    numerator: int = 0

    def __post_init__(self) -> None:
        if type(self.numerator) is not int:
            raise TypeError(f"a Value holds an int, not {type(self.numerator).__name__}")
        if self.numerator < 0:
            raise Malformed("is below zero", field="value")

    def plus(self, byte_count: int, price: Price) -> Value:
        return Value(self.numerator + byte_count * price.utok_per_mib)

    def floor(self) -> Amount:
        """Whole µtok; 2^63−1 for anything above it, which nobody can owe or pay."""
        return Amount(min(MAX_UTOK, self.numerator // MIB))


@dataclass(frozen=True, slots=True, order=True)
class Share:
    """A part of one, in millionths: the formula's *consumption*, the free pool, a fee."""

    ppm: int

    def __post_init__(self) -> None:
        if type(self.ppm) is not int:
            raise TypeError(f"a Share holds an int, not {type(self.ppm).__name__}")
        if not 0 <= self.ppm <= 1_000_000:
            raise Malformed("must be between 0 and 1", field="share")

    def of(self, amount: Amount) -> Amount:
        return amount.part_floor(self.ppm, 1_000_000)

    @classmethod
    def from_text(cls, text: str, field: str = "share") -> Share:
        ppm = _decimal_to_base(text, field)
        if ppm > 1_000_000:
            raise Malformed("must be between 0 and 1", field=field)
        return cls(ppm)

    def __str__(self) -> str:
        return str(Amount(self.ppm))


def _decimal_to_base(text: str, field: str) -> int:
    """A plain decimal with at most six decimals, in millionths."""
    if not re.fullmatch(r"[0-9]{1,13}(\.[0-9]{1,6})?", text):
        raise Malformed("must be a plain number with at most six decimals", field=field)
    base = int(Decimal(text) * UTOK_PER_TOKEN)
    if base > MAX_UTOK:
        raise Malformed("is too large", field=field)
    return base
