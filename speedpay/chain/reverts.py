"""Why a contract said no, in words: from the bytes that a reverted call returns.

Our contracts' errors are read from their artefacts, so that a new error needs no line here.
"""

from __future__ import annotations

from functools import cache

from speedpay.chain import abi
from speedpay.chain.artifact import NAMES, load
from speedpay.errors import Malformed

_PANICS = {
    0x01: "an assertion failed", 0x11: "a number is too large or too small", 0x12: "division by zero",
    0x32: "a list has no such entry",
}  # fmt: skip


def reason(output: bytes) -> str:
    """``"TooEarly(1700000000)"``, a sentence of the contract's, or what can be said without one."""
    try:
        if output[:4] == abi.selector("Error(string)"):
            return _printable(abi.decode(("string",), output[4:])[0])
        if output[:4] == abi.selector("Panic(uint256)"):
            code = abi.decode(("uint256",), output[4:])[0]
            return _PANICS.get(code, f"panic {code:#x}")
        signature = _errors().get(output[:4])
        if signature is not None:
            values = abi.decode(abi.types_of(signature), output[4:])
            shown = ", ".join(v.hex() if isinstance(v, bytes) else str(v) for v in values)
            return f"{signature.split('(')[0]}({shown})" if values else signature.split("(")[0]
    except Malformed:
        pass
    return f"error {output[:4].hex()}" if output else "no reason given"


def error_name(output: bytes) -> str | None:
    """The name of one of our contracts' errors, such as ``UnknownEpoch``; None for anything else."""
    signature = _errors().get(output[:4])
    return signature.split("(")[0] if signature else None


@cache
def _errors() -> dict[bytes, str]:
    return {
        abi.selector(signature): signature
        for name in NAMES
        for signature in load(name).error_signatures()
    }


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:200])
