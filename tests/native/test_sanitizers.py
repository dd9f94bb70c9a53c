"""The native module under the address and undefined-behaviour sanitizers (./scripts/sanitize)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/sanitize"

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def sanitized(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *options], capture_output=True, text=True, errors="replace", check=False
    )


def test_real_sessions_use_no_memory_wrongly() -> None:
    said = sanitized()
    assert said.returncode == 0, said.stdout + said.stderr
    assert said.stdout.endswith("sanitize: 0 reports\n")
    print(said.stdout)


def test_a_message_that_is_read_after_it_was_freed_is_caught() -> None:
    said = sanitized("--planted")
    assert said.returncode != 0
    assert "heap-use-after-free" in said.stdout + said.stderr
