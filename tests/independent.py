"""``scripts/verify_independent`` as a module, and its judgement of every ledger that a test leaves behind."""

from __future__ import annotations

from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

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

    A test that edits the books makes both of them complain, and that is what it is about.
    """
    verifier = script()
    try:
        verifier.check_database(database)
    except verifier.Broken as broken:
        return None if fsck.examine(database).broken else str(broken)
    return None
