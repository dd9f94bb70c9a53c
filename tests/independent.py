"""``scripts/verify_independent`` as a module, and its judgement of every ledger that a test leaves behind."""

from __future__ import annotations

import sqlite3
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from speedpay.errors import SpeedpayError
from speedpay.ledger import fsck

SCRIPT = Path(__file__).resolve().parent.parent / "scripts/verify_independent"


@cache
def script() -> ModuleType:
    loader = SourceFileLoader("verify_independent", str(SCRIPT))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def disagreement(database: Path) -> str | None:
    """What the verifier has against the ledger, when the ledger's own fsck has nothing against it.

    A test that edits the books, or puts something else in their place, makes both of them complain,
    and that is what it is about.
    """
    verifier = script()
    try:
        verifier.check_database(database)
    except (verifier.Broken, ValueError, LookupError, TypeError, sqlite3.Error) as error:
        return None if _is_broken(database) else str(error)
    return None


def _is_broken(database: Path) -> bool:
    try:
        return bool(fsck.examine(database).broken)
    except SpeedpayError:
        return True
