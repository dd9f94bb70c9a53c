"""One value has one meaning, and no input takes more than its length in time or depth."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedpay.errors import Malformed
from speedpay.swarm import bencoding
from speedpay.swarm.bencoding import decode, decode_dict_with_span, encode

_values = st.recursive(
    st.integers(-(10**18), 10**18) | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.binary(max_size=8), inner, max_size=6)
    ),
    max_leaves=30,
)


@given(_values)
def test_what_was_encoded_decodes_to_the_same_value(value):
    assert decode(encode(value), "x") == value


@given(_values, st.data())
def test_a_value_cut_short_is_refused(value, data):
    whole = encode(value)
    end = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(Malformed):
        decode(whole[:end], "x")


@given(_values, st.binary(min_size=1, max_size=5))
def test_trailing_bytes_are_refused(value, more):
    with pytest.raises(Malformed):
        decode(encode(value) + more, "x")


@pytest.mark.parametrize(
    "data",
    [
        b"i-0e", b"i03e", b"i-03e", b"ie", b"i e", b"i+1e", b"i1", b"i1.5e", b"i1_0e",
        b"i12345678901234567890e",
        b"03:abc", b"-1:a", b"1_0:aaaaaaaaaa", b"3:ab", b"9999999999:a", b":", b"a", b"",
        b"l", b"e", b"li1e", b"d", b"d1:ae", b"di1e1:ae", b"d1:ai1e1:ai2ee", b"dle1:ae", b"d1:a",
    ],
)  # fmt: skip
def test_a_malformed_value_is_refused_and_the_field_named(data):
    with pytest.raises(Malformed) as caught:
        decode(data, "the field")
    assert caught.value.field == "the field"


def test_keys_out_of_order_are_let_through():
    assert decode(b"d1:bi1e1:ai2ee", "x") == {b"a": 2, b"b": 1}


def test_nesting_beyond_the_limit_is_refused():
    depth = bencoding.MAX_DEPTH
    decode(b"l" * depth + b"e" * depth, "x")
    with pytest.raises(Malformed, match="nested"):
        decode(b"l" * (depth + 1) + b"e" * (depth + 1), "x")
    with pytest.raises(Malformed, match="nested"):
        decode(b"l" * 10_000_000, "x")


def test_too_many_values_are_refused(monkeypatch):
    monkeypatch.setattr(bencoding, "MAX_VALUES", 1000)
    with pytest.raises(Malformed, match="too many"):
        decode(b"l" + b"0:" * 1000 + b"e", "x")


def test_the_bytes_of_one_key_are_given_as_they_came():
    value, span = decode_dict_with_span(b"d4:infod1:bdee1:xlee", b"info", "t")
    assert value == {b"info": {b"b": {}}, b"x": []}
    assert span == b"d1:bdee"


def test_a_key_of_the_same_name_further_in_is_not_taken_for_it():
    _, span = decode_dict_with_span(b"d1:ad4:infod1:zdeee4:infodee", b"info", "t")
    assert span == b"de"
