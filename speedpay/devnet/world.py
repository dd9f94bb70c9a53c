"""All that blocks change: the contracts' state and the node's own tables, in one journal.

``rewound`` shows an earlier moment: a solid read is answered from the state as of the solid block, and
a node that lags behind from its own head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from speedpay.devnet import wire
from speedpay.devnet.schema import Fields
from speedpay.devnet.state import ABSENT, Change, State

#: One value that a block left behind: table, key, value (None: no longer there). All plain bytes and
#: small ints, for the block log.
Write = tuple[str, bytes, Any]


class World:
    def __init__(self) -> None:
        self.state = State()
        #: address → when its account was made, ms
        self.created: dict[bytes, int] = {}
        #: address → [free bytes used, in which slot of 3 s]
        self.bandwidth: dict[bytes, tuple[int, int]] = {}
        #: address → the SmartContract message, encoded
        self.contracts: dict[bytes, bytes] = {}

    def balance(self, address: bytes) -> int:
        return self.state.balance(address)

    def exists(self, address: bytes) -> bool:
        return address in self.state.balances

    def contract(self, address: bytes) -> Fields | None:
        encoded = self.contracts.get(address)
        return None if encoded is None else wire.decode("SmartContract", encoded)

    # ------------------------------------------------------------------------------- going back

    @contextmanager
    def rewound(self, journals: list[list[Change]]) -> Iterator[None]:
        """The state before ``journals`` (latest first) and before what is pending now."""
        pending = self.state.take_journal()
        pending_now = _values(pending)
        self.state.undo(pending)
        blocks_now = [change for journal in journals for change in _values(journal)]
        for journal in journals:
            self.state.undo(journal)
        try:
            yield
        finally:
            for table, key, value in blocks_now:
                if value is ABSENT:
                    table.pop(key, None)
                else:
                    table[key] = value
            for table, key, value in pending_now:
                if value is ABSENT:
                    self.state.remove(table, key)
                else:
                    self.state.put(table, key, value)

    # ------------------------------------------------------------------------------ for the log

    def writes(self, journal: list[Change]) -> list[Write]:
        """What the changes of a journal amount to."""
        names = {id(table): name for name, table in self._plain().items()}
        slots = {id(rows): address for address, rows in self.state.storage.items()}
        out: list[Write] = []
        for table, key, value in _values(journal):
            name = names.get(id(table))
            if name is not None:
                out.append((name, key, None if value is ABSENT else value))
            elif id(table) in slots:
                place = slots[id(table)] + key.to_bytes(32)
                out.append(("slot", place, None if value is ABSENT else value.to_bytes(32)))
            else:
                raise AssertionError("a change of a table that is not part of the world")
        return out

    def apply(self, writes: list[Write]) -> None:
        """The opposite, when the log is read back."""
        plain = self._plain()
        for name, key, value in writes:
            table: dict[Any, Any]
            if name == "slot":
                table = self.state.storage.setdefault(key[:20], {})
                key, value = int.from_bytes(key[20:]), value and int.from_bytes(value)  # type: ignore[assignment]
            else:
                table = plain[name]
                if name == "bandwidth" and value is not None:
                    value = tuple(value)
            if value is None:
                self.state.remove(table, key)
            else:
                self.state.put(table, key, value)

    def _plain(self) -> dict[str, dict[bytes, Any]]:
        return {
            "balance": self.state.balances,
            "code": self.state.codes,
            "created": self.created,
            "bandwidth": self.bandwidth,
            "contract": self.contracts,
        }

    def dump(self) -> dict[str, Any]:
        """Everything, to compare two worlds."""
        own = {name: dict(table) for name, table in self._plain().items()}
        return {**own, "storage": self.state.to_json()["storage"]}


def _values(journal: list[Change]) -> list[Change]:
    """Each changed key once, with its value now."""
    seen = {(id(table), key): (table, key) for table, key, _ in journal}
    return [(table, key, table.get(key, ABSENT)) for table, key in seen.values()]
