"""What contracts change: balances in sun, code and storage, with cheap rollback.

Three plain dicts, keyed by the 20 bytes of an address (without TRON's 0x41). Each change is noted in a
journal with what was there before, so that a failed call, a transaction or a whole block is undone in
the time it took to do it.

    mark = state.mark()
    ...                     # changes
    state.rollback(mark)    # as if nothing had happened

``settle()`` ends a transaction; ``take_journal()`` ends a block and gives the node the means to undo it.
"""

from __future__ import annotations

from typing import Any

#: One change: the dict, the key, and the value before (``ABSENT`` if there was none).
Change = tuple[dict[Any, Any], Any, Any]

ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "ABSENT"})()


class State:
    """Accounts of one chain: an address is one when in ``balances``, a contract when in ``codes`` too.

    ``storage`` maps address to slot to value, both unsigned 256-bit. A slot that holds 0 exists only
    within the transaction that wrote it: java-tron prices writing over it as over an old value
    (``Storage.commit`` in its source deletes it afterwards).
    """

    def __init__(self) -> None:
        self.balances: dict[bytes, int] = {}
        self.codes: dict[bytes, bytes] = {}
        self.storage: dict[bytes, dict[int, int]] = {}
        #: EIP-1153: (address, slot) to value, empty between transactions.
        self.transient: dict[tuple[bytes, int], int] = {}
        self._journal: list[Change] = []
        self._zeroed: set[tuple[bytes, int]] = set()

    # ------------------------------------------------------------------------------------ reading

    def balance(self, address: bytes) -> int:
        """In sun; 0 for an address that is no account."""
        return self.balances.get(address, 0)

    def code(self, address: bytes) -> bytes:
        return self.codes.get(address, b"")

    def slot(self, address: bytes, key: int) -> int | None:
        """The value, or ``None`` where there is no such row: SSTORE is priced by the difference."""
        rows = self.storage.get(address)
        return None if rows is None else rows.get(key)

    # ------------------------------------------------------------------------------------ writing

    def put(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        """``table[key] = value`` for any dict that belongs to this state, noted in the journal.

        The node may keep dicts of its own in step with the state by writing them through here.
        """
        self._journal.append((table, key, table.get(key, ABSENT)))
        table[key] = value

    def remove(self, table: dict[Any, Any], key: Any) -> None:
        if key in table:
            self._journal.append((table, key, table.pop(key)))

    def create_account(self, address: bytes) -> None:
        """An account with nothing in it, unless there is one."""
        if address not in self.balances:
            self.put(self.balances, address, 0)

    def add_balance(self, address: bytes, sun: int) -> None:
        """``sun`` may be negative; the account is made if there is none."""
        after = self.balance(address) + sun
        if after < 0:
            raise ValueError("a balance would fall below 0")
        self.put(self.balances, address, after)

    def set_slot(self, address: bytes, key: int, value: int) -> None:
        self.put(self.storage.setdefault(address, {}), key, value)
        if not value:
            self._zeroed.add((address, key))

    # ---------------------------------------------------------------------------------- going back

    def mark(self) -> int:
        """A point to roll back to, good until ``take_journal``."""
        return len(self._journal)

    def rollback(self, mark: int) -> None:
        """Undo all changes since ``mark``, latest first."""
        while len(self._journal) > mark:
            _undo(self._journal.pop())

    def settle(self) -> None:
        """A transaction is over: rows that hold 0 go, and so does transient storage."""
        for address, key in self._zeroed:
            rows = self.storage[address]
            if rows.get(key) == 0:
                self.remove(rows, key)
        self._zeroed.clear()
        if self.transient:
            self.transient = {}

    def take_journal(self) -> list[Change]:
        """All changes since the last call, for ``undo``; marks from before are void."""
        journal, self._journal = self._journal, []
        return journal

    def undo(self, journal: list[Change]) -> None:
        """Undo what ``take_journal`` gave. Undo journals latest first, and leave none out."""
        if self._journal:
            raise ValueError("there are changes since that journal was taken")
        for change in reversed(journal):
            _undo(change)

    # ------------------------------------------------------------------------------------ as JSON

    def to_json(self) -> dict[str, Any]:
        """All accounts as JSON-ready values; numbers beyond 64 bits as hexadecimal."""
        return {
            "balances": {address.hex(): sun for address, sun in self.balances.items()},
            "codes": {address.hex(): code.hex() for address, code in self.codes.items()},
            "storage": {
                address.hex(): {f"{key:x}": f"{value:x}" for key, value in rows.items()}
                for address, rows in self.storage.items()
                if rows
            },
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> State:
        """The opposite of ``to_json``. It trusts its input: a node reads only what it has written itself."""
        state = cls()
        state.balances = {bytes.fromhex(key): sun for key, sun in saved["balances"].items()}
        state.codes = {bytes.fromhex(key): bytes.fromhex(c) for key, c in saved["codes"].items()}
        state.storage = {
            bytes.fromhex(key): {int(k, 16): int(v, 16) for k, v in rows.items()}
            for key, rows in saved["storage"].items()
        }
        return state


def _undo(change: Change) -> None:
    table, key, before = change
    if before is ABSENT:
        table.pop(key, None)
    else:
        table[key] = before
