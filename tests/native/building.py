"""Compiles the C++ under test, whole or with one planted bug, and runs it under a watcher."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ROOT / "speedpay/swarm/native"


class Edit(NamedTuple):
    """A bug to plant: ``before`` stands in the file at least once, the first becomes ``after``."""

    file: str
    before: str
    after: str


def sources(folder: Path, planted: Edit | None) -> Path:
    """The folder of our C++: ours, or a copy in ``folder`` with the bug."""
    if planted is None:
        return NATIVE
    copy = folder / "planted"
    shutil.copytree(NATIVE, copy, dirs_exist_ok=True)
    text = (NATIVE / planted.file).read_text()
    assert planted.before in text, f"{planted.file} has changed: plant another bug"
    (copy / planted.file).write_text(text.replace(planted.before, planted.after, 1))
    return copy


def compiled(
    compiler: str, source: Path, folder: Path, flags: Sequence[str], planted: Edit | None = None
) -> Path:
    """The programme. Raises AssertionError with what the compiler says."""
    program = folder / f"{source.stem}{'-planted' if planted else ''}"
    include = f"-I{sources(folder, planted)}"
    command = [compiler, "-std=c++17", "-gline-tables-only" if compiler != "g++" else "-g1",
               "-Wall", "-Wextra", include, str(source), "-o", str(program), *flags]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr[-3000:]
    return program
