"""SPEC.md sections 4 and 6: which price a block has, and what a number of blocks costs."""

from __future__ import annotations

from dataclasses import dataclass, field

MIB = 1 << 20
REMEMBERED = 64


@dataclass
class Bids:
    """The buyer's bids as both sides keep them: the number of the message that brought one, and its price."""

    made: list[tuple[int, int]] = field(default_factory=list)

    def add(self, number: int, price: int) -> None:
        if not self.made or self.made[-1][1] != price:
            self.made = [*self.made, (number, price)][-REMEMBERED:]

    @property
    def newest(self) -> int:
        return self.made[-1][1] if self.made else 0

    def price_of(self, asked_after: int) -> int:
        """Of a block whose request followed so many messages of the buyer's; in µtok per MiB."""
        in_force = [price for number, price in self.made if number <= asked_after]
        return in_force[-1] if in_force else self.made[0][1]


def whole_utok(due: int) -> int:
    """``due`` is the exact sum of bytes × price."""
    return due // MIB
