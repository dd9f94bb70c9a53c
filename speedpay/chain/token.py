"""A TRC-20 token: ours, whose unit is 1 µtok, or any other that a wallet shows.

Amounts of a foreign token are plain ints of its base units: they may pass what our money can be. Of
such a contract nothing is believed but numbers and a short printable symbol.
"""

from __future__ import annotations

from dataclasses import dataclass

from speedpay.chain import abi
from speedpay.chain.address import check_address
from speedpay.chain.answers import Receipt
from speedpay.chain.transaction import Unsigned
from speedpay.chain.tron import Tron
from speedpay.errors import Malformed

#: Never more for one call, in energy; with today's price of 100 sun that is 200,000 of it.
FEE_LIMIT_SUN = 20_000_000
MAX_DECIMALS = 36
_TRANSFER = "Transfer(address,address,uint256)"


@dataclass(frozen=True, slots=True)
class Transfer:
    """``sender``, ``to``: 20 bytes; ``amount``: base units."""

    sender: bytes
    to: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class Token:
    """``address``: 20 bytes."""

    tron: Tron
    address: bytes

    def __post_init__(self) -> None:
        check_address(self.address, "token")

    def balance_of(self, holder: bytes) -> int:
        return self.tron.token_balance(self.address, holder)

    def allowance(self, holder: bytes, spender: bytes) -> int:
        """What ``spender`` may still take from ``holder``."""
        signature = "allowance(address,address)"
        return int(self.tron.view(self.address, signature, [holder, spender], ["uint256"])[0])

    def total_supply(self) -> int:
        return int(self.tron.view(self.address, "totalSupply()", [], ["uint256"])[0])

    def decimals(self) -> int:
        decimals = int(self.tron.view(self.address, "decimals()", [], ["uint8"])[0])
        if decimals > MAX_DECIMALS:
            raise Malformed(f"must be at most {MAX_DECIMALS}", field="token.decimals")
        return decimals

    def symbol(self) -> str:
        """Printable ASCII, at most 16 characters."""
        (text,) = self.tron.view(self.address, "symbol()", [], ["string"])
        if not (1 <= len(text) <= 16 and all("!" <= c <= "~" for c in text)):
            raise Malformed("must be 1 to 16 printable characters", field="token.symbol")
        return str(text)

    def prepare_transfer(self, owner: bytes, to: bytes, amount: int) -> Unsigned:
        return self._prepare(owner, "transfer(address,uint256)", to, amount)

    def prepare_approve(self, owner: bytes, spender: bytes, amount: int) -> Unsigned:
        """Replaces what ``spender`` was allowed before."""
        return self._prepare(owner, "approve(address,uint256)", spender, amount)

    def prepare_mint(self, minter: bytes, to: bytes, amount: int) -> Unsigned:
        return self._prepare(minter, "mint(address,uint256)", to, amount)

    def transfers(self, receipt: Receipt) -> list[Transfer]:
        """What this token moved in one transaction."""
        found = []
        for event in receipt.events(self.address):
            if abi.is_event(_TRANSFER, event.topics):
                indexed = (True, True, False)
                found.append(
                    Transfer(*abi.decode_event(_TRANSFER, indexed, event.topics, event.data))
                )
        return found

    def _prepare(self, owner: bytes, signature: str, who: bytes, amount: int) -> Unsigned:
        return self.tron.prepare_call(owner, self.address, signature, [who, amount], FEE_LIMIT_SUN)
