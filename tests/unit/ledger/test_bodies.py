"""Hostile bodies: refused for their shape, by name, before any SQL."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from speedpay.ledger.answering import STATUS
from tests.unit.ledger.desk import Desk, Person, fresh

NOT_AMOUNTS = {
    "zero": '"0"',
    "minus one": '"-1"',
    "two to the 63": '"9223372036854775808"',
    "a point": '"1.0"',
    "an exponent": '"1e3"',
    "a plus sign": '"+1"',
    "a leading zero": '"01"',
    "a space": '" 1"',
    "no digit": '""',
    "ten to the fifth digits, cut to what fits": '"' + "9" * 60_000 + '"',
    "other digits": '"\\u0661"',
    "hex": '"0x10"',
    "a bare number": "1",
    "a bare negative": "-1",
    "a bare float": "1.0",
    "a bare exponent": "1e3",
    "a huge bare number": "9" * 60_000,
    "not a number": "NaN",
    "infinity": "Infinity",
    "minus infinity": "-Infinity",
    "true": "true",
    "null": "null",
    "a list": '["1"]',
    "an object": '{"utok":"1"}',
}


@pytest.fixture
def payer(desk: Desk) -> Person:
    return desk.person()


@pytest.fixture
def statements(desk: Desk, payer: Person) -> Iterator[list[str]]:
    """The SQL that runs after the fixtures."""
    ran: list[str] = []

    def note(_c: object, _k: object, statement: str, *_: object) -> None:
        ran.append(statement)

    engine = desk.service.database._engine
    sa.event.listen(engine, "before_cursor_execute", note)
    yield ran
    sa.event.remove(engine, "before_cursor_execute", note)


def refusal(
    desk: Desk, payer: Person, statements: list[str], path: str, body: str
) -> tuple[int, str, str]:
    status, answer = desk.signed(payer, "POST", path, body.encode())
    assert statements == []
    return status, answer["error"]["code"], answer["error"]["field"]


@pytest.mark.parametrize("amount", NOT_AMOUNTS.values(), ids=NOT_AMOUNTS.keys())
def test_an_amount_that_is_none_is_refused_before_any_sql(
    desk: Desk, payer: Person, statements: list[str], amount: str
) -> None:
    body = f'{{"to":"{"00" * 16}","class":"credit","amount":{amount}}}'
    status, code, field = refusal(desk, payer, statements, "/v1/transfers", body)
    assert (status, code) == (422, "malformed")
    assert field in ("amount", "body")


@pytest.mark.parametrize("amount", NOT_AMOUNTS.values(), ids=NOT_AMOUNTS.keys())
def test_a_cumulative_that_is_no_amount_is_refused_and_names_the_item(
    desk: Desk, payer: Person, statements: list[str], amount: str
) -> None:
    good = {"channel": "00" * 32, "cumulative": "1", "signature": "00" * 64}
    bad = json.dumps(good).replace('"1"', amount)
    body = f'{{"items":[{json.dumps(good)},{bad}]}}'
    status, code, field = refusal(desk, payer, statements, "/v1/redemptions", body)
    assert (status, code) == (422, "malformed")
    assert field in ("items[1].cumulative", "body")


@pytest.mark.parametrize("amount", NOT_AMOUNTS.values(), ids=NOT_AMOUNTS.keys())
def test_a_withdrawal_of_no_amount_is_refused_before_any_sql(
    desk: Desk, payer: Person, statements: list[str], amount: str
) -> None:
    body = f'{{"amount":{amount}}}'
    status, code, field = refusal(desk, payer, statements, "/v1/withdrawals", body)
    assert (status, code) == (422, "malformed")
    assert field in ("amount", "body")


def order(**changes: object) -> str:
    good: dict[str, object] = {
        "payer_key": "02" + "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
        "payee_key": "02" + "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5",
        "nonce": "00" * 16,
        "class": "credit",
        "escrow": "1000",
        "lifetime_s": 3600,
    }
    changed = {key: value for key, value in (good | changes).items() if value is not ...}
    return json.dumps(changed)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("escrow", "0"),
        ("escrow", 1000),
        ("escrow", True),
        ("escrow", ...),
        ("class", "tokens"),
        ("class", ["credit"]),
        ("class", {}),
        ("lifetime_s", 899),
        ("lifetime_s", 86_401),
        ("lifetime_s", True),
        ("lifetime_s", "3600"),
        ("lifetime_s", 2**63),
        ("nonce", "00" * 15),
        ("nonce", "0G" * 16),
        ("nonce", "AA" * 16),
        ("nonce", 7),
        ("payer_key", "04" + "00" * 32),
        ("payer_key", "02" + "ff" * 32),
        ("payee_key", "02" + "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"),
        ("surprise", 1),
    ],
)
def test_every_field_of_an_opening_is_named_when_it_is_wrong(
    desk: Desk, payer: Person, statements: list[str], field: str, value: object
) -> None:
    body = order(**{field: value})
    got = refusal(desk, payer, statements, "/v1/channels", body)
    assert got == (422, "malformed", field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"items":[],"items":[]}', "items"),
        ('{"a":{"b":1,"b":2}}', "b"),
        ('{"items":[]}', "items"),
        ('{"items":[1]}', "items[0]"),
        ('{"items":[{}]}', "items[0].channel"),
        ('{"items":' + "[" * 100 + "]" * 100 + "}", "body"),
        ("[" * 30_000, "body"),
        ('{"a":' * 9 + "1" + "}" * 9, "body"),
        ("[]", "body"),
        ("", "body"),
        ("nul", "body"),
        ('{"items"', "body"),
        ('"' + "\\" * 999, "body"),
        ('{"items":"\\ud800"}', "items"),
        ('{"\\ud800\\u001b[31m":1}', "items"),
        ('{"items":[{"channel":"' + "00" * 32 + '","close":true}]}', "items[0].close"),
        ('{"items":[{"channel":"' + "00" * 32 + '"}]}', "items[0].cumulative"),
        (
            '{"items":[{"channel":"' + "00" * 32 + '","close":"' + "00" * 64 + '"}]}',
            "items[0].assignment",
        ),
        (
            '{"items":[{"channel":"' + "00" * 32 + '","cumulative":"1"}]}',
            "items[0].signature",
        ),
        ('{"items":[' + ",".join(['{"channel":""}'] * 501) + "]}", "items"),
    ],
)
def test_a_body_of_the_wrong_shape_is_refused(
    desk: Desk, payer: Person, statements: list[str], body: str, field: str
) -> None:
    got = refusal(desk, payer, statements, "/v1/redemptions", body)
    assert got == (422, "malformed", field)


def test_a_body_that_is_not_utf_8_is_refused(desk: Desk, payer: Person) -> None:
    status, answer = desk.signed(payer, "POST", "/v1/transfers", b'{"to":"\xff\xfe"}')
    assert (status, answer["error"]["field"]) == (422, "body")


def test_an_unknown_field_is_named_in_printable_ascii(desk: Desk, payer: Person) -> None:
    body = order(**{"\x1b[31m" + "x" * 500: 1})
    _, answer = desk.signed(payer, "POST", "/v1/channels", body.encode())
    field = answer["error"]["field"]
    assert field.isascii()
    assert field.isprintable()
    assert len(field) <= 40


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("before=x", "before"),
        ("before=9223372036854775808", "before"),
        ("surprise=1", "query"),
    ],
)
def test_a_query_out_of_range_is_refused(desk: Desk, payer: Person, query: str, field: str) -> None:
    target = f"/v1/accounts/{payer.account.hex()}/history?{query}"
    status, answer = desk.signed(payer, "GET", target, b"")
    assert (status, answer["error"]["field"]) == (422, field)


@pytest.mark.parametrize("what", ["withdrawals", "deposits"])
def test_what_takes_no_query_refuses_one(desk: Desk, payer: Person, what: str) -> None:
    """A page that was asked for and not given must not look like the whole."""
    target = f"/v1/accounts/{payer.account.hex()}/{what}"
    assert desk.signed(payer, "GET", target, b"")[0] == 200
    status, answer = desk.signed(payer, "GET", target + "?limit=5", b"")
    assert (status, answer["error"]["field"]) == (422, "query")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/"),
        ("GET", "/v1/accounts/zz/balance"),
        ("GET", "/v1/transfers"),
        ("DELETE", "/v1/ledger"),
        ("GET", "/v1/../../etc/passwd"),
        ("GET", "//v1/ledger"),
        ("GET", "/v1/ledger%00"),
    ],
)
def test_an_unknown_path_or_method_is_not_found(desk: Desk, method: str, target: str) -> None:
    reply = desk.raw(method, target, b"")
    assert reply.status == 404


def test_every_refusal_has_a_status_below_500() -> None:
    from speedpay.errors import BY_CODE, Refused

    for code, error in BY_CODE.items():
        if issubclass(error, Refused):
            assert STATUS.get(code, 422) < 500


def test_random_bytes_never_make_the_ledger_fail(desk: Desk, payer: Person) -> None:
    import random

    seeded = random.Random(20)
    pieces = [
        b"{", b"}", b"[", b"]", b'"', b":", b",", b"1", b"-", b"e", b".", b"null", b"\\u00", b"\xff",
        b'"items"', b'"amount"', b'"cumulative":"1"', b"NaN", b"\x00", b"//", b"true",
    ]  # fmt: skip
    for _ in range(1500):
        body = b"".join(seeded.choices(pieces, k=seeded.randrange(40)))
        path = seeded.choice(["/v1/transfers", "/v1/channels", "/v1/redemptions", "/v1/accounts"])
        headers = {"speedpay-account": "00" * 16, "speedpay-key": fresh().hex()}
        assert desk.raw("POST", path, body, headers).status < 500
