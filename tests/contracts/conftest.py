"""Every behaviour test of the contracts runs on both machines of ``backends.py``."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.backends import BACKENDS, Backend
from tests.contracts.deployed import Deployed
from tests.contracts.planted import compile_all


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param]()


@pytest.fixture
def deployed(backend: Backend) -> Deployed:
    return Deployed.fresh(backend)


@pytest.fixture(scope="session")
def hostile() -> dict[str, dict[str, Any]]:
    """Name to artefact, of all in ``planted.py``: compiled once, in a few seconds."""
    return compile_all()
