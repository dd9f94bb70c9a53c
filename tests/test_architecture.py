"""The import rules of ``speedpay/docs/architecture.md`` as tables, checked over every file of the tree.

Imports inside functions and under ``TYPE_CHECKING`` count too: they are the usual way around such a
rule. Below the tables stands one planted violation for each kind of rule, to show that it is caught.
"""

from __future__ import annotations

import ast
import builtins
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Lowest first. A package imports only from lines before its own, and nothing from its own line. errors
# and units are drawn side by side, but units refuses by raising errors, so errors lies below.
LINES = (
    ("errors",),
    ("units",),
    ("signing", "config", "wal"),
    ("certificates",),
    ("channel", "market", "proof"),
    ("peer",),
    ("ledger_api", "swarm", "chain"),
    ("ledger", "wallet"),
    ("client",),
    ("integrations",),
    ("cli",),
    ("__main__",),
)

# Beside the lines: free to import anything, imported by no production code but the command that starts it.
BESIDE = ("devnet", "simulation")
STARTS = {"cli/devnet.py": "devnet", "cli/simulate.py": "simulation"}

# What the lines would allow, and yet must not be: whoever audits an operator, or trades with a peer,
# does not run the operator's code; and the operator's books know nothing of swarms.
NEVER = {
    "client": ("ledger",),
    "wallet": ("ledger",),
    "peer": ("ledger",),
    "swarm": ("ledger",),
    "ledger": ("swarm", "peer"),
}

# Every rule about money and bandwidth lives in these, so that a seeded simulation can run thousands of
# peers in one process. They may import only one another, hence not config, which reads files.
PURE = ("errors", "units", "signing", "certificates", "channel", "market", "proof", "peer")

NOT_IN_PURE = {
    "network": ("socket", "socketserver", "ssl", "select", "selectors", "http", "urllib3"),
    "network, by third parties": (
        "httpx",
        "requests",
        "starlette",
        "uvicorn",
        "libtorrent",
        "tronpy",
    ),
    "clock": ("time", "datetime", "sched", "signal"),
    "disk": (
        "os",
        "io",
        "pathlib",
        "tempfile",
        "shutil",
        "glob",
        "fileinput",
        "mmap",
        "platformdirs",
    ),
    "databases": ("sqlite3", "sqlalchemy", "alembic"),
    "threads": ("asyncio", "threading", "multiprocessing", "concurrent", "queue", "contextvars"),
    "processes": ("subprocess", "ctypes", "importlib"),
    "randomness": ("random", "secrets", "uuid"),
    "keys: they come in as arguments": ("coincurve", "cryptography", "mnemonic"),
    "terminals": ("click", "rich"),
}
IMPURE = frozenset(module for modules in NOT_IN_PURE.values() for module in modules)
NOT_CALLED_IN_PURE = frozenset(
    {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}
)
PURE_EXCEPTIONS = {("signing.py", "coincurve"), ("peer/sealing.py", "cryptography")}

# No third party's type leaves the place that wraps it. A place is a package, or one file of it.
ONLY_IN = {
    "libtorrent": ("swarm",),
    "tronpy": ("chain",),
    "sqlalchemy": (
        "ledger",
        "client/database.py",
        "client/heads.py",
        "client/records.py",
        "client/spending.py",
        "client/store.py",
        "client/tables.py",
    ),
    "alembic": ("ledger",),
    "click": ("cli",),
}


def parts_of(path: str) -> list[str]:
    return path.removesuffix(".py").split("/")


def imports(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each (line, dotted name) that the file imports, absolute, wherever in it the import stands.

    ``from a import b`` gives ``a.b``: b may be a module. ``import_module("a")`` and ``__import__("a")``
    count when the name is written out.
    """
    package = ["speedpay", *parts_of(path)[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = [*base, *([node.module] if node.module else [])]
            for alias in node.names:
                yield node.lineno, ".".join([*prefix, alias.name])
        elif isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            name = node.func.id if isinstance(node.func, ast.Name) else name
            first = node.args[0]
            if name in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield node.lineno, str(first.value)


def line_of(package: str) -> int | None:
    return next((number for number, line in enumerate(LINES) if package in line), None)


def broken_rules(path: str, source: str) -> list[str]:
    """Every rule that the file ``speedpay/<path>`` breaks, as sentences that begin with its line."""
    importer = parts_of(path)[0]
    if (
        importer == "__init__"
    ):  # speedpay itself: imported by everything, so it imports nothing of ours
        importer = "errors"
    if importer not in BESIDE and line_of(importer) is None:
        return [f"{path}: {importer} has no place in LINES yet"]
    tree = ast.parse(source, path)
    found = []

    for line, name in imports(path, tree):
        top, *rest = name.split(".")
        if top == "speedpay":
            imported = rest[0] if rest else ""
            started = imported in BESIDE and STARTS.get(path) == imported
            reason = "" if started else why_not_ours(importer, imported)
        else:
            reason = why_not_foreign(importer, path, top)
        if reason:
            found.append(f"{path}:{line}: {reason}")

    if importer in PURE:
        found += [
            f"{path}:{node.lineno}: {importer} is pure and must not call {node.func.id}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in NOT_CALLED_IN_PURE
        ]
    return found


def why_not_ours(importer: str, imported: str) -> str:
    mine, theirs = line_of(importer), line_of(imported)
    if importer in BESIDE or imported == importer:
        return ""
    if imported in BESIDE:
        return f"{importer} is production code and must not import {imported}"
    if mine is None or theirs is None:  # a name of speedpay/__init__.py, such as __version__
        return ""
    if theirs == mine:
        return f"{importer} must not import {imported}: they stand on one line"
    if theirs > mine:
        return f"{importer} must not import {imported}: imports only go down"
    if imported in NEVER.get(importer, ()):
        return f"{importer} must never import {imported}"
    if importer in PURE and imported not in PURE:
        return f"{importer} is pure and must not import {imported}, which is not"
    return ""


def why_not_foreign(importer: str, path: str, imported: str) -> str:
    if importer in PURE and imported in IMPURE and (path, imported) not in PURE_EXCEPTIONS:
        return f"{importer} is pure and must not import {imported}"
    places = ONLY_IN.get(imported)
    if places and importer not in BESIDE and importer not in places and path not in places:
        return f"{imported} may be imported only in {', '.join(places)}"
    return ""


def python_files() -> list[Path]:
    return sorted((ROOT / "speedpay").rglob("*.py"))


def test_every_file_keeps_the_import_rules() -> None:
    files = python_files()
    assert len(files) > 5, "the tree was not found"
    found: list[str] = []
    for file in files:
        path = file.relative_to(ROOT / "speedpay").as_posix()
        found += broken_rules(path, file.read_text(encoding="utf-8"))
    assert not found, "\n" + "\n".join(found)


# ------------------------------------------------------------------------------ planted violations

PLANTED = {
    "upwards": ("channel/payee.py", "from speedpay.client import loop", "only go down"),
    "upwards, from the root": ("market/bidder.py", "from speedpay import cli", "only go down"),
    "upwards, relative": ("channel/payee.py", "from ..peer import buyer", "only go down"),
    "upwards, relative, no module": ("units.py", "from . import signing", "only go down"),
    "upwards, within a function": (
        "wallet/funds.py",
        "def f():\n    import speedpay.client.loop",
        "only go down",
    ),
    "upwards, for types only": (
        "units.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from speedpay.peer import buyer",
        "only go down",
    ),
    "upwards, by name": (
        "wallet/funds.py",
        'import importlib\nimportlib.import_module("speedpay.cli")',
        "only go down",
    ),
    "upwards, from the package itself": ("__init__.py", "from . import units", "only go down"),
    "same line": ("market/quote.py", "import speedpay.channel.payer", "on one line"),
    "same line, ledger and wallet": (
        "wallet/funds.py",
        "from speedpay.ledger import book",
        "one line",
    ),
    "the operator's code in a client": (
        "client/loop.py",
        "import speedpay.ledger.book",
        "never import",
    ),
    "swarms in the books": (
        "ledger/service.py",
        "from speedpay.swarm import extension",
        "never import",
    ),
    "conversations in the books": (
        "ledger/channels.py",
        "import speedpay.peer.seller",
        "never import",
    ),
    "simulation in production": (
        "client/loop.py",
        "import speedpay.simulation.clock",
        "production",
    ),
    "development chain in production": (
        "chain/tron.py",
        "from speedpay import devnet",
        "production",
    ),
    "development chain in another command": (
        "cli/chain.py",
        "from speedpay.devnet.node import Devnet",
        "production",
    ),
    "impure of ours": ("market/bidder.py", "from speedpay.config import Settings", "which is not"),
    "clock": ("channel/payee.py", "from datetime import datetime", "pure"),
    "clock, dotted": ("peer/buyer.py", "import asyncio.events", "pure"),
    "disk, without an import": ("proof/merkle.py", "open('leaves')", "must not call open"),
    "randomness": ("peer/conversation.py", "def f():\n    from secrets import token_bytes", "pure"),
    "third party in pure": ("channel/voucher.py", "import coincurve", "pure"),
    "sealing elsewhere": ("peer/conversation.py", "import cryptography.x509", "pure"),
    "libtorrent": ("client/loop.py", "import libtorrent as lt", "only in swarm"),
    "tronpy": ("ledger/epochs.py", "from tronpy import Tron", "only in chain"),
    "sqlalchemy": (
        "wallet/funds.py",
        "import sqlalchemy.orm",
        "only in ledger, client/database.py",
    ),
    "sqlalchemy beside the store": ("client/redeemer.py", "import sqlalchemy", "only in ledger"),
    "alembic": ("cli/ledger.py", "from alembic import command", "only in ledger"),
    "click": ("client/loop.py", "import click", "only in cli"),
    "unknown package": ("utils/strings.py", "", "no place in LINES"),
}


@pytest.mark.parametrize(("path", "source", "expected"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_violation_is_caught(path: str, source: str, expected: str) -> None:
    found = broken_rules(path, source)
    assert len(found) >= 1
    assert expected in found[0]


ALLOWED = {
    "downwards": ("peer/seller.py", "from speedpay.market import allocator"),
    "its own package": (
        "channel/payee.py",
        "from speedpay.channel.voucher import Voucher\nfrom . import life",
    ),
    "signing wraps coincurve": ("signing.py", "import hashlib\nimport coincurve"),
    "the store": ("client/store.py", "import sqlalchemy"),
    "a name of the package": ("cli/main.py", "from speedpay import __version__\nimport click"),
    "simulation imports anything": (
        "simulation/run.py",
        "import random\nfrom speedpay.ledger import book",
    ),
    "the command that starts the development chain": (
        "cli/devnet.py",
        "def f():\n    from speedpay.devnet.node import Devnet",
    ),
    "the command that starts the simulation": (
        "cli/simulate.py",
        "def f():\n    from speedpay.simulation.study import study",
    ),
    "the entry": ("__main__.py", "from speedpay.cli import main"),
}


@pytest.mark.parametrize(("path", "source"), ALLOWED.values(), ids=ALLOWED.keys())
def test_what_the_rules_allow_is_not_reported(path: str, source: str) -> None:
    assert broken_rules(path, source) == []


def test_the_tables_name_each_package_once_and_nothing_misspelt() -> None:
    placed = [package for line in LINES for package in line]
    assert len(placed) == len(set(placed))
    assert set(PURE) <= set(placed)
    assert set(NEVER) <= set(placed)
    assert set(vars(builtins)) >= NOT_CALLED_IN_PURE
    third_parties = IMPURE - sys.stdlib_module_names
    assert third_parties >= ONLY_IN.keys()
    dependencies = (ROOT / "scripts/requirements/run.txt").read_text().lower()
    for name in ONLY_IN.keys() - {"libtorrent"}:
        assert f"\n{name}==" in f"\n{dependencies}"


EACH_ALONE = """
import importlib, sys
for name in sys.argv[1:]:
    package = ".".join(name.split(".")[:2])
    for known in [n for n in sys.modules if n.startswith(package) and "native" not in n]:
        del sys.modules[known]
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(f"{name}: {error}")
"""


def test_each_module_can_be_the_first_that_is_imported() -> None:
    """Two modules that import each other work in one order only, and tests rarely try the other. They
    are of one package: between packages imports only go down."""
    paths = sorted((ROOT / "speedpay").rglob("*.py"))
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    named = [name for name in modules if "migrations" not in name and not name.endswith("__main__")]
    assert len(named) > 200
    said = subprocess.run(
        [sys.executable, "-c", EACH_ALONE, *named], capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert (said.stdout, said.returncode) == ("", 0), said.stderr
