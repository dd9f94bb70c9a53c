"""Code for the machine from words: ``code("5 7 ADD 0 MSTORE")``. A number is pushed, a name is itself."""

from __future__ import annotations

from speedpay.devnet.operations import OPERATIONS

NUMBERS = {operation.name: opcode for opcode, operation in OPERATIONS.items()}

#: Return the word on top.
RETURN_TOP = "0 MSTORE 32 0 RETURN"


def push(word: int) -> bytes:
    size = (word.bit_length() + 7) // 8
    return bytes([0x5F + size]) + word.to_bytes(size, "big")


def code(text: str) -> bytes:
    made = b""
    for word in text.split():
        made += bytes([NUMBERS[word]]) if word in NUMBERS else push(int(word, 0))
    return made


def returning(data: bytes) -> bytes:
    """A constructor, or any code, that returns ``data``, at most 32 bytes."""
    word = int.from_bytes(data.ljust(32, b"\0"), "big")
    return code(f"{word} 0 MSTORE {len(data)} 0 RETURN")
