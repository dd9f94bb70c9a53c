"""Tables for spreadsheets: every parser reads them alike, and outside text is text to all of them."""

from __future__ import annotations

import csv
import io
import unicodedata
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedpay.cli.text import clean, csv_text
from speedpay.units import Amount


def _read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def test_a_table_is_rfc_4180() -> None:
    made = csv_text(
        ("a", "b"), [(1, 'say "x", y'), (None, "two"), (Amount(1_500_000), Decimal("2.500"))]
    )
    assert made == '"a","b"\r\n1,"say ""x"", y"\r\n,"two"\r\n1.5,2.500'


@pytest.mark.parametrize(
    "name",
    [
        "=HYPERLINK(\"http://x\")", "+1", "-1", "@SUM(A1)", "|cmd", "%x", "\t=1", "\r=1", " =1", "\x00=1",
        "\u202e=1", "＝1", "＋1", "－1", "＠x", "\x1b[31m=1", "\ufeff=1",
    ],
)  # fmt: skip
def test_no_name_of_a_torrent_is_a_formula(name: str) -> None:
    ((cell,),) = _read(csv_text(("name",), [(name,)]))[1:]
    assert cell.startswith("'")
    assert cell[1:] == clean(name)


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_whatever_the_texts_are_the_table_keeps_its_shape(texts: list[str]) -> None:
    made = csv_text(["x"] * len(texts), [texts])
    header, row = _read(made)
    assert len(header) == len(row) == len(texts)
    assert made.count("\r\n") == 1
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in made.replace("\r\n", ""))
