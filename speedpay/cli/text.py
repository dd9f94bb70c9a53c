"""Amounts, sizes, times and outside text as a person reads them. Pure.

Outside text (from a peer, a torrent, a ledger) goes through ``clean``: no escape sequence, control
or direction character of a stranger reaches a terminal.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeAlias

from speedpay.units import GIB, KIB, MIB, Amount, Price

_MAX_CLEAN = 500  # characters of one outside text; enough for any honest name or sentence

# A terminal's escape sequences with their contents: OSC and the other strings (which set titles,
# make links and fill clipboards), CSI, and the two-byte rest; 7-bit and 8-bit forms.
_ESCAPES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
# Control, format (bidirectional overrides, zero width), surrogate, private, unassigned, line ends.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


# https://owasp.org/www-community/attacks/CSV_Injection, after NFKC, for the full-width forms.
_FORMULA = ("=", "+", "-", "@", "|", "%")
Cell: TypeAlias = str | int | Amount | Decimal | None


def clean(text: str, max_length: int = _MAX_CLEAN) -> str:
    """Outside text, safe to print on one line: no escapes, control or direction characters."""
    # Cut before the regular expression as well, so that a huge name costs nothing.
    text = _ESCAPES.sub("", text[: 8 * max_length])
    text = "".join(
        " " if c in "\t\r\n\v\f\x85\u2028\u2029" else c
        for c in text
        if c in "\t\r\n\v\f\x85\u2028\u2029" or unicodedata.category(c) not in _UNSEEN
    ).strip()
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def clean_lines(text: str) -> str:
    """Our own text, which may hold somebody's name: clean, but with its lines and indents."""
    return "\n".join(
        "".join(c for c in _ESCAPES.sub("", line) if unicodedata.category(c) not in _UNSEEN)
        for line in text.split("\n")
    )


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table as RFC 4180 has it, but for the last line end. Every text is quoted, without control
    characters, and none is a formula to a spreadsheet: outside text that begins like one gets a ' ahead."""
    lines = [",".join(_cell(column) for column in columns)]
    lines += [",".join(_cell(value) for value in row) for row in rows]
    return "\r\n".join(lines)


def _cell(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, int | Amount | Decimal):
        return str(value)
    text = clean(value)
    if unicodedata.normalize("NFKC", text[:1]) in _FORMULA:
        text = "'" + text
    return '"' + text.replace('"', '""') + '"'


def size_text(byte_count: int) -> str:
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if byte_count >= unit:
            return f"{byte_count / unit:.1f} {name}"
    return f"{byte_count} B"


def rate_text(bytes_per_s: float) -> str:
    return f"{size_text(int(bytes_per_s))}/s"


def tokens_text(amount: Amount) -> str:
    return f"{amount} tok"


def price_text(price: Price) -> str:
    return f"{price} tok/GiB"


def time_text(unix_s: float) -> str:
    """ISO 8601 in UTC, whole seconds."""
    return datetime.fromtimestamp(int(unix_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def age_text(seconds: float) -> str:
    for unit_s, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= unit_s:
            count = int(seconds // unit_s)
            return f"{count} {name}{'s' if count > 1 else ''}"
    return f"{max(0, int(seconds))} seconds"


def examples(*lines: str) -> str:
    """For ``epilog=``: every command shows how it is used. ``\\b`` keeps click from rewrapping."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def wrapped(text: str, bullet: str, width: int = 100) -> list[str]:
    """Our own sentence in lines, the later ones below the first word."""
    return textwrap.wrap(
        text, width, initial_indent=bullet, subsequent_indent=" " * len(bullet),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
