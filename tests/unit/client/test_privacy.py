"""The tables of ``speedpay privacy`` are held against the code: what is new is explained, or this fails."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from types import ModuleType

import pytest
import sqlalchemy as sa

from speedpay.channel.voucher import Statement
from speedpay.client.privacy import KNOWS, KNOWS_NOT, TITLES, Observer, Row
from speedpay.ledger.routes import ROUTES
from speedpay.ledger.schema import metadata
from speedpay.ledger_api import answers, bound, chain, epochs, owners, shapes, signed
from speedpay.peer import messages
from speedpay.proof.head import EpochHead

_MODULES = (shapes, owners, epochs, chain, answers, bound)


def said(observer: Observer) -> set[str]:
    return {name for row in KNOWS[observer] for name in row.fields()}


def of_messages() -> Iterator[str]:
    for kind in messages.BY_TYPE.values():
        name = kind.__name__.removesuffix("Message").lower()
        yield from (f"{name}.{field.name}" for field in dataclasses.fields(kind))
    for name, inner in (("statement", Statement), ("epoch_head", EpochHead)):
        yield from (f"{name}.{field.name}" for field in dataclasses.fields(inner))


def of_schema(tables: sa.MetaData) -> Iterator[str]:
    for table in tables.sorted_tables:
        yield from (f"{table.name}.{column.name}" for column in table.columns)


def of_calls(modules: tuple[ModuleType, ...]) -> Iterator[str]:
    """The fields of whatever is sent to the ledger or comes back, its headers, and its paths."""
    for module in modules:
        for name, found in inspect.getmembers(module, inspect.isclass):
            if dataclasses.is_dataclass(found) and found.__module__ == module.__name__:
                yield from (f"{name}.{field.name}" for field in dataclasses.fields(found))
    head = signed.Head("GET", "/", "1", "2", "3", "4")
    yield from (f"headers.{name}" for name in head.headers())
    for method, pattern, _ in ROUTES:
        path = pattern.pattern.replace("([0-9a-f]{32})", "{account}")
        path = path.replace("([0-9a-f]{64})", "{channel}")
        yield f"{method}.{re.sub(r'[(].*[)]', '{number}', path)}"


def of_contracts() -> Iterator[str]:
    """The inputs of what changes something on the chain, and of what contracts tell there."""
    for contract in ("Vault", "Token"):
        file = resources.files("speedpay.chain") / "artifacts" / f"{contract}.json"
        for entry in json.loads(file.read_text())["abi"]:
            if entry.get("stateMutability") in ("view", "pure") or entry["type"] not in (
                "function", "event",
            ):  # fmt: skip
                continue
            yield from (f"{entry['name']}.{given['name']}" for given in entry["inputs"])


def test_every_field_of_a_peer_message_is_explained_and_no_other_is() -> None:
    assert said(Observer.PEER) == set(of_messages())


def test_every_column_and_every_field_of_a_call_is_explained_and_no_other_is() -> None:
    assert said(Observer.LEDGER) == set(of_schema(metadata)) | set(of_calls(_MODULES))


def test_whatever_goes_on_the_chain_is_explained_and_nothing_else_is() -> None:
    assert said(Observer.CHAIN) == set(of_contracts())


def test_the_modules_looked_at_are_all_that_have_calls() -> None:
    """A new module with shapes of its own is added above."""
    package = resources.files("speedpay.ledger_api")
    with_shapes = {
        entry.name.removesuffix(".py")
        for entry in package.iterdir()
        if entry.name.endswith(".py") and re.search(r"def (from|to)_json\(", entry.read_text())
    }
    assert with_shapes == {module.__name__.rpartition(".")[2] for module in _MODULES}


def test_nothing_is_explained_twice() -> None:
    for observer in Observer:
        counted = Counter(name for row in KNOWS[observer] for name in row.fields())
        assert [name for name, times in counted.items() if times > 1] == []


def test_every_observer_is_told_of_both_ways() -> None:
    for observer in Observer:
        assert KNOWS[observer]
        assert KNOWS_NOT[observer]
        assert TITLES[observer]


def test_a_new_field_column_or_call_fails_until_it_is_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: a user agent in hello, a column for an address, a call that names the torrent."""

    @dataclasses.dataclass
    class Hello:
        versions: int
        user_agent: str

    monkeypatch.setitem(messages.BY_TYPE, 0, Hello)
    assert "hello.user_agent" in set(of_messages()) - said(Observer.PEER)

    grown = sa.MetaData()
    for table in metadata.sorted_tables:
        table.to_metadata(grown)
    grown.tables["accounts"].append_column(sa.Column("seen_from", sa.Text))
    assert set(of_schema(grown)) - said(Observer.LEDGER) == {"accounts.seen_from"}

    @dataclasses.dataclass
    class Search:
        infohash: bytes

    Search.__module__ = shapes.__name__
    monkeypatch.setattr(shapes, "Search", Search, raising=False)
    assert set(of_calls((shapes,))) - said(Observer.LEDGER) == {"Search.infohash"}


def test_a_row_names_its_fields_by_what_carries_them() -> None:
    row = Row("x", "a: b c\n    d: e")
    assert row.fields() == ("a.b", "a.c", "d.e")
    assert Row("x").fields() == ()
